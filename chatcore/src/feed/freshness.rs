//! When may memory answer for the store?
//!
//! Four facts decide. The first three are kept in this file, the last one by each ring:
//!
//! - **live**: every commit that a read of the store would find becomes known here within about a
//!   second. Without other writers that is always so. Otherwise the change stream is *paused* while
//!   it is broken, silent or behind, and *resumed* if nothing was missed.
//! - **current**: the room was brought up to date in the present *epoch*. A new epoch begins where
//!   the change stream has a gap, which makes all rooms stale; the next reader, or a refresh if the
//!   room is followed, renews a room.
//! - **certain**: no commit of this process to the room has an unknown result. Such a commit is
//!   marked as uncertain when it times out, where there are other processes after a second, and
//!   resolved once the store has told what became of it.
//! - **confirmed**: the [`Latest`] message, or change, that is in memory was the last one of the
//!   room at a moment of this epoch. The store says so, or a commit where no other process writes.
//!
//! | memory answers | live | current | certain | confirmed | besides |
//! |---|---|---|---|---|---|
//! | a read of messages or changes | yes | yes | in the room | yes | the ring reaches as far; for a user only if the room is public, else after a check of access |
//! | a follower | | | | yes | the ring reaches as far; what it lacks wakes the follower later |
//! | whether a user may enter, if allowed | yes | yes | | | in a private or restricted room of a replica set, only for messages that came from the ring; a refusal is never remembered |
//! | whether a room is public | | | | | privacy never changes |
//! | a user's message count | yes | | in every room | | only this process writes to the store |
//! | head, members and permissions in the committer | | | | | always, as a guess: the batch is guarded |
//! | names open to guests | | | | | always, as a guess: the batch is guarded |
//! | read marks | | | | | always: a mark counts once it is in memory |
//! | presence and typing | | | | | always; they promise no exactness |
//! | sessions | | | | | never |
//!
//! The last five rows need none of the facts, and are kept by other modules. `docs/design.md` has
//! the same rows, with what happens where memory may not answer.
//!
//! Everything else is asked of the store. A fact is checked before memory is read and again after
//! it, so that what became doubtful meanwhile does not count. An answer of the store is taken in
//! only if the [`Generation`] of what it is about is still the one at which the question began.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

/// Number of a state of what is known in memory.
///
/// A question to the store notes the generation at which it begins. Whatever the answer may not
/// include makes a new generation, and an answer to a question of an older one is dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

impl Generation {
    /// Begins a new generation, and returns it.
    pub(super) fn advance(&mut self) -> Self {
        self.0 += 1;
        *self
    }
}

/// Last message of a room, or last change, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Latest<T> {
    /// Nothing is known.
    #[default]
    Unknown,
    /// This was seen, and there may be later ones.
    AtLeast(T),
    /// This was the last one at a moment of the present epoch.
    Confirmed(T),
}

impl<T: Copy> Latest<T> {
    /// Returns the last one, if it is confirmed.
    pub(super) fn confirmed(self) -> Option<T> {
        match self {
            Self::Confirmed(last) => Some(last),
            Self::Unknown | Self::AtLeast(_) => None,
        }
    }

    /// Returns the last one that was seen, even if there may be later ones.
    pub(super) fn seen(self) -> Option<T> {
        match self {
            Self::AtLeast(last) | Self::Confirmed(last) => Some(last),
            Self::Unknown => None,
        }
    }

    /// Moves to a later one, which is confirmed if the one before was.
    pub(super) fn advance(&mut self, last: T) {
        *self = match self {
            Self::Confirmed(_) => Self::Confirmed(last),
            Self::Unknown | Self::AtLeast(_) => Self::AtLeast(last),
        };
    }

    /// Confirms what was seen.
    pub(super) fn confirm(&mut self) {
        if let Self::AtLeast(last) = *self {
            *self = Self::Confirmed(last);
        }
    }

    /// Takes note that there may be later ones.
    pub(super) fn miss(&mut self) {
        if let Self::Confirmed(last) = *self {
            *self = Self::AtLeast(last);
        }
    }
}

/// State of the source of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Every commit becomes known.
    Live,
    /// Commits of other processes become known late, or not at all.
    Paused,
    /// The store is closed. Final.
    Closed,
}

/// Freshness of a whole feed.
#[derive(Debug)]
pub(super) struct Freshness {
    source: watch::Sender<Source>,
    /// Number of the present epoch, one more after each gap in the change stream.
    epoch: AtomicU64,
    /// Commits whose result is unknown, over all rooms.
    uncertain: AtomicUsize,
}

