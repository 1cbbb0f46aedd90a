//! Stores a batch, and finds out whether it is stored where the store did not answer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::calls::{Backoff, Calls, within};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::model::{Append, Batch};

/// Time after which a batch without an answer is late.
const LATE: Duration = Duration::from_secs(1);

/// Stores a batch. If it is late, other processes may show it to their readers before this one
/// knows, so readers of its rooms ask the store until the returned guard is dropped.
///
/// # Errors
///
/// Those of [`append_or_confirm`].
pub(super) async fn append(
    calls: &Calls,
    batch: &Arc<Batch>,
    feed: &Arc<Feed>,
) -> (Result<Append>, Option<LateBatch>) {
    let mut append = std::pin::pin!(append_or_confirm(calls, batch));
    if !calls.backend.is_shared() {
        return (append.await, None);
    }
    if let Ok(result) = timeout(LATE, append.as_mut()).await {
        return (result, None);
    }

    let late = LateBatch::new(feed, batch);
    (append.await, Some(late))
}

/// A batch that had no answer in time. Readers of its rooms ask the store until this is dropped.
pub(super) struct LateBatch {
    feed: Arc<Feed>,
    batch: Arc<Batch>,
}

impl LateBatch {
    fn new(feed: &Arc<Feed>, batch: &Arc<Batch>) -> Self {
        feed.add_uncertain(batch);
        Self {
            feed: feed.clone(),
            batch: batch.clone(),
        }
    }
}

impl Drop for LateBatch {
    fn drop(&mut self) {
        self.feed.remove_uncertain(&self.batch);
    }
}

/// Stores a batch, or finds that it is stored.
///
/// The batch is only ever repeated as it is: the heads that it expects let at most one attempt
/// through, however late the others arrive.
///
/// # Errors
///
/// [`Error::Unavailable`] if it may be stored or not. After any other error it is not stored.
async fn append_or_confirm(calls: &Calls, batch: &Arc<Batch>) -> Result<Append> {
    let mut is_uncertain = false;
    let mut backoff = Backoff::default();
    loop {
        let refused = match calls.once(calls.backend.append(batch.clone())).await {
            Err(error @ Error::Unavailable(_)) => {
                tracing::debug!(%error, "the result of a commit is unknown");
                is_uncertain = true;
                None
            }
            Ok(Append::Committed) => return Ok(Append::Committed),
            result if !is_uncertain => return result,
            // This attempt was refused. An earlier one may be what moved the head, took the nonce
            // or filled the disk.
            result => Some(result),
        };

        if confirm(calls, batch, &mut backoff).await? {
            return Ok(Append::Committed);
        }
        if let Some(refused) = refused {
            return refused;
        }
        calls.wait(&mut backoff).await?;
    }
}

/// Returns true if a batch is stored. Asks until the store answers: without an answer, no error may
/// claim that nothing was stored.
async fn confirm(calls: &Calls, batch: &Arc<Batch>, backoff: &mut Backoff) -> Result<bool> {
    loop {
        match calls.once(calls.backend.is_stored(batch.clone())).await {
            Ok(is_stored) => return Ok(is_stored),
            Err(error) => tracing::debug!(%error, "it is not known whether a batch is stored"),
        }
        calls.wait(backoff).await?;
    }
}

/// Makes readers of the batch's rooms ask the store, until it tells whether the batch is stored.
/// A task finds that out, and ends with the backend.
pub(super) fn resolve_later(
    batch: Arc<Batch>,
    backend: &Arc<dyn Backend>,
    feed: &Arc<Feed>,
    timeout: Duration,
) {
    feed.mark_uncertain(&batch);

    let (backend, feed) = (Arc::downgrade(backend), feed.clone());
    tokio::spawn(async move {
        let is_stored = confirm_in_background(&batch, &backend, timeout).await;
        feed.resolve(&batch);
        if is_stored {
            feed.notify_mentions(&batch);
        }
    });
}

/// Returns true if a batch is stored, and false if it is not or the backend ends before it tells.
async fn confirm_in_background(
    batch: &Arc<Batch>,
    backend: &Weak<dyn Backend>,
    timeout: Duration,
) -> bool {
    let mut backoff = Backoff::default();
    while let Some(backend) = backend.upgrade() {
        let deadline = Instant::now() + timeout;
        let found = within(deadline, backend.is_stored(batch.clone())).await;
        match found {
            Ok(is_stored) => return is_stored,
            Err(Error::Closed) => return false,
            Err(_) => {}
        }

        drop(backend);
        backoff.wait().await;
    }
    false
}
