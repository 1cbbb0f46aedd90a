//! The differences between a replica set and a standalone mongod.

use std::sync::Arc;

use async_trait::async_trait;

use super::connection::Connection;
use super::step::Step;
use crate::backend::EventSink;
use crate::error::Result;
use crate::model::{Append, Batch, Head, ProcessId, ProcessPresence};
use crate::types::RoomName;

/// State of the batches in a room, for a reader who must not see one that is being stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomProgress {
    /// Head up to which the room may be shown; `None` if all of it may.
    pub(super) head: Option<Head>,
    /// Grows with each batch that changes messages; `None` while messages of the room are being
    /// changed.
    pub(super) revision: Option<u64>,
    /// Number of times that messages which had arrived were taken back.
    pub(super) withdrawals: u64,
}

/// A kind of deployment, as this process writes to it: a replica set or a sharded cluster, or a
/// standalone mongod.
#[async_trait]
pub(super) trait Deployment: Send + Sync {
    /// Returns true if other processes may write to the database while this one does.
    fn is_shared(&self) -> bool;

    /// Returns true if slots may hold some of a user's count.
    fn reads_slots(&self) -> bool;

    /// Brings the database into the state in which this process starts.
    async fn start(&self, connection: &Connection) -> Result<()>;

    /// Stores a batch.
    async fn append(&self, connection: &Connection, batch: &Arc<Batch>) -> Result<Append>;

    /// Returns true if a batch is stored. Waits for an attempt that is still under way.
    async fn is_stored(&self, connection: &Connection, batch: &Batch) -> Result<bool>;

    /// Runs a step. Returns false if a precondition failed.
    async fn run_step(&self, connection: &Connection, step: &mut dyn Step) -> Result<bool>;

    /// Completes or cuts off a batch that was begun and not finished. Where a batch is not seen all
    /// at once, none is stored until the guard is dropped.
    async fn settle<'a>(&'a self, connection: &Connection) -> Result<Box<dyn Send + 'a>>;

    /// Returns how far the batches in a room have come.
    fn progress_in(&self, room: &RoomName) -> Result<RoomProgress>;

    /// Fails unless this process may write now.
    fn may_write(&self) -> Result<()>;

    /// Reports the commits and signals of all processes.
    async fn watch(&self, connection: &Connection, sink: &dyn EventSink) -> Result<()>;

    /// Returns true if this is the id of this process.
    fn is_me(&self, process: ProcessId) -> bool;

    /// Publishes the users who are connected to a room at this process, if there are others.
    async fn publish_presence(
        &self,
        connection: &Connection,
        room: &RoomName,
        presence: &ProcessPresence,
    ) -> Result<()>;

    /// Leaves the database to other processes.
    async fn close(&self, connection: &Connection);
}
