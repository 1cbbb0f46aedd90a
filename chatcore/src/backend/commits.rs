//! Calls of the committer: heads of rooms, and batches.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{
    Append, Batch, Head, MessageChange, NonceKey, ReadState, RoomBatch, Stored, Target,
};
use crate::types::{Message, RoomName};

/// Stores batches, and answers the questions that a batch is built from.
///
/// No call waits for other calls than those of this trait.
#[async_trait]
pub(crate) trait Commits: Send + Sync + 'static {
    /// Returns the heads of rooms, in the order asked for. A head that cannot be read is an error
    /// of its own.
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>>;

    /// Stores a batch, if the heads of its rooms are [what it expects](RoomBatch::follows). A
    /// repeat of a batch that was stored changes nothing, and may return that it is refused.
    async fn append(&self, batch: Arc<Batch>) -> Result<Append>;

    /// Returns true if the batch is stored. Waits for an attempt to store it that is still under
    /// way.
    ///
    /// Only the answer about the last batch that the committer tried to store has to be right,
    /// because it uses no other. SQLite and a standalone mongod remember no more, and return false
    /// for an earlier batch.
    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool>;

    /// Returns messages that are to be changed, in the order asked for; `None` for one that does
    /// not exist. One that cannot be read is an error of its own.
    async fn targets(
        &self,
        targets: Vec<Target>,
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>>;

    /// Returns the locations of the new messages of a room, once their batch is stored.
    fn locations_of(&self, room_batch: &RoomBatch) -> Vec<i64> {
        vec![0; room_batch.messages.len()]
    }

    /// Returns the location of a message, once this change of it is stored.
    fn location_after(&self, change: &MessageChange) -> i64 {
        change.before.location
    }

    /// Returns the messages stored under these nonces, in the order asked for. One that cannot be
    /// read is an error of its own.
    async fn messages_by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>>;
}
