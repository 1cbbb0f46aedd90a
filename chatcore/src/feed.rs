//! Memory for readers: the newest messages of rooms, and the wake-up of those who follow them.
//!
//! - [`freshness`]: when may memory answer for the store?
//! - [`rooms`]: the rooms in memory, and the limits of that memory
//! - [`room`]: one room, made of
//!   - [`ring`]: its newest messages and changes
//!   - [`access_cache`]: who may enter it
//!   - [`room_presence`]: who is connected to it
//!   - [`signals`]: its topic, and who types
//! - [`user_feeds`]: updates of single users
//! - [`counts`]: message counts of users
//! - [`sink`]: the feed as a receiver of the events that a backend reports
//!
//! A message is published after its commit, never before. A reader registers, then reads, then
//! waits; so whatever is committed after the read wakes it. The store has what the ring does not
//! reach.

mod access_cache;
mod counts;
mod freshness;
mod ring;
mod room;
mod room_presence;
mod rooms;
mod signals;
mod sink;
mod user_feeds;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use self::counts::Counts;
use self::freshness::Freshness;
pub(crate) use self::freshness::Generation;
use self::ring::{Ring, Writers};
pub(crate) use self::room::RoomFeed;
use self::room_presence::RoomPresence;
use self::rooms::RoomTable;
use self::user_feeds::UserFeeds;
pub use self::user_feeds::UserUpdate;
use crate::error::Result;
use crate::model::{Batch, Head, RoomBatch};
use crate::read_marks::ReadMarks;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, Privacy, Range, RoomName, Seq, Topic, Username};

/// Memory for the readers and followers of one store.
pub(crate) struct Feed {
    writers: Writers,
    rooms: RoomTable,
    freshness: Freshness,
    counts: Counts,
    pub(crate) users: UserFeeds,
    pub(crate) read_marks: ReadMarks,
    /// Notified when many rooms have to be refreshed.
    to_refresh: Notify,
    /// Number of what this process last published of its presence.
    presence_version: AtomicI64,
    presence_updates: mpsc::UnboundedSender<PresenceUpdate>,
}

/// An update of the presence in a room that is due at some time. A room has at most one.
pub(crate) struct PresenceUpdate {
    pub(crate) at: Instant,
    pub(crate) room: Arc<RoomFeed>,
}

/// A question to the store for the head of a room, to bring the room up to date.
pub(crate) struct Refresh {
    pub(crate) room: Arc<RoomFeed>,
    /// Generation of the access.
    access: Generation,
    /// Generation of the ring.
    ring: Generation,
    ends_known: bool,
}

/// Numbers of the rooms and readers that a store holds in memory. Made by
/// [`ChatStore::live_counts`](crate::ChatStore::live_counts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveCounts {
    /// Rooms whose end is in memory. One that nobody follows or reads goes after a minute.
    pub rooms: usize,
    /// Followers and readers who wait, over all rooms.
    pub followers: usize,
    /// Presences that have not ended, over all rooms.
    pub present: usize,
    /// Users who are watched.
    pub users: usize,
    /// Bytes of messages in memory, approximately.
    pub bytes: usize,
}

fn senders(batch: &Batch) -> impl Iterator<Item = &Username> {
    batch.counts.iter().map(|count| &count.user)
}

impl Feed {
    /// Returns a feed, and a receiver of the updates of presence that it asks for. The feed is live
    /// from the start if only this process writes to the store.
    pub(crate) fn new(is_only_writer: bool) -> (Self, mpsc::UnboundedReceiver<PresenceUpdate>) {
        let (presence_updates, receiver) = mpsc::unbounded_channel();
        let feed = Self {
            writers: match is_only_writer {
                true => Writers::ThisProcess,
                false => Writers::Many,
            },
            rooms: RoomTable::new(),
            freshness: Freshness::new(is_only_writer),
            counts: Counts::default(),
            users: UserFeeds::default(),
            read_marks: ReadMarks::default(),
            to_refresh: Notify::new(),
            presence_version: AtomicI64::new(0),
            presence_updates,
        };
        (feed, receiver)
    }

    /// Returns a room, of which everything that is published is kept from now on.
    pub(crate) fn room(&self, room: &RoomName) -> Arc<RoomFeed> {
        self.rooms.get_or_add(room, || self.freshness.of_new_room())
    }

    /// Drops the rooms that nobody follows and nobody read for a while.
    pub(crate) fn sweep(&self) {
        self.rooms.sweep();
    }

    /// Ends everyone who follows or reads.
    pub(crate) fn close(&self) {
        self.freshness.close();
        self.rooms.all().iter().for_each(|room| room.wake());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.freshness.is_closed()
    }

    /// Waits for [`close`](Self::close).
    pub(crate) async fn closed(&self) {
        self.freshness.closed().await;
    }

