//! When what is in memory may be told, and when the store must be asked.
//!
//! Memory may answer for a room if all of this holds:
//!
//! - the feed is *live*: every commit that a read finds is heard of, within about a second;
//! - the room is of the present *epoch*. An epoch ends with a gap, in which commits may have gone
//!   unheard. What was known of a room before is stale then, until the room is renewed: by the next
//!   reader, or, if it is followed, by a refresh, of which few run at once;
//! - the room has no *uncertain* commits: commits of this process whose result is unknown;
//! - its ring knows where the room ends, which it learns from the store or from a commit of this
//!   process.
//!
//! A pause of the feed alone makes nothing stale: whatever was committed meanwhile is heard of
//! late.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access_cache::Moment;
use super::ring::Ring;
use super::room_presence::RoomPresence;
use super::{Feed, RoomFeed, senders};
use crate::model::{Batch, Head};
use crate::types::{RoomName, Seq};

/// A room that is being brought up to date.
pub(crate) struct Refresh {
    pub(crate) room: Arc<RoomFeed>,
    /// When the store was asked, in the order of its door and of its ring.
    asked: Moment,
    generation: u64,
    ends_known: bool,
}

impl Feed {
    /// The epoch in which the ring of a room is known to be up to date, if it is. What was read
    /// between two calls that give the same epoch is.
    pub(crate) fn trusted_in(&self, room: &RoomFeed) -> Option<u64> {
        self.heard_in(room)
            .filter(|_| room.uncertain.load(Ordering::SeqCst) == 0 && !self.is_closed())
    }

    pub(crate) fn is_trusted(&self, room: &RoomFeed) -> bool {
        self.trusted_in(room).is_some()
    }

    /// The epoch in which every change of a room by another process is heard of, if it is.
    pub(crate) fn heard_in(&self, room: &RoomFeed) -> Option<u64> {
        let epoch = room.epoch.load(Ordering::SeqCst);
        (self.is_live() && epoch == self.epoch.load(Ordering::SeqCst)).then_some(epoch)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }

    /// Takes a room into the present epoch, if it is stale: what may have changed in the gap is
    /// unknown from then on, and is learned from the store.
    pub(crate) fn renew(&self, room: &RoomFeed) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        if room.epoch.load(Ordering::SeqCst) == epoch {
            return;
        }
        self.change(room, |ring| {
            // Under the lock, so that what one caller renewed and learned is not forgotten by
            // another.
            if room.epoch.load(Ordering::SeqCst) != epoch {
                ring.miss_changes();
                room.miss_removals();
                room.epoch.store(epoch, Ordering::SeqCst);
            }
        });
    }

    /// From now until [`settle`](Self::settle) the batch may be committed unheard.
    pub(crate) fn mark_uncertain(&self, batch: &Batch) {
        self.uncertain.fetch_add(1, Ordering::SeqCst);
        self.counts.forget(senders(batch));
        batch
            .rooms
            .iter()
            .for_each(|part| self.mark_room_uncertain(&part.room));
    }

    /// The batch is committed or never will be.
    pub(crate) fn resolve(&self, batch: &Batch) {
        batch
            .rooms
            .iter()
            .for_each(|part| self.resolve_room(&part.room));
        self.counts.forget(senders(batch));
        self.uncertain.fetch_sub(1, Ordering::SeqCst);
    }

    fn mark_room_uncertain(&self, room: &RoomName) {
        let room = self.room(room);
        room.uncertain.fetch_add(1, Ordering::SeqCst);
        self.forget(&room);
    }

    fn resolve_room(&self, room: &RoomName) {
        if let Some(room) = self.get(room) {
            // In this order: what is read from now on is the result.
            self.forget(&room);
            room.uncertain.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Forgets what is known of a room, and has its followers ask the store.
    fn forget(&self, room: &RoomFeed) {
        self.change(room, Ring::clear);
        room.wake.send_replace(());
    }

    /// Commits of other processes are heard of late from now on, or not at all.
    pub(crate) fn pause(&self) {
        self.live.store(false, Ordering::SeqCst);
    }

    /// Every commit since the pause has been heard of, and is from now on.
    pub(crate) fn resume(&self) {
        self.live.store(true, Ordering::SeqCst);
    }

    /// From now on every commit is heard of that a read which begins now would not find. What was
    /// committed before may have gone unheard.
    pub(crate) fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.counts.clear();
        for room in self.all() {
            room.people().unload();
            // Whoever watches another one later has it loaded then.
            if room.is_watched() || !room.people().is_empty() {
                self.look_again(&room);
            }
        }
        self.users.miss_updates();
        self.live.store(true, Ordering::SeqCst);
        self.to_refresh.notify_one();
    }

    /// Forgets what is known of a room, because a change of it could not be understood.
    pub(crate) fn miss_changes_of(&self, room: &RoomName) {
        let Some(room) = self.get(room) else { return };
        self.change(&room, Ring::miss_changes);
        self.change_people(&room, RoomPresence::unload);
        room.forget_access();
    }

    /// The rooms that are followed and may miss something.
    pub(crate) fn to_refresh(&self) -> Vec<Arc<RoomFeed>> {
        let mut rooms = self.all();
        rooms.retain(|room| room.is_followed() && (!self.is_trusted(room) || room.end().is_none()));
        rooms
    }

    /// Waits until many rooms may miss something.
    pub(crate) async fn refresh_needed(&self) {
        self.to_refresh.notified().await;
    }

    /// Begins a question for the head of a room.
    pub(crate) fn begin_refresh(&self, room: Arc<RoomFeed>) -> Refresh {
        self.renew(&room);
        let (asked, generation, ends_known) = (room.ask(), room.generation(), room.knows_ends());
        Refresh {
            room,
            asked,
            generation,
            ends_known,
        }
    }

    /// Takes in the answer. Returns false if there may be messages that were not heard of.
    pub(crate) fn confirm(&self, refresh: &Refresh, head: Option<Head>) -> bool {
        let Refresh {
            room,
            asked,
            generation,
            ..
        } = refresh;
        if head.is_some_and(|head| room.confirm_access(*asked, head)) {
            room.wake.send_replace(());
        }
        let head = head.unwrap_or(Head::EMPTY);
        let mut ring = room.ring();
        if ring.generation() == *generation {
            ring.confirm_last_change(head.change);
        }
        drop(ring);
        self.confirm_end(room, *generation, head.seq)
    }

    /// Ends a refresh of a room. Followers of one whose end was unknown look whether messages were
    /// changed.
    pub(crate) fn end_refresh(&self, refresh: &Refresh) {
        if !refresh.ends_known {
            refresh.room.wake.send_replace(());
        }
    }

    /// Takes in that there was no message after `seq`, as it was asked for at `generation`. Returns
    /// whether that is where the ring ends.
    pub(crate) fn confirm_end(&self, room: &RoomFeed, generation: u64, seq: Seq) -> bool {
        let mut ring = room.ring();
        ring.generation() == generation && ring.confirm_end(seq)
    }
}
