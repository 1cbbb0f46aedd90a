//! Writes that wait for the journal, as long as this process has the lease.

use std::sync::atomic::{AtomicU64, Ordering};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocumentBuf, cstr};

use crate::backend::mongo::connection::{Connection, Written};
use crate::backend::mongo::error::error;
use crate::backend::mongo::lease::Lease;
use crate::backend::mongo::{commands, find};
use crate::error::Result;
use crate::types::{RoomName, Seq};

/// Writer of one process.
#[derive(Clone, Copy)]
pub(super) struct Journal<'a> {
    pub(super) connection: &'a Connection,
    pub(super) lease: &'a Lease,
    /// Number of times that messages which had arrived were taken back.
    pub(super) withdrawals: &'a AtomicU64,
}

impl Journal<'_> {
    /// Runs a write command. Returns the fields of the index that refused a document, if one did.
    pub(super) async fn step(&self, command: RawDocumentBuf) -> Result<Option<Document>> {
        Ok(self.write(command).await?.duplicate)
    }

    /// Runs a write command and waits until it is journaled.
    pub(super) async fn write(&self, mut command: RawDocumentBuf) -> Result<Written> {
        self.lease.may_write()?;
        command.append(cstr!("writeConcern"), commands::journaled());
        self.connection.write(command, None).await.map_err(error)
    }

    /// Removes messages of the batch `id` above `after`, up to `last`. Nobody has seen them.
    pub(super) async fn remove(
        &self,
        room: &RoomName,
        after: Seq,
        last: Seq,
        id: ObjectId,
    ) -> Result<()> {
        let mut filter = find::bucket_range(room, after, last);
        filter.insert("batch", id);
        let delete = commands::delete("messages", filter).map_err(error)?;
        self.withdrawals.fetch_add(1, Ordering::AcqRel);
        self.step(delete).await?;
        Ok(())
    }
}