    /// Returns what is in memory.
    pub(crate) fn live_counts(&self) -> LiveCounts {
        let rooms = self.rooms.all();
        LiveCounts {
            rooms: rooms.len(),
            followers: rooms.iter().map(|room| room.followers()).sum(),
            present: rooms.iter().map(|room| room.presence().connections()).sum(),
            users: self.users.len(),
            bytes: self.rooms.bytes(),
        }
    }
}

/// Reading memory, and taking in answers of the store.
impl Feed {
    /// Returns who may know of a room, if that is known.
    pub(crate) fn privacy(&self, room: &RoomName) -> Option<Privacy> {
        self.rooms.visit(room, RoomFeed::privacy)
    }

    /// Returns the messages that the store would give, if that is known without asking it.
    pub(crate) fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
    ) -> Option<Vec<SharedMessage>> {
        self.rooms
            .visit(room, |room| self.read_in(room, range, limit))
    }

    /// Returns what [`read`](Self::read) does, if the room is known to be public.
    pub(crate) fn read_public(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
    ) -> Option<Vec<SharedMessage>> {
        self.rooms.visit(room, |room| {
            let is_public = room.privacy() == Some(Privacy::Public);
            is_public
                .then(|| self.read_in(room, range, limit))
                .flatten()
        })
    }

    fn read_in(&self, room: &RoomFeed, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        self.rooms.touch(room);
        self.read_if_fresh(room, || room.read(range, limit))
    }

    /// Returns true if memory may answer a read of a room, as far as its ring reaches.
    pub(crate) fn is_fresh(&self, room: &RoomFeed) -> bool {
        self.freshness.is_fresh(&room.freshness)
    }

    /// Reads memory of a room, if it may answer a read.
    pub(crate) fn read_if_fresh<T>(
        &self,
        room: &RoomFeed,
        read: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        self.freshness.read_if_fresh(&room.freshness, read)
    }

    /// Reads memory of a room, if every change of it by another process is known.
    pub(crate) fn read_if_current<T>(
        &self,
        room: &RoomFeed,
        read: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        self.freshness.read_if_current(&room.freshness, read)
    }

    /// Takes in messages that the store answered to a question that began at `asked`. An empty
    /// answer tells something only of an empty room.
    pub(crate) fn load(
        &self,
        room: &RoomFeed,
        asked: Generation,
        loaded: &[SharedMessage],
        reaches_end: bool,
    ) {
        if loaded.last().map(|message| message.seq) > room.end() {
            room.expect_messages_of_others();
        }

        let is_new = self.rooms.update_ring(room, |ring| {
            if ring.generation() != asked {
                return false;
            }
            let before = ring.end();
            ring.load(loaded, reaches_end);
            ring.end() > before
        });
        if is_new {
            room.wake();
        }
        self.rooms.shrink();
    }

    /// Takes in that the room had no message at a question that began at `asked`.
    pub(crate) fn load_empty(&self, room: &RoomFeed, asked: Generation) {
        let mut ring = room.ring();
        if ring.generation() == asked {
            ring.load_empty();
        }
    }

    /// Takes in that there was no message after `seq` at a question that began at `asked`. Returns
    /// true if the ring ends there.
    pub(crate) fn confirm_end(&self, room: &RoomFeed, asked: Generation, seq: Seq) -> bool {
        let mut ring = room.ring();
        ring.generation() == asked && ring.confirm_end(seq)
    }

    /// Takes in the number of the last change of a room, the answer to a question that began at
    /// `asked`.
    pub(crate) fn learn_last_change(&self, room: &RoomFeed, asked: Generation, number: ChangeSeq) {
        let is_new = self.rooms.update_ring(room, |ring| {
            ring.generation() == asked && ring.learn_last_change(number)
        });
        // The change stream does not bring it again.
        if is_new {
            room.wake();
        }
    }

    /// Returns the message count of a user, if it is known without asking the store.
    pub(crate) fn count(&self, user: &Username) -> Option<u64> {
        self.freshness.read_if_certain(|| self.counts.get(user))
    }

    /// Begins a question to the store for the count of a user.
    pub(crate) fn begin_count(&self, user: &Username) -> Generation {
        self.counts.begin_question(user)
    }

    /// Takes in the answer to a question for a count that began at `asked`.
    pub(crate) fn learn_count(&self, user: &Username, asked: Generation, count: u64) {
        self.counts.learn(user, asked, count);
    }

    /// Moves a user's read mark forward, and notifies those who watch the user. For `stored` see
    /// [`ReadMarks::advance`].
    pub(crate) fn mark_read(
        &self,
        user: &Username,
        room: &RoomName,
        seq: Seq,
        stored: Option<Seq>,
    ) -> Result<Option<Seq>> {
        let publish = |seq| self.notify_read(user, room, seq);
        self.read_marks.advance(user, room, seq, stored, publish)
    }

    fn notify_read(&self, user: &Username, room: &RoomName, seq: Seq) {
        let room = room.clone();
        self.users.notify(user, UserUpdate::Read { room, seq });
    }
}

