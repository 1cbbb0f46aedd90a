//! When what is in memory may be told, and when the store must be asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::people::People;
use super::ring::Ring;
use super::{Feed, RoomFeed, senders};
use crate::backend::Batch;
use crate::types::RoomName;

impl Feed {
    /// Whether the ring of a room is known to be up to date.
    pub(crate) fn is_trusted(&self, room: &RoomFeed) -> bool {
        self.live.load(Ordering::SeqCst) && room.doubts.load(Ordering::SeqCst) == 0 && !self.is_closed()
    }

    /// Whether every commit of another process is heard of, if there is another one.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }

    /// From now until [`settle`](Self::settle) the batch may be committed unheard.
    pub(crate) fn doubt(&self, batch: &Batch) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        self.counts.forget(senders(batch));
        batch.rooms.iter().for_each(|part| self.doubt_room(&part.room));
    }

    /// The batch is committed or never will be.
    pub(crate) fn settle(&self, batch: &Batch) {
        batch.rooms.iter().for_each(|part| self.settle_room(&part.room));
        self.counts.forget(senders(batch));
        self.doubts.fetch_sub(1, Ordering::SeqCst);
    }

    /// From now until [`settle_deletion`](Self::settle_deletion) a message of the room may be deleted
    /// unheard.
    pub(crate) fn doubt_deletion(&self, room: &RoomName) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        self.doubt_room(room);
    }

    /// The message is deleted or never will be.
    pub(crate) fn settle_deletion(&self, room: &RoomName) {
        self.settle_room(room);
        // Whose message it was may not be known.
        self.counts.clear();
        self.doubts.fetch_sub(1, Ordering::SeqCst);
    }

    fn doubt_room(&self, room: &RoomName) {
        let room = self.room(room);
        room.doubts.fetch_add(1, Ordering::SeqCst);
        self.forget(&room);
    }

    fn settle_room(&self, room: &RoomName) {
        if let Some(room) = self.get(room) {
            // In this order: what is read from now on is the result.
            self.forget(&room);
            room.doubts.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Forgets what is known of a room, and has its followers ask the store.
    fn forget(&self, room: &RoomFeed) {
        self.change(room, Ring::clear);
        room.wake.send_replace(());
    }

    /// Commits of other processes go unheard from now on.
    pub(crate) fn go_deaf(&self) {
        self.live.store(false, Ordering::SeqCst);
    }

    /// From now on every commit is heard of that a read which begins now would not find.
    #[cfg_attr(not(feature = "mongodb"), expect(dead_code, reason = "only MongoDB is shared"))]
    pub(crate) fn go_live(&self) {
        for room in self.all() {
            self.change(&room, Ring::miss_deletions);
            room.close_door();
            self.forget(&room);
            self.change_people(&room, People::unload);
        }
        self.counts.clear();
        self.users.ask_again();
        self.live.store(true, Ordering::SeqCst);
    }

    /// The rooms that are followed and may miss something.
    pub(crate) fn untrusted(&self) -> Vec<Arc<RoomFeed>> {
        let mut rooms = self.all();
        rooms.retain(|room| room.is_followed() && !self.is_trusted(room));
        rooms
    }
}
