//! Order of the calls: commits first, and a bounded share for everything else.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::count_batcher::CountBatcher;
use super::store::Store;
use crate::error::{Error, Result};

/// Connections that reads leave to commits, other writes, and what watches the deployment.
const RESERVED: u32 = 16;
/// Writes besides commits that run at once.
pub(super) const MAX_WRITES: usize = 8;
/// Writes besides commits that may wait for a permit.
const MAX_WAITING: usize = 1_024;
/// Look-ups that one call runs side by side.
pub(super) const LOOKUPS: usize = 16;

/// The backend, as the rest of the store sees it.
pub(super) struct Mongo {
    pub(super) store: Arc<Store>,
    /// Reads counts together. `None` on a sharded cluster, where users are on many shards, and
    /// where only this process writes: each count is then read by itself.
    pub(super) count_batcher: Option<CountBatcher>,
    /// Permits of reads: fewer than connections, so that commits never wait for one.
    reads: Arc<Semaphore>,
    /// Permits of writes that are no commits.
    writes: Arc<Semaphore>,
    /// Permits to wait for one of `writes`.
    waiting: Semaphore,
}

impl Mongo {
    /// Takes the calls for a store over a pool of this many connections.
    pub(super) fn new(store: Arc<Store>, count_batcher: Option<CountBatcher>, pool: u32) -> Self {
        let reads = pool.saturating_sub(RESERVED).max(pool / 2).max(1);
        let reads = usize::try_from(reads).unwrap_or(usize::MAX);
        Self {
            store,
            count_batcher,
            reads: Arc::new(Semaphore::new(reads)),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Runs a read, once there is a permit for it.
    pub(super) async fn run<T, F>(&self, call: impl FnOnce(Arc<Store>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let permit = self
            .reads
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        self.run_holding(permit, call).await
    }

    /// Runs a write that is no commit, once it is its turn.
    pub(super) async fn run_write<T, F>(&self, call: impl FnOnce(Arc<Store>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let _turn = self.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let permit = self
            .writes
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        self.run_holding(permit, call).await
    }

    /// Runs a call of the committer, which never waits for a permit.
    pub(super) async fn run_commit<T, F>(&self, call: impl FnOnce(Arc<Store>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.run_holding((), call).await
    }

    /// Runs a call in a task of its own, so that a caller that goes away ends nothing half done.
    async fn run_holding<T, F>(
        &self,
        permit: impl Send + 'static,
        call: impl FnOnce(Arc<Store>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let call = call(self.store.clone());
        let task = tokio::spawn(async move {
            let result = call.await;
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|e| {
            Err(Error::Unavailable(
                format!("a call ended without an answer: {e}").into(),
            ))
        })
    }
}
