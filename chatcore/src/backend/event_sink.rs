//! The receiver of the events that a backend reports.

use async_trait::async_trait;

use crate::model::{ProcessId, ProcessPresence};
use crate::types::{Message, RoomName, Seq, Topic, Username};

/// Receives what a backend learns of the commits and signals on a store that other processes may
/// write to.
///
/// A backend calls it from [`Backend::watch`](super::Backend::watch) only, in the order in which
/// the store has them. No call waits, and each may be repeated: a change stream that is resumed
/// reports some events again.
#[async_trait]
#[cfg_attr(
    not(feature = "mongodb"),
    expect(dead_code, reason = "only MongoDB reports events")
)]
pub(crate) trait EventSink: Send + Sync + 'static {
    /// Publishes new messages of a room, in `seq` order.
    fn publish_messages(&self, room: &RoomName, messages: Vec<Message>);
    /// Publishes changed messages of a room, as they are after their changes, in the order of
    /// these.
    fn publish_changes(&self, room: &RoomName, changed: Vec<Message>);
    /// Notifies a user that a message mentions the user.
    fn notify_mention(&self, user: &Username, room: &RoomName, seq: Seq);
    /// Notifies the followers of a room of its new topic.
    fn notify_topic(&self, room: &RoomName, topic: &Topic);
    /// Notifies a user that the user's read mark is stored at `seq`.
    fn notify_read_mark(&self, user: &Username, room: &RoomName, seq: Seq);

    /// Notifies the followers of a name that a private room of this name was created: the access of
    /// everyone is checked again.
    fn notify_private_room_created(&self, room: &RoomName);
    /// Has the access of one name, in any case, checked again: the user was removed or banned.
    fn notify_evicted(&self, room: &RoomName, user: &Username);
    /// Notifies a user that the list of the user's rooms has changed.
    fn notify_rooms_changed(&self, user: &Username);
    /// Notifies a name, in any case, that some of its sessions ended.
    fn notify_sessions_ended(&self, user: &Username);
    /// Notifies a name, in any case, that all that it has open ends.
    fn notify_revoked(&self, user: &Username);

    /// Publishes the users who are connected to a room at another process; `None` if that process
    /// has ended.
    fn publish_presence(
        &self,
        room: &RoomName,
        process: ProcessId,
        presence: Option<ProcessPresence>,
    );
    /// Has this process publish its own presence in a room again: the store lost it.
    fn republish_presence(&self, room: &RoomName);
    /// Notifies the followers of a room that a user types.
    fn notify_typing(&self, room: &RoomName, user: &Username);

    /// Returns true while every commit of another process is reported within about a second, and
    /// memory may answer.
    fn is_live(&self) -> bool;
    /// Commits of others are reported late from now on, or not at all.
    fn pause(&self);
    /// Every commit of another process since the pause has been reported, and is from now on.
    fn resume(&self);
    /// From now on every commit of another process is reported that a read which begins now would
    /// not find. Commits from before may be missing.
    fn begin_epoch(&self);
    /// An event about this room could not be read and was skipped: its messages and changes are
    /// read from the store.
    fn miss_events(&self, room: &RoomName);

    /// Ends the service of this store: it is lost to another process.
    fn close(&self);
    /// Returns true if the sink takes no more events.
    fn is_closed(&self) -> bool;
    /// Waits until the sink is closed.
    async fn closed(&self);
}
