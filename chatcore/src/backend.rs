//! What a store needs of a database: each method is one atomic step of the domain.
//!
//! The rules of the domain live above this trait, once. Every future here may be dropped: that
//! abandons the answer, never the work, and leaves the backend usable.

mod accounts;
mod change_sink;
mod moderation;
#[cfg(feature = "mongodb")]
pub(crate) mod mongo;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use self::accounts::Accounts;
pub(crate) use self::change_sink::ChangeSink;
pub(crate) use self::moderation::Moderation;
use crate::error::Result;
use crate::model::{
    Append, Batch, Head, Joined, MessageChange, NonceKey, Page, ProcessId, ProcessPresence,
    ReadMark, ReadState, RoomBatch, Signal, Stored, Target,
};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, Room, RoomName, Seq, Topic, UserRoom, Username};

#[async_trait]
pub(crate) trait Backend: Accounts + Moderation {
    /// The heads of rooms, in the order asked for. A head that cannot be read is an error of its
    /// own.
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>>;
    /// Stores a batch. A repeat of a batch that was stored changes nothing and may also say
    /// that it is refused.
    async fn append(&self, batch: Arc<Batch>) -> Result<Append>;
    /// Whether the batch is stored. Waits for an attempt to store it that is still under way.
    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool>;
    /// Messages that are to be changed, in the order asked for; `None` for one that does not exist.
    /// One that cannot be read is an error of its own.
    async fn targets(
        &self,
        targets: Vec<Target>,
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>>;
    /// Where the messages of a part of a batch are kept once it is stored.
    fn locations_of(&self, part: &RoomBatch) -> Vec<i64> {
        vec![0; part.messages.len()]
    }
    /// Where a message is kept once this change of it is stored.
    fn location_after(&self, change: &MessageChange) -> i64 {
        change.before.location
    }
    /// The messages stored under these nonces, in the order asked for. One that cannot be read is
    /// an error of its own.
    async fn by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>>;

    /// Creates a public room that nobody owns unless it exists; says whether it did.
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool>;
    /// The public rooms.
    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>>;
    async fn room(&self, room: RoomName) -> Result<Option<Room>>;
    /// The members, or `None` if the room does not exist.
    async fn users(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>>;
    /// Makes the user a member of a room. Without an invitation, the room is created unless it
    /// exists.
    async fn join(
        &self,
        room: RoomName,
        user: Username,
        invited: bool,
        now: Timestamp,
    ) -> Result<Joined>;
    /// Ends a membership, so that no post that rests on it is stored after this; says whether the
    /// room exists.
    async fn leave(&self, room: RoomName, user: Username) -> Result<bool>;

    /// At most `limit` messages, in `seq` order; none of a room that does not exist.
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>>;
    /// At most `limit` messages that changed after the change `after`, as they are now, by the
    /// number of the last change to each.
    async fn changed(&self, room: RoomName, after: ChangeSeq, limit: u32) -> Result<Vec<Message>>;
    async fn message_count(&self, user: Username) -> Result<u64>;
    /// Sets what a room is about; says whether the room exists.
    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool>;

    /// At most `limit` messages from before `before` that mention a user, newest first, whether the
    /// user may read them or not.
    async fn mentions(&self, user: Username, before: Timestamp, limit: u32)
    -> Result<Vec<Message>>;
    /// Places of at most `limit` messages that mention a user, newest first.
    async fn mentioned_at(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>>;

    /// Where a user's mark of what was read in a room is; 0 if there is none.
    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq>;
    /// Moves marks of what was read forward, never back, in one write. An error leaves open which
    /// of them were moved.
    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<()>;
    /// Lists the rooms that a user is a member of, by name, without their mentions.
    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>>;

    /// Whether other processes may write to the store while this one does.
    fn is_shared(&self) -> bool {
        false
    }
    /// Reports the changes of a store that other processes may write to, until something fails or
    /// the sink is closed: publishes every commit, this process's own included, and closes the sink
    /// once the store is lost to another process. The sink is live while nothing is left out.
    async fn watch(&self, sink: Arc<dyn ChangeSink>) -> Result<()> {
        sink.closed().await;
        Ok(())
    }
    /// Tells other processes who is connected to this one.
    async fn attend(&self, room: RoomName, attendance: ProcessPresence) -> Result<()> {
        let _ = (room, attendance);
        Ok(())
    }
    /// Who is connected to other processes.
    async fn attendance(&self, room: RoomName) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        let _ = room;
        Ok(Vec::new())
    }
    /// Tells other processes what passes.
    async fn announce(&self, signal: Signal) -> Result<()> {
        let _ = signal;
        Ok(())
    }
    /// Succeeds if the store can be read and written by this process.
    async fn ping(&self) -> Result<()>;
    /// Gives the store free for another process. Nothing is called after it.
    async fn close(&self) -> Result<()>;
}
