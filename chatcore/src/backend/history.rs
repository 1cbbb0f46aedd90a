//! Reads of messages and of the counters and mentions that follow from them.

use async_trait::async_trait;

use crate::error::Result;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, RoomName, Seq, Username};

/// Reads stored messages.
#[async_trait]
pub(crate) trait History: Send + Sync + 'static {
    /// Returns at most `limit` messages, in `seq` order; none of a room that does not exist.
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>>;

    /// Returns at most `limit` messages that changed after the change `after`, as they are now, in
    /// the order of their last changes.
    async fn changed_messages(
        &self,
        room: RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<Message>>;

    /// Returns the number of a user's stored messages.
    async fn message_count(&self, user: Username) -> Result<u64>;

    /// Returns at most `limit` messages from before `before` that mention a user, newest first,
    /// also those that the user may not read.
    async fn mentions(&self, user: Username, before: Timestamp, limit: u32)
    -> Result<Vec<Message>>;

    /// Returns room and `seq` of at most `limit` messages that mention a user, newest first.
    async fn newest_mentions(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>>;
}