/// Freshness of what is known of one room.
#[derive(Debug)]
pub(super) struct RoomFreshness {
    /// Epoch of the feed in which the room was last brought up to date.
    epoch: AtomicU64,
    /// Commits to the room whose result is unknown.
    uncertain: AtomicUsize,
}

impl Freshness {
    /// Begins paused, unless only this process writes to the store.
    pub(super) fn new(is_only_writer: bool) -> Self {
        let source = if is_only_writer {
            Source::Live
        } else {
            Source::Paused
        };
        Self {
            source: watch::Sender::new(source),
            epoch: AtomicU64::new(0),
            uncertain: AtomicUsize::new(0),
        }
    }

    fn set_source(&self, source: Source) {
        self.source.send_if_modified(|present| {
            let is_changed = *present != Source::Closed && *present != source;
            if is_changed {
                *present = source;
            }
            is_changed
        });
    }

    pub(super) fn is_live(&self) -> bool {
        *self.source.borrow() == Source::Live
    }

    pub(super) fn pause(&self) {
        self.set_source(Source::Paused);
    }

    /// Goes live where nothing was missed, or after [`begin_epoch`](Self::begin_epoch).
    pub(super) fn resume(&self) {
        self.set_source(Source::Live);
    }

    pub(super) fn close(&self) {
        self.set_source(Source::Closed);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.source.borrow() == Source::Closed
    }

    /// Waits for [`close`](Self::close).
    pub(super) async fn closed(&self) {
        let mut source = self.source.subscribe();
        // The sender lives as long as `self`.
        let _ = source.wait_for(|source| *source == Source::Closed).await;
    }

    /// Makes all rooms stale.
    pub(super) fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the freshness of a room of which nothing is known yet.
    pub(super) fn of_new_room(&self) -> RoomFreshness {
        RoomFreshness {
            epoch: AtomicU64::new(self.epoch.load(Ordering::SeqCst)),
            uncertain: AtomicUsize::new(0),
        }
    }