/// Publishing what was committed.
impl Feed {
    /// Publishes a batch of this process. The batch must be committed.
    pub(crate) fn publish_batch(&self, batch: &Batch) {
        self.counts.forget(senders(batch));
        for room_batch in &batch.rooms {
            self.publish_room_batch(room_batch);
        }
        self.notify_mentions(batch);
        self.rooms.shrink();
    }

    fn publish_room_batch(&self, room_batch: &RoomBatch) {
        if let Some(room) = self.rooms.get(&room_batch.room) {
            room.committed_after(room_batch.after);
            let messages = room_batch.messages.iter();
            let changed = room_batch.changes.iter();
            self.publish_to(
                &room,
                messages.map(|message| message.to_message(&room_batch.room).into()),
                changed.map(|change| change.after.clone().into()),
            );
        }
    }

    /// Notifies those who watch a user whom the batch mentions. The batch must be committed.
    pub(crate) fn notify_mentions(&self, batch: &Batch) {
        for room_batch in &batch.rooms {
            for message in &room_batch.messages {
                for user in &message.content.mentions {
                    self.notify_mentioned(user, &room_batch.room, message.seq);
                }
            }
            for change in &room_batch.changes {
                for user in change.new_mentions() {
                    self.notify_mentioned(user, &room_batch.room, change.after.seq);
                }
            }
        }
    }

    fn publish_to(
        &self,
        room: &RoomFeed,
        messages: impl IntoIterator<Item = SharedMessage>,
        changed: impl IntoIterator<Item = SharedMessage>,
    ) {
        let is_new = self.rooms.update_ring(room, |ring| {
            let mut is_new = false;
            for message in messages {
                is_new |= ring.publish(&message, self.writers);
            }
            for message in changed {
                is_new |= ring.publish_change(&message, self.writers);
            }
            is_new
        });
        if is_new {
            room.wake();
        }
    }

    /// Notifies those who watch a user that a message mentions the user.
    fn notify_mentioned(&self, user: &Username, room: &RoomName, seq: Seq) {
        let room = room.clone();
        self.users.notify(user, UserUpdate::Mentioned { room, seq });
    }

    /// Notifies the followers of a room that it has another topic.
    pub(crate) fn set_topic(&self, room: &RoomName, topic: &Topic) {
        if let Some(room) = self.rooms.get(room) {
            room.set_topic(topic.clone());
        }
    }

    /// Notifies the followers of a room that a user types. Returns false if they were notified of
    /// that user a moment ago.
    pub(crate) fn add_typing(&self, room: &RoomName, user: &Username) -> bool {
        self.rooms
            .get(room)
            .is_none_or(|room| room.add_typing(user))
    }

    /// Has everyone who is in a room looked up again: a private room of this name was created.
    pub(crate) fn forget_access(&self, room: &RoomName) {
        if let Some(room) = self.rooms.get(room) {
            room.forget_access();
        }
    }

    /// Has one name, in any case, looked up again: it may have been removed or banned.
    pub(crate) fn evict(&self, room: &RoomName, user: &Username) {
        if let Some(room) = self.rooms.get(room) {
            room.evict(user);
        }
    }
}

/// Changes of freshness. The module [`freshness`] tells what follows from them.
impl Feed {
    pub(crate) fn pause(&self) {
        self.freshness.pause();
    }

    /// Takes a stale room into the present epoch: what may have changed in the gap is unknown from
    /// then on, and is learned from the store.
    pub(crate) fn renew(&self, room: &RoomFeed) {
        let Some(epoch) = self.freshness.epoch_after(&room.freshness) else {
            return;
        };
        self.rooms.update_ring(room, |ring| {
            // Checked under the lock, so that what one caller renewed and learned is not forgotten
            // by another.
            if !room.freshness.is_of(epoch) {
                ring.miss_events();
                room.miss_evictions();
                room.freshness.enter_epoch(epoch);
            }
        });
    }

    /// Takes note that a batch of this process may be committed without being published, until
    /// [`remove_uncertain`](Self::remove_uncertain). Its rooms are refreshed for their followers.
    pub(crate) fn add_uncertain(&self, batch: &Batch) {
        self.freshness.add_uncertain();
        for room_batch in &batch.rooms {
            self.room(&room_batch.room).freshness.add_uncertain();
        }
    }

