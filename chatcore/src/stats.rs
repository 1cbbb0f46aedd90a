//! Counters of a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one store in this process since it was opened, and the state of its queue. Made by
/// [`ChatStore::stats`](crate::ChatStore::stats).
///
/// All but `queued` only grow. They are not read as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Posts that were answered with a new message.
    pub posts: u64,
    /// Posts that were answered with an earlier message of the same nonce.
    pub repeats: u64,
    /// Edits, deletions and reactions that were answered, also those that changed nothing.
    pub changes: u64,
    /// Batches that were committed.
    pub batches: u64,
    /// Time that the commits of these batches took, in all. Divided by `batches` it is the time of
    /// one.
    pub commit_time: Duration,
    /// Posts and changes that wait for a commit now.
    pub queued: usize,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    posts: AtomicU64,
    repeats: AtomicU64,
    changes: AtomicU64,
    batches: AtomicU64,
    commit_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn count_post(&self, is_repeat: bool) {
        let counter = if is_repeat {
            &self.repeats
        } else {
            &self.posts
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_batch(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the counters, and `queued` as it is now.
    pub(crate) fn snapshot(&self, queued: usize) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            posts: load(&self.posts),
            repeats: load(&self.repeats),
            changes: load(&self.changes),
            batches: load(&self.batches),
            commit_time: Duration::from_micros(load(&self.commit_micros)),
            queued,
        }
    }
}
