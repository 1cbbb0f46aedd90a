//! The live end of rooms: what was posted last, and a wake-up for those who follow.
//!
//! A message is published after its commit, never before. A reader registers, then reads, then
//! waits; so whatever is committed after the read wakes it. What the ring does not hold, the store
//! does: a reader falls back to it wherever the ring does not reach.
//!
//! Where several processes share a store, a ring only hears of the others by the store's stream of
//! changes. While that stream is not live, and while the result of a commit is unknown, no reader
//! is told from the ring that there is nothing new.

mod access_cache;
mod counts;
mod freshness;
mod presence;
mod ring;
mod room;
mod room_presence;
mod sink;
mod users;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

pub(crate) use self::access_cache::{AccessRequest, Permission};
use self::counts::{Counts, Reading};
pub(crate) use self::freshness::Refresh;
use self::ring::Ring;
pub(crate) use self::room::RoomFeed;
pub use self::users::UserUpdate;
use self::users::Users;
use crate::error::Result;
use crate::model::Batch;
use crate::read_marks::ReadMarks;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, Privacy, Range, RoomName, Seq, Topic, Username};

/// How long a room stays that nobody follows or reads.
const KEEP: Duration = Duration::from_secs(60);
/// Rooms kept that nobody follows.
const MAX_IDLE: usize = 4_096;
/// Memory of all rings together. Beyond it the rooms read longest ago lose their messages.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The rooms that are followed or read.
pub(crate) struct Feed {
    rooms: RwLock<HashMap<RoomName, Arc<RoomFeed>>>,
    /// Whether every commit is heard of.
    live: AtomicBool,
    /// Numbers the times between gaps in what is heard of.
    epoch: AtomicU64,
    /// Notified when many rooms have to be refreshed.
    to_refresh: Notify,
    bytes: AtomicUsize,
    /// The number of rooms at which a sweep is due.
    crowded: AtomicUsize,
    closed: watch::Sender<bool>,
    started: Instant,
    /// Numbers what this process tells the others of its people.
    told: AtomicI64,
    /// The rooms whose people changed, and when to show it.
    due: mpsc::UnboundedSender<Due>,
    pub(crate) users: Users,
    pub(crate) read_marks: ReadMarks,
    counts: Counts,
    /// Commits whose result is unknown, over all rooms.
    uncertain: AtomicU32,
}

/// A room whose people changed, and when to show it. A room is due at most once at a time.
pub(crate) type Due = (Instant, Arc<RoomFeed>);

/// What a store holds in memory for those who read and follow. Made by
/// [`ChatStore::live_counts`](crate::ChatStore::live_counts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveCounts {
    /// Rooms whose end is in memory. One that nobody follows or reads goes after a minute.
    pub rooms: usize,
    /// Followers and readers who wait, over all rooms.
    pub followers: usize,
    /// Presences that have not ended, over all rooms.
    pub attending: usize,
    /// Users who are watched.
    pub users: usize,
    /// About how many bytes of messages are in memory.
    pub bytes: usize,
}

fn senders(batch: &Batch) -> impl Iterator<Item = &Username> {
    batch.counts.iter().map(|count| &count.user)
}

impl Feed {
    /// A feed that is `live` from the start if this process alone writes to the store, and what it
    /// wants to be shown.
    pub(crate) fn new(live: bool) -> (Self, mpsc::UnboundedReceiver<Due>) {
        let (due, shown) = mpsc::unbounded_channel();
        let feed = Self {
            rooms: RwLock::default(),
            live: AtomicBool::new(live),
            epoch: AtomicU64::new(0),
            to_refresh: Notify::new(),
            bytes: AtomicUsize::new(0),
            crowded: AtomicUsize::new(2 * MAX_IDLE),
            closed: watch::Sender::new(false),
            started: Instant::now(),
            told: AtomicI64::new(0),
            due,
            users: Users::default(),
            read_marks: ReadMarks::default(),
            counts: Counts::default(),
            uncertain: AtomicU32::new(0),
        };
        (feed, shown)
    }

    fn get(&self, room: &RoomName) -> Option<Arc<RoomFeed>> {
        self.rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(room)
            .cloned()
    }

