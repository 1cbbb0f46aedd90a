//! The feed as a receiver of what a backend reports of other processes.

use async_trait::async_trait;

use super::Feed;
use super::UserUpdate;
use super::ring::Ring;
use super::room_presence::RoomPresence;
use crate::backend::EventSink;
use crate::model::{ProcessId, ProcessPresence};
use crate::shared::SharedMessage;
use crate::types::{Message, RoomName, Seq, Topic, Username};

#[async_trait]
impl EventSink for Feed {
    fn publish_messages(&self, room: &RoomName, messages: Vec<Message>) {
        if let Some(room) = self.rooms.get(room) {
            let messages = messages.into_iter().map(SharedMessage::from);
            self.publish_to(&room, messages, []);
            self.rooms.shrink();
        }
    }

    fn publish_changes(&self, room: &RoomName, changed: Vec<Message>) {
        self.counts
            .forget(changed.iter().filter_map(Message::sender));
        if let Some(room) = self.rooms.get(room) {
            let changed = changed.into_iter().map(SharedMessage::from);
            self.publish_to(&room, [], changed);
            self.rooms.shrink();
        }
    }

    fn notify_mention(&self, user: &Username, room: &RoomName, seq: Seq) {
        self.notify_mentioned(user, room, seq);
    }

    fn notify_topic(&self, room: &RoomName, topic: &Topic) {
        self.set_topic(room, topic);
    }

    fn notify_read_mark(&self, user: &Username, room: &RoomName, seq: Seq) {
        let publish = |seq| self.notify_read(user, room, seq);
        self.read_marks.learn(user, room, seq, publish);
    }

    fn notify_private_room_created(&self, room: &RoomName) {
        self.forget_access(room);
    }

    fn notify_evicted(&self, room: &RoomName, user: &Username) {
        self.evict(room, user);
    }

    fn notify_rooms_changed(&self, user: &Username) {
        self.users.notify(user, UserUpdate::RoomsChanged);
    }

    fn notify_sessions_ended(&self, user: &Username) {
        self.users.notify_sessions_ended(user);
    }

    fn notify_revoked(&self, user: &Username) {
        self.users.notify_revoked(user);
    }

    fn publish_presence(
        &self,
        room: &RoomName,
        process: ProcessId,
        presence: Option<ProcessPresence>,
    ) {
        let Some(room) = self.rooms.get(room) else {
            return;
        };
        self.update_presence(&room, |known| match presence {
            Some(presence) => known.set_remote(process, presence),
            None => known.remove_remote(process),
        });
    }

    fn republish_presence(&self, room: &RoomName) {
        let Some(room) = self.rooms.get(room) else {
            return;
        };
        self.update_presence(&room, |known| {
            if !known.is_empty() {
                known.mark_unpublished();
            }
        });
    }

    fn notify_typing(&self, room: &RoomName, user: &Username) {
        self.add_typing(room, user);
    }

    fn is_live(&self) -> bool {
        self.freshness.is_live()
    }

    fn pause(&self) {
        self.freshness.pause();
    }

    fn resume(&self) {
        self.freshness.resume();
    }

    fn begin_epoch(&self) {
        self.freshness.begin_epoch();
        self.counts.clear();
        for room in self.rooms.all() {
            room.presence().miss_events();
            // Rooms without a watcher are not updated: a later watcher has the presence loaded.
            if room.is_watched() || !room.presence().is_empty() {
                self.schedule_presence(&room);
            }
        }
        self.users.notify_missed();

        self.freshness.resume();
        self.to_refresh.notify_one();
    }

    fn miss_events(&self, room: &RoomName) {
        let Some(room) = self.rooms.get(room) else {
            return;
        };
        self.rooms.update_ring(&room, Ring::miss_events);
        self.update_presence(&room, RoomPresence::miss_events);
        room.forget_access();
    }

    fn close(&self) {
        self.close();
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    async fn closed(&self) {
        self.closed().await;
    }
}