    /// Takes note that a batch is published, or is taken care of otherwise.
    pub(crate) fn remove_uncertain(&self, batch: &Batch) {
        for room_batch in &batch.rooms {
            if let Some(room) = self.rooms.get(&room_batch.room) {
                room.freshness.remove_uncertain();
            }
        }
        self.freshness.remove_uncertain();
    }

    /// Takes note that a batch of this process may be committed and will not be published, and
    /// forgets its rooms, until [`resolve`](Self::resolve).
    pub(crate) fn mark_uncertain(&self, batch: &Batch) {
        self.add_uncertain(batch);
        self.forget(batch);
    }

    /// Takes note that a batch is committed or never will be, or that the store has ended.
    pub(crate) fn resolve(&self, batch: &Batch) {
        // In this order: what is read from now on is the result.
        self.forget(batch);
        self.remove_uncertain(batch);
    }

    /// Forgets the messages of a batch's rooms and the counts of its senders, and has followers ask
    /// the store.
    fn forget(&self, batch: &Batch) {
        self.counts.forget(senders(batch));
        for room_batch in &batch.rooms {
            if let Some(room) = self.rooms.get(&room_batch.room) {
                self.rooms.update_ring(&room, Ring::clear);
                room.wake();
            }
        }
    }

    /// Returns the rooms that are followed and may lack something.
    pub(crate) fn rooms_to_refresh(&self) -> Vec<Arc<RoomFeed>> {
        let mut rooms = self.rooms.all();
        rooms.retain(|room| room.is_followed() && (!self.is_fresh(room) || room.end().is_none()));
        rooms
    }

    /// Waits until many rooms may lack something.
    pub(crate) async fn refresh_needed(&self) {
        self.to_refresh.notified().await;
    }

    /// Begins a question for the head of a room.
    pub(crate) fn begin_refresh(&self, room: Arc<RoomFeed>) -> Refresh {
        self.renew(&room);
        Refresh {
            access: room.begin_access_question(),
            ring: room.generation(),
            ends_known: room.knows_ends(),
            room,
        }
    }

    /// Takes in the head of a room. Returns false if the ring may lack messages.
    pub(crate) fn confirm(&self, refresh: &Refresh, head: Option<Head>) -> bool {
        let room = &refresh.room;
        if let Some(head) = head {
            room.confirm_access(refresh.access, head);
        }

        let head = head.unwrap_or(Head::EMPTY);
        let mut ring = room.ring();
        if ring.generation() != refresh.ring {
            return false;
        }
        ring.confirm_last_change(head.change);
        ring.confirm_end(head.seq)
    }

    /// Ends a refresh. Followers of a room whose end was unknown look for changed messages.
    pub(crate) fn end_refresh(&self, refresh: &Refresh) {
        if !refresh.ends_known {
            refresh.room.wake();
        }
    }
}

/// Presence.
impl Feed {
    /// Changes the presence in a room, and has its list updated.
    fn update_presence<T>(
        &self,
        room: &Arc<RoomFeed>,
        update: impl FnOnce(&mut RoomPresence) -> T,
    ) -> T {
        let mut presence = room.presence();
        let result = update(&mut presence);
        if let Some(at) = presence.schedule(Instant::now()) {
            self.send_presence_update(room, at);
        }
        result
    }

    fn send_presence_update(&self, room: &Arc<RoomFeed>, at: Instant) {
        let room = room.clone();
        // Fails only when the store is gone, and with it everyone who could look.
        let _ = self.presence_updates.send(PresenceUpdate { at, room });
    }

    /// Has a list made of who is in a room, and kept, until [`end_watch`](Self::end_watch).
    pub(crate) fn begin_watch(&self, room: &Arc<RoomFeed>) {
        room.add_watcher();
        self.update_presence(room, RoomPresence::request_list);
    }

    pub(crate) fn end_watch(&self, room: &RoomFeed) {
        room.remove_watcher();
    }

    pub(crate) fn enter(&self, room: &Arc<RoomFeed>, user: &Username) {
        self.update_presence(room, |presence| presence.enter(user));
    }

    pub(crate) fn leave(&self, room: &Arc<RoomFeed>, user: &Username) {
        self.update_presence(room, |presence| presence.leave(user));
    }

    /// Schedules an update of the presence in a room, if something changed.
    pub(crate) fn schedule_presence(&self, room: &Arc<RoomFeed>) {
        self.update_presence(room, |_| {});
    }

    /// Schedules an update at a later time, because other processes could not be reached.
    pub(crate) fn reschedule_presence(&self, room: &Arc<RoomFeed>, at: Instant) {
        if room.presence().reschedule() {
            self.send_presence_update(room, at);
        }
    }

    /// Returns a number for what is published to other processes.
    pub(crate) fn next_presence_version(&self) -> i64 {
        self.presence_version.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests;