    /// The room's feed, which from now on hears of what is posted.
    pub(crate) fn room(&self, room: &RoomName) -> Arc<RoomFeed> {
        if let Some(found) = self.get(room) {
            self.touch(&found);
            return found;
        }
        if self
            .rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
            >= self.crowded.load(Ordering::Relaxed)
        {
            self.sweep();
        }
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Ordering::SeqCst);
        let make = || Arc::new(RoomFeed::new(room.clone(), epoch));
        let made = rooms.entry(room.clone()).or_insert_with(make).clone();
        self.touch(&made);
        made
    }

    fn touch(&self, room: &RoomFeed) {
        let now = self.started.elapsed().as_secs();
        // What is only read stays in the caches of all processors.
        if room.used.load(Ordering::Relaxed) != now {
            room.used.store(now, Ordering::Relaxed);
        }
    }

    /// Who may know of a room, if that is known.
    pub(crate) fn privacy(&self, room: &RoomName) -> Option<Privacy> {
        self.rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(room)?
            .privacy()
    }

    /// What the store would answer, if that is known without asking it, and for a visitor only if
    /// everyone may read the room.
    pub(crate) fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        is_visitor: bool,
    ) -> Option<Vec<SharedMessage>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.get(room)?;
        if is_visitor && room.privacy() != Some(Privacy::Public) {
            return None;
        }
        self.touch(room);
        let trusted = self.trusted_in(room)?;
        let found = room.read(range, limit)?;
        // Asked again: what became doubtful while the ring was read must not count.
        (self.trusted_in(room) == Some(trusted)).then_some(found)
    }

    /// How many messages a user has, if that is known without asking the store.
    pub(crate) fn count(&self, user: &Username) -> Option<u64> {
        let known = self.counts.get(user)?;
        // Asked last, as above.
        let trusted = self.is_live() && self.uncertain.load(Ordering::SeqCst) == 0;
        trusted.then_some(known)
    }

    /// To be called before the store is asked how many messages a user has.
    pub(crate) fn begin_count(&self, user: &Username) -> Reading {
        self.counts.begin(user)
    }

    /// Takes in what the store answered.
    pub(crate) fn end_count(&self, user: &Username, reading: Reading, count: u64) {
        self.counts.end(user, reading, count);
    }

    /// Changes a room's ring and keeps the account of memory.
    fn change<T>(&self, room: &RoomFeed, change: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = room.ring();
        let before = ring.bytes();
        let result = change(&mut ring);
        let after = ring.bytes();
        drop(ring);
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
        result
    }

    /// Publishes a batch to the followers of its rooms. The batch must be committed.
    pub(crate) fn publish_batch(&self, batch: &Batch) {
        self.counts.forget(senders(batch));
        for part in &batch.rooms {
            if let Some(room) = self.get(&part.room) {
                room.committed_after(part.after);
                let messages = part
                    .messages
                    .iter()
                    .map(|message| message.to_message(&part.room).into());
                let changed = part
                    .changes
                    .iter()
                    .map(|change| change.after.clone().into());
                self.publish_to(&room, messages, changed, true);
            }
            let posted = part.messages.iter();
            let posted =
                posted.flat_map(|new| new.content.mentions.iter().map(|user| (user, new.seq)));
            let changed = part.changes.iter();
            let changed = changed
                .flat_map(|change| change.new_mentions().map(|user| (user, change.after.seq)));
            posted
                .chain(changed)
                .for_each(|(user, seq)| self.hear_mention(user, &part.room, seq));
        }
        self.shrink();
    }

    /// Publishes messages that another process committed, in `seq` order, to the followers of their
    /// room.
    pub(crate) fn publish(&self, room: &RoomName, messages: Vec<SharedMessage>) {
        if let Some(room) = self.get(room) {
            self.publish_to(&room, messages, [], false);
            self.shrink();
        }
    }

    /// Publishes messages that another process changed, in the order of their changes, to the
    /// followers of their room.
    pub(crate) fn publish_changed(&self, room: &RoomName, changed: Vec<SharedMessage>) {
        let senders = changed.iter().filter_map(|message| message.sender());
        self.counts.forget(senders);
        if let Some(room) = self.get(room) {
            self.publish_to(&room, [], changed, false);
            self.shrink();
        }
    }

    fn publish_to(
        &self,
        room: &RoomFeed,
        messages: impl IntoIterator<Item = SharedMessage>,
        changed: impl IntoIterator<Item = SharedMessage>,
        now: bool,
    ) {
        let news = self.change(room, |ring| {
            let messages = messages
                .into_iter()
                .filter(|message| ring.publish(message, now))
                .count();
            let changed = changed
                .into_iter()
                .filter(|message| ring.publish_change(message, now))
                .count();
            messages + changed > 0
        });
        if news {
            room.wake.send_replace(());
        }
    }

    /// Tells those who watch a user that a message mentions the user.
    pub(crate) fn hear_mention(&self, user: &Username, room: &RoomName, seq: Seq) {
        self.users
            .tell(user, UserUpdate::Mentioned(room.clone(), seq));
    }

    /// Tells the followers of a room of its new topic.
    pub(crate) fn hear_topic(&self, room: &RoomName, topic: &Topic) {
        if let Some(room) = self.get(room) {
            room.set_topic(topic.clone());
            room.wake.send_replace(());
        }
    }

    /// Takes in the number of the last change of a room, as the store answered it to a question
    /// that began at `generation`.
    pub(crate) fn learn_last_change(&self, room: &RoomFeed, generation: u64, number: ChangeSeq) {
        let is_news = self.change(room, |ring| {
            ring.generation() == generation && ring.learn_last_change(number)
        });
        // The change stream does not tell of it again.
        if is_news {
            room.wake.send_replace(());
        }
    }

    /// Moves a user's mark of what was read forward, and tells those who watch the user. For
    /// `stored` see [`ReadMarks::advance`].
    pub(crate) fn mark_read(
        &self,
        user: &Username,
        room: &RoomName,
        seq: Seq,
        stored: Option<Seq>,
    ) -> Result<Option<Seq>> {
        let tell = |seq| self.users.tell(user, UserUpdate::Read(room.clone(), seq));
        self.read_marks.advance(user, room, seq, stored, tell)
    }

    /// Takes in that a user's mark of what was read is stored, by whatever process.
    pub(crate) fn hear_mark(&self, user: &Username, room: &RoomName, seq: Seq) {
        let tell = |seq| self.users.tell(user, UserUpdate::Read(room.clone(), seq));
        self.read_marks.learn(user, room, seq, tell);
    }

    /// Has everyone who is in a room looked up again: a private room of this name was created.
    pub(crate) fn forget_access(&self, room: &RoomName) {
        if let Some(room) = self.get(room) {
            room.forget_access();
        }
    }

    /// Has one name, in any case, looked up again: it may have been removed or banned.
    pub(crate) fn evict(&self, room: &RoomName, user: &Username) {
        if let Some(room) = self.get(room) {
            room.evict(user);
        }
    }

    /// Takes in what the store answered to a read that began at `generation`. An empty answer says
    /// something only of an empty room.
    pub(crate) fn load(
        &self,
        room: &RoomFeed,
        generation: u64,
        loaded: &[SharedMessage],
        reaches_end: bool,
    ) {
        if loaded.last().map(|message| message.seq) > room.end() {
            room.will_show_of_others();
        }
        let news = self.change(room, |ring| {
            if ring.generation() != generation {
                return false;
            }
            let before = ring.end();
            ring.load(loaded, reaches_end);
            ring.end() > before
        });
        if news {
            room.wake.send_replace(());
        }
        self.shrink();
    }

    /// Takes in that a read which began at `generation` found a room without messages.
    pub(crate) fn load_empty(&self, room: &RoomFeed, generation: u64) {
        let mut ring = room.ring();
        if ring.generation() == generation {
            ring.load_empty();
        }
    }

    fn all(&self) -> Vec<Arc<RoomFeed>> {
        self.rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Drops the rooms that nobody follows and nobody read for a while.
    pub(crate) fn sweep(&self) {
        self.sweep_at(self.started.elapsed().as_secs());
    }

    fn sweep_at(&self, now: u64) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |room: &Arc<RoomFeed>| {
            // Whoever is about to listen, or to show the people, holds a handle.
            Arc::strong_count(room) == 1
                && !room.is_followed()
                && room.people().is_idle()
                && room.uncertain.load(Ordering::SeqCst) == 0
        };
        let mut idle: Vec<_> = rooms
            .values()
            .filter(|room| is_idle(room))
            .map(|room| (room.used.load(Ordering::Relaxed), room.name.clone()))
            .collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(MAX_IDLE);
        for (at, (used, name)) in idle.into_iter().enumerate() {
            if (at < surplus || now.saturating_sub(used) > KEEP.as_secs())
                && let Some(room) = rooms.remove(&name)
            {
                self.bytes.fetch_sub(room.ring().bytes(), Ordering::Relaxed);
            }
        }
        // A sweep is worth its while again when as many have come as it may leave.
        self.crowded
            .store(rooms.len() + MAX_IDLE, Ordering::Relaxed);
    }

    /// Waits for [`close`](Self::close).
    pub(crate) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as `self`.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Wakes everyone, to find that there will be nothing more.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
        self.all()
            .iter()
            .for_each(|room| room.wake.send_replace(()));
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Keeps the memory of all rings within its limit.
    fn shrink(&self) {
        if self.bytes.load(Ordering::Relaxed) <= MAX_BYTES {
            return;
        }
        let mut rooms = self.all();
        // Read once each: readers change it meanwhile.
        rooms.sort_by_cached_key(|room| room.used.load(Ordering::Relaxed));
        for room in rooms {
            if self.bytes.load(Ordering::Relaxed) <= MAX_BYTES / 4 * 3 {
                break;
            }
            self.change(&room, Ring::drop_messages);
        }
    }

    /// What is held for those who read and follow.
    pub(crate) fn counts(&self) -> LiveCounts {
        let rooms = self.all();
        LiveCounts {
            rooms: rooms.len(),
            followers: rooms.iter().map(|room| room.wake.receiver_count()).sum(),
            attending: rooms.iter().map(|room| room.people().connections()).sum(),
            users: self.users.len(),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