    /// Returns the present epoch, if the room is of an older one.
    pub(super) fn epoch_after(&self, room: &RoomFreshness) -> Option<u64> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        (room.epoch.load(Ordering::SeqCst) != epoch).then_some(epoch)
    }

    pub(super) fn add_uncertain(&self) {
        self.uncertain.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn remove_uncertain(&self) {
        self.uncertain.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns the epoch in which every change of a room by another process becomes known: live and
    /// current.
    fn current_epoch(&self, room: &RoomFreshness) -> Option<u64> {
        let epoch = room.epoch.load(Ordering::SeqCst);
        (self.is_live() && epoch == self.epoch.load(Ordering::SeqCst)).then_some(epoch)
    }

    /// Returns the epoch in which a room is live, current and certain.
    fn fresh_epoch(&self, room: &RoomFreshness) -> Option<u64> {
        self.current_epoch(room).filter(|_| !room.is_uncertain())
    }

    /// Returns true if a room is live, current and certain.
    pub(super) fn is_fresh(&self, room: &RoomFreshness) -> bool {
        self.fresh_epoch(room).is_some()
    }

    /// Reads memory if the room is live, current and certain before and after it.
    pub(super) fn read_if_fresh<T>(
        &self,
        room: &RoomFreshness,
        read: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let before = self.fresh_epoch(room)?;
        let found = read()?;
        (self.fresh_epoch(room) == Some(before)).then_some(found)
    }

    /// Reads memory if the room is live and current before and after it.
    pub(super) fn read_if_current<T>(
        &self,
        room: &RoomFreshness,
        read: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let before = self.current_epoch(room)?;
        let found = read()?;
        (self.current_epoch(room) == Some(before)).then_some(found)
    }

    /// Reads memory if the feed is live after it and every room is certain. Enough for what is
    /// forgotten when it changes and when an epoch begins.
    pub(super) fn read_if_certain<T>(&self, read: impl FnOnce() -> Option<T>) -> Option<T> {
        let found = read()?;
        (self.is_live() && self.uncertain.load(Ordering::SeqCst) == 0).then_some(found)
    }
}

impl RoomFreshness {
    /// Takes note that the room is up to date, or known to lack what it lacks, in an epoch.
    pub(super) fn enter_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    pub(super) fn is_of(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::SeqCst) == epoch
    }

    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertain.load(Ordering::SeqCst) > 0
    }

    pub(super) fn add_uncertain(&self) {
        self.uncertain.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn remove_uncertain(&self) {
        self.uncertain.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts that hold: live, current, certain in the room, certain everywhere.
    fn answers(freshness: &Freshness, room: &RoomFreshness) -> [bool; 3] {
        [
            freshness.read_if_fresh(room, || Some(())).is_some(),
            freshness.read_if_current(room, || Some(())).is_some(),
            freshness.read_if_certain(|| Some(())).is_some(),
        ]
    }

    #[test]
    fn a_feed_of_several_writers_is_live_only_while_its_source_is() {
        let freshness = Freshness::new(false);
        let room = freshness.of_new_room();
        assert_eq!(
            answers(&freshness, &room),
            [false; 3],
            "nothing is known yet"
        );

        freshness.resume();
        assert_eq!(answers(&freshness, &room), [true; 3]);
        freshness.pause();
        assert_eq!(answers(&freshness, &room), [false; 3]);
        freshness.resume();
        assert_eq!(answers(&freshness, &room), [true; 3], "nothing was missed");
    }

    #[test]
    fn a_new_epoch_makes_a_room_stale_until_it_is_renewed() {
        let freshness = Freshness::new(true);
        let room = freshness.of_new_room();
        assert_eq!(freshness.epoch_after(&room), None);

        freshness.begin_epoch();
        assert_eq!(answers(&freshness, &room), [false, false, true]);
        let later = freshness.of_new_room();
        assert!(
            freshness.is_fresh(&later),
            "nothing was known of it before the gap"
        );

        let epoch = freshness.epoch_after(&room).expect("a later epoch");
        room.enter_epoch(epoch);
        assert_eq!(answers(&freshness, &room), [true; 3]);
    }

    #[test]
    fn an_uncertain_commit_concerns_its_room_and_every_count() {
        let freshness = Freshness::new(true);
        let (room, other) = (freshness.of_new_room(), freshness.of_new_room());
        for _ in 0..2 {
            freshness.add_uncertain();
            room.add_uncertain();
        }
        assert_eq!(answers(&freshness, &room), [false, true, false]);
        assert_eq!(answers(&freshness, &other), [true, true, false]);

        freshness.remove_uncertain();
        room.remove_uncertain();
        assert_eq!(
            answers(&freshness, &room),
            [false, true, false],
            "one of two is left"
        );
        freshness.remove_uncertain();
        room.remove_uncertain();
        assert_eq!(answers(&freshness, &room), [true; 3]);
    }

    #[test]
    fn what_became_doubtful_while_memory_was_read_does_not_count() {
        let freshness = Freshness::new(true);
        let room = freshness.of_new_room();
        let doubts: [&dyn Fn(); 3] = [&|| freshness.pause(), &|| room.add_uncertain(), &|| {
            freshness.begin_epoch()
        }];
        for doubt in doubts {
            let found = freshness.read_if_fresh(&room, || {
                doubt();
                Some(())
            });
            assert!(found.is_none());
            freshness.resume();
            if room.is_uncertain() {
                room.remove_uncertain();
            }
            assert!(freshness.epoch_after(&room).is_some() || freshness.is_fresh(&room));
        }

        // The room was renewed while it was read: what was read may be of the epoch before.
        room.enter_epoch(freshness.epoch_after(&room).expect("a later epoch"));
        assert!(freshness.is_fresh(&room));
        let renewed = freshness.read_if_current(&room, || {
            freshness.begin_epoch();
            room.enter_epoch(freshness.epoch_after(&room)?);
            Some(())
        });
        assert!(renewed.is_none());
    }

    #[tokio::test]
    async fn a_closed_feed_is_never_live_again() {
        let freshness = Freshness::new(true);
        let room = freshness.of_new_room();
        freshness.close();
        freshness.closed().await;
        freshness.resume();
        freshness.begin_epoch();
        freshness.pause();
        assert!(freshness.is_closed());
        assert_eq!(answers(&freshness, &room), [false; 3]);
    }

    #[test]
    fn the_latest_is_confirmed_by_the_store_and_doubtful_after_a_gap() {
        let mut latest = Latest::Unknown;
        latest.confirm();
        latest.miss();
        assert_eq!((latest.seen(), latest.confirmed()), (None, None));

        latest.advance(3);
        assert_eq!((latest.seen(), latest.confirmed()), (Some(3), None));
        latest.confirm();
        latest.advance(4);
        assert_eq!((latest.seen(), latest.confirmed()), (Some(4), Some(4)));
        latest.miss();
        latest.advance(5);
        assert_eq!((latest.seen(), latest.confirmed()), (Some(5), None));
    }
}
