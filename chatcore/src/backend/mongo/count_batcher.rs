//! Reads of users' counts, many at once.
//!
//! On a replica set each count is read from the database, because the change stream tells too late
//! what another process counted. All that are asked for while one read is under way share the next
//! one, as posts share a commit: each answer was read after it was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::store::Store;
use crate::error::{Error, Result};
use crate::types::Username;

/// Users in one read.
const MAX_USERS: usize = 256;
/// Callers who may wait.
const QUEUE: usize = 4_096;

struct Ask {
    user: Username,
    reply: oneshot::Sender<Result<u64>>,
}

/// Sender of requests. The reads end when this is dropped.
pub(super) struct CountBatcher(mpsc::Sender<Ask>);

impl CountBatcher {
    pub(super) fn start(store: Arc<Store>) -> Self {
        let (sender, mut queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut asks: Vec<Ask> = Vec::new();
            while queue.recv_many(&mut asks, MAX_USERS).await > 0 {
                let mut waiting: BTreeMap<Username, Vec<oneshot::Sender<_>>> = BTreeMap::new();
                for Ask { user, reply } in asks.drain(..).filter(|ask| !ask.reply.is_closed()) {
                    waiting.entry(user).or_default().push(reply);
                }
                let users: Vec<_> = waiting.keys().cloned().collect();
                let counts = store.message_counts(&users).await;
                for (at, replies) in waiting.into_values().enumerate() {
                    let count = counts
                        .as_ref()
                        .map(|counts| counts[at])
                        .map_err(Clone::clone);
                    replies
                        .into_iter()
                        .for_each(|reply| drop(reply.send(count.clone())));
                }
            }
        });
        Self(sender)
    }

    pub(super) async fn message_count(&self, user: Username) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        let full = |_| Error::Unavailable("too many calls are waiting".into());
        self.0.try_send(Ask { user, reply }).map_err(full)?;
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("a call ended without an answer".into())))
    }
}
