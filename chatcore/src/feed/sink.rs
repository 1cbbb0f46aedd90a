//! The feed as the receiver of what a backend reports.

use async_trait::async_trait;

use super::Feed;
use crate::backend::ChangeSink;
use crate::model::{ProcessId, ProcessPresence};
use crate::types::{Message, RoomName, Seq, Topic, Username};

#[async_trait]
impl ChangeSink for Feed {
    fn publish_messages(&self, room: &RoomName, messages: Vec<Message>) {
        self.publish(room, messages.into_iter().map(Into::into).collect());
    }

    fn publish_changes(&self, room: &RoomName, changed: Vec<Message>) {
        self.publish_changed(room, changed.into_iter().map(Into::into).collect());
    }

    fn notify_mention(&self, user: &Username, room: &RoomName, seq: Seq) {
        self.hear_mention(user, room, seq);
    }

    fn notify_topic(&self, room: &RoomName, topic: &Topic) {
        self.hear_topic(room, topic);
    }

    fn notify_read_mark(&self, user: &Username, room: &RoomName, seq: Seq) {
        self.hear_mark(user, room, seq);
    }

    fn notify_access_closed(&self, room: &RoomName) {
        self.forget_access(room);
    }

    fn notify_evicted(&self, room: &RoomName, user: &Username) {
        self.evict(room, user);
    }

    fn notify_sessions_ended(&self, user: &Username) {
        self.users.sessions_ended(user);
    }

    fn publish_presence(
        &self,
        room: &RoomName,
        process: ProcessId,
        presence: Option<ProcessPresence>,
    ) {
        self.hear_people(room, process, presence);
    }

    fn republish_presence(&self, room: &RoomName) {
        self.retell_people(room);
    }

    fn notify_typing(&self, room: &RoomName, user: &Username) {
        self.hear_typing(room, user);
    }

    fn is_live(&self) -> bool {
        self.is_live()
    }

    fn pause(&self) {
        self.pause();
    }

    fn resume(&self) {
        self.resume();
    }

    fn begin_epoch(&self) {
        self.begin_epoch();
    }

    fn miss_changes(&self, room: &RoomName) {
        self.miss_changes_of(room);
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
