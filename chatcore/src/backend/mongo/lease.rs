//! One process at a time on a standalone mongod: a lease in the database.
//!
//! The holder counts a number up every second. Whoever wants the lease watches that number by its
//! own clock, and takes over once it stood still for longer than the holder would go on writing
//! without having counted. No two clocks are compared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};
use mongodb::{Collection, Database};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::{error, is_duplicate};
use crate::backend::EventSink;
use crate::error::{Error, Result};

/// Interval at which the holder renews.
const RENEW: Duration = Duration::from_secs(1);
/// Time after the start of its last renewal in which the holder may begin a write.
const VALID: Duration = Duration::from_secs(3);
/// Time for which the lease must stand still before another process takes it. Leaves a write that
/// began in the last valid moment two seconds to arrive.
const TAKEOVER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);
/// Interval at which the holder reports that the lease is valid.
const REPORT: Duration = Duration::from_millis(250);

pub(super) struct Lease {
    state: Arc<State>,
}

struct State {
    collection: Collection<Document>,
    owner: ObjectId,
    valid_until: Mutex<Instant>,
    lost: AtomicBool,
    released: Notify,
}

impl Lease {
    /// Takes the lease, after a process that died if need be.
    pub(super) async fn acquire(database: &Database) -> Result<Self> {
        // A lease that a crash may take back is none.
        let journaled = WriteConcern::builder()
            .w(Acknowledgment::Nodes(1))
            .journal(true)
            .build();
        let options = CollectionOptions::builder()
            .write_concern(journaled)
            .build();
        let collection = database.collection_with_options::<Document>("state", options);
        let owner = ObjectId::new();
        let lease = doc! { "_id": "lease", "owner": owner, "renewals": 0_i64, "holder": holder() };
        let started = loop {
            let started = Instant::now();
            match collection.insert_one(&lease).await {
                Ok(_) => break started,
                Err(e) if is_duplicate(&e) => {}
                Err(e) => return Err(error(e)),
            }
            let Some(stale) = wait_for_stale(&collection).await? else {
                continue;
            };
            let started = Instant::now();
            let taken = collection
                .replace_one(stale, lease.clone())
                .await
                .map_err(error)?;
            if taken.matched_count == 1 {
                break started;
            }
        };
        let state = Arc::new(State {
            collection,
            owner,
            valid_until: Mutex::new(started + VALID),
            lost: AtomicBool::new(false),
            released: Notify::new(),
        });
        tokio::spawn(renew(state.clone()));
        Ok(Self { state })
    }

    /// Fails unless this process may begin a write now.
    pub(super) fn may_write(&self) -> Result<()> {
        self.may_read()?;
        if Instant::now()
            < *self
                .state
                .valid_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        {
            return Ok(());
        }
        Err(Error::Unavailable(
            "the lease on the database could not be renewed".into(),
        ))
    }

    /// Fails if another process has the store.
    pub(super) fn may_read(&self) -> Result<()> {
        if self.state.lost.load(Ordering::Acquire) {
            return Err(Error::InUse(
                "another process has taken the database over".into(),
            ));
        }
        Ok(())
    }

    /// Reports to a sink that memory is up to date while the lease is valid: nobody else writes
    /// then. Once another process has the lease, the store is lost.
    pub(super) async fn watch(&self, sink: &dyn EventSink) -> Result<()> {
        let mut live = true;
        while !sink.is_closed() {
            if let Err(lost) = self.may_read() {
                sink.close();
                return Err(lost);
            }
            let is_mine = self.may_write().is_ok();
            match (live, is_mine) {
                (false, true) => sink.resume(),
                (true, false) => sink.pause(),
                _ => {}
            }
            live = is_mine;
            tokio::time::sleep(REPORT).await;
        }
        Ok(())
    }

    /// Gives the lease to whoever comes next.
    pub(super) async fn release(&self) {
        self.state.released.notify_one();
        self.state.release().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.released.notify_one();
    }
}

impl State {
    async fn release(&self) {
        self.lost.store(true, Ordering::Release);
        if let Err(e) = self
            .collection
            .delete_one(doc! { "_id": "lease", "owner": self.owner })
            .await
        {
            tracing::warn!(error = %e.kind, "the lease on the database was not released");
        }
    }
}

/// Waits until the lease is free (`None`) or has stood still for [`TAKEOVER`]; then returns it.
async fn wait_for_stale(collection: &Collection<Document>) -> Result<Option<Document>> {
    let read = || async {
        collection
            .find_one(doc! { "_id": "lease" })
            .await
            .map_err(error)
    };
    let Some(first) = read().await? else {
        return Ok(None);
    };
    let since = Instant::now();
    loop {
        tokio::time::sleep(POLL).await;
        match read().await? {
            None => return Ok(None),
            Some(now) if now != first => {
                let holder = now.get_str("holder").unwrap_or("another process");
                return Err(Error::InUse(
                    format!(
                        "{holder} works on it, and a standalone mongod takes one process at a time"
                    )
                    .into(),
                ));
            }
            Some(same) if since.elapsed() >= TAKEOVER => return Ok(Some(same)),
            Some(_) => {}
        }
    }
}

async fn renew(state: Arc<State>) {
    let mine = doc! { "_id": "lease", "owner": state.owner };
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = state.released.notified() => return state.release().await,
        }
        let started = Instant::now();
        match state
            .collection
            .update_one(mine.clone(), doc! { "$inc": { "renewals": 1_i64 } })
            .await
        {
            Ok(renewed) if renewed.matched_count == 1 => {
                *state
                    .valid_until
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = started + VALID;
            }
            Ok(_) => {
                if !state.lost.swap(true, Ordering::AcqRel) {
                    tracing::error!("another process has taken the database over");
                }
                return;
            }
            Err(e) => {
                tracing::warn!(error = %e.kind, "the lease on the database could not be renewed")
            }
        }
    }
}

/// Names the holder of the lease, for the process that is refused.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "process {} on host {}",
        std::process::id(),
        if host.is_empty() {
            "unknown"
        } else {
            host.trim()
        }
    )
}
