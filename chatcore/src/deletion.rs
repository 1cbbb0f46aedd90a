//! Deletions of messages, each carried on until its result is known.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::types::{RoomName, Seq};

/// Deletions under way at once, those with an unknown result included. More are refused.
pub(crate) const MAX_DELETIONS: usize = 64;
/// Pause before a deletion with an unknown result is repeated, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The deletions of one store.
pub(crate) struct Deletions(Arc<Semaphore>);

impl Default for Deletions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_DELETIONS)))
    }
}

/// One deletion.
struct Deletion {
    backend: Weak<dyn Backend>,
    feed: Arc<Feed>,
    room: RoomName,
    seq: Seq,
    timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

/// A room that may have lost a message unheard, until this is dropped.
struct Uncertain {
    feed: Arc<Feed>,
    room: RoomName,
}

impl Uncertain {
    fn new(feed: Arc<Feed>, room: RoomName) -> Self {
        feed.doubt_deletion(&room);
        Self { feed, room }
    }
}

impl Drop for Uncertain {
    fn drop(&mut self) {
        self.feed.settle_deletion(&self.room);
    }
}

impl Deletions {
    /// Deletes a message, which must exist. If the caller goes away it may be deleted all the same.
    ///
    /// The result of the first attempt is the answer. If that is unknown, the deletion is repeated
    /// until it is known, so that memory never keeps what the store may have lost.
    pub(crate) async fn delete(
        &self,
        backend: &Arc<dyn Backend>,
        feed: &Arc<Feed>,
        timeout: Duration,
        (room, seq): (RoomName, Seq),
    ) -> Result<()> {
        let permit = self.0.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        let (backend, feed) = (Arc::downgrade(backend), feed.clone());
        let deletion = Deletion { backend, feed, room, seq, timeout, _permit: permit };

        let (reply, answer) = oneshot::channel();
        tokio::spawn(deletion.carry_out(reply));
        answer.await.unwrap_or_else(|_| Err(Error::Unavailable("a deletion ended without an answer".into())))
    }
}

impl Deletion {
    async fn carry_out(self, reply: oneshot::Sender<Result<()>>) {
        let first = self.attempt().await;
        let Err(Error::Unavailable(reason)) = &first else {
            let _ = reply.send(first);
            return;
        };

        tracing::warn!(room = %self.room, seq = %self.seq, reason, "a message may or may not be deleted");
        let _uncertain = Uncertain::new(self.feed.clone(), self.room.clone());
        let _ = reply.send(first);

        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Other refusals say nothing of the attempts before.
            if matches!(
                self.attempt().await,
                Ok(()) | Err(Error::Closed | Error::InUse(_) | Error::Corrupt(_))
            ) {
                break;
            }
        }
    }

    /// Makes one attempt. A panic leaves open whether the message is deleted.
    async fn attempt(&self) -> Result<()> {
        let panicked = |_| Err(Error::Unavailable("a deletion panicked".into()));
        AssertUnwindSafe(self.delete()).catch_unwind().await.unwrap_or_else(panicked)
    }

    /// Deletes the message unless it is deleted, and publishes that it is.
    async fn delete(&self) -> Result<()> {
        let backend = self.backend.upgrade().ok_or(Error::Closed)?;
        let deleting =
            tokio::time::timeout(self.timeout, backend.delete_message(self.room.clone(), self.seq));
        let late = |_| Err(Error::Unavailable("it did not answer in time".into()));
        let deletion = deleting.await.unwrap_or_else(late)?;

        let sender = deletion.as_ref().map(|deletion| &deletion.sender);
        self.feed.publish_deletion(&self.room, self.seq, sender);
        Ok(())
    }
}
