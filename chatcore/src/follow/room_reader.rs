//! Reading one room for a follower, as long as its actor may.

use std::sync::Arc;

use tokio::sync::watch;

use crate::access::AccessRequest;
use crate::engine::{AccessSource, Engine};
use crate::error::Result;
use crate::feed::RoomFeed;
use crate::shared::SharedMessage;
use crate::types::Seq;

/// A room as an actor, or the program itself, reads it.
#[derive(Clone)]
pub(crate) struct RoomReader {
    pub(super) engine: Arc<Engine>,
    pub(super) feed: Arc<RoomFeed>,
    /// Permission to read, unless the program itself reads.
    request: Option<AccessRequest>,
}

impl RoomReader {
    pub(crate) fn new(
        engine: Arc<Engine>,
        feed: Arc<RoomFeed>,
        request: Option<AccessRequest>,
    ) -> Self {
        Self {
            engine,
            feed,
            request,
        }
    }

    /// Fails unless the actor may still read the room. Checked after a read, so that a user removed
    /// before a post never receives it.
    pub(super) async fn check_access(&self, source: AccessSource) -> Result<()> {
        match &self.request {
            Some(request) => self.engine.check_access(&self.feed, request, source).await,
            None => Ok(()),
        }
    }

    /// Waits until there are messages after a `seq`.
    pub(super) async fn next_after(
        &self,
        after: Seq,
        wake: &mut watch::Receiver<()>,
    ) -> Result<Vec<SharedMessage>> {
        loop {
            // Before the read, so that whatever comes after it wakes.
            wake.mark_unchanged();
            let found = self.engine.next_messages(&self.feed, after).await?;
            self.check_access(found.access).await?;
            if !found.messages.is_empty() {
                return Ok(found.messages);
            }
            // The sender lives as long as `self.feed`.
            let _ = wake.changed().await;
        }
    }
}
