//! Evidence of batches without messages, on a replica set.
//!
//! A message carries the id of its batch, so a batch with messages is known by them. The others
//! write their id into a field of the slot of their process, in the command that moves the heads.
//! A field is removed by a later batch of the same process, once nobody there holds the batch any
//! more, and so nobody can ask about it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mongodb::bson::raw::CString;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, cstr, doc};

use super::connection::Connection;
use super::documents;
use super::error::error;
use crate::error::Result;
use crate::model::{Batch, BatchId};

/// Age beyond which a starting process removes the evidence in its slot. It was left by processes
/// that are gone, so nobody asks about it any more.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Field of a slot that holds the evidence.
const FIELD: &str = "stored";

/// Batches without messages of which there may be evidence.
#[derive(Default)]
pub(super) struct Evidence(Mutex<Vec<(BatchId, Weak<Batch>)>>);

/// Evidence that a batch adds, and what it removes.
pub(super) struct EvidenceUpdate {
    added: BatchId,
    removed: Vec<BatchId>,
}

impl Evidence {
    /// Decides what a batch writes, unless it has messages.
    pub(super) fn update(&self, batch: &Arc<Batch>) -> Option<EvidenceUpdate> {
        if batch
            .rooms
            .iter()
            .any(|room_batch| !room_batch.messages.is_empty())
        {
            return None;
        }
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut removed = Vec::new();
        for (id, held) in batches.iter() {
            if held.strong_count() == 0 && *id != batch.id && !removed.contains(id) {
                removed.push(*id);
            }
        }

        // From now on it may be there, whatever becomes of the attempt.
        let attempt = Arc::downgrade(batch);
        if !batches.iter().any(|(_, held)| held.ptr_eq(&attempt)) {
            batches.push((batch.id, attempt));
        }
        Some(EvidenceUpdate {
            added: batch.id,
            removed,
        })
    }

    /// Takes note that an update is stored.
    pub(super) fn updated(&self, update: &EvidenceUpdate) {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batches.retain(|(id, _)| !update.removed.contains(id));
    }
}

impl EvidenceUpdate {
    /// Adds the operators to an update of the slot.
    pub(super) fn append_to(&self, update: &mut RawDocumentBuf) -> mongodb::error::Result<()> {
        let mut set = RawDocumentBuf::new();
        set.append(CString::try_from(field(self.added))?, DateTime::now());
        update.append(cstr!("$set"), set);

        if !self.removed.is_empty() {
            let mut unset = RawDocumentBuf::new();
            for id in &self.removed {
                unset.append(CString::try_from(field(*id))?, true);
            }
            update.append(cstr!("$unset"), unset);
        }
        Ok(())
    }
}

/// Names the field that is the evidence of a batch.
pub(super) fn field(id: BatchId) -> String {
    format!("{FIELD}.{}", documents::batch_id(id).to_hex())
}

/// Removes what processes that are gone have left in slot number `slot`.
pub(super) async fn remove_old(connection: &Connection, slot: i32) -> Result<()> {
    let id = doc! { "_id": { "tally": slot } };
    let counters = connection.collection("counters");
    let found = counters
        .find_one(id.clone())
        .projection(doc! { FIELD: 1 })
        .await
        .map_err(error)?;

    let oldest = DateTime::now()
        .timestamp_millis()
        .saturating_sub(i64::try_from(MAX_AGE.as_millis()).unwrap_or(i64::MAX));
    let mut unset = Document::new();
    let stored = found
        .as_ref()
        .and_then(|slot| slot.get_document(FIELD).ok());
    for (id, at) in stored.into_iter().flatten() {
        if at
            .as_datetime()
            .is_none_or(|at| at.timestamp_millis() < oldest)
        {
            unset.insert(format!("{FIELD}.{id}"), true);
        }
    }
    if !unset.is_empty() {
        let remove = doc! { "$unset": unset };
        counters.update_one(id, remove).await.map_err(error)?;
    }
    Ok(())
}
