//! Watching one user.

use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::feed::UserUpdate;
use crate::types::Username;

/// Updates of one user, from whatever process. Made by
/// [`ChatStore::watch_user`](crate::ChatStore::watch_user).
pub struct UserWatcher {
    engine: Arc<Engine>,
    user: Username,
    updates: broadcast::Receiver<UserUpdate>,
}

impl UserWatcher {
    pub(crate) fn new(engine: Arc<Engine>, user: Username) -> Self {
        let updates = engine.feed.users.subscribe(&user);
        Self {
            engine,
            user,
            updates,
        }
    }

    /// Waits for the next update. The updates that a slow watcher lost come as one
    /// [`UserUpdate::Missed`], after which the program checks everything anew.
    ///
    /// # Cancellation
    ///
    /// The future may be dropped at any time: no update is lost by it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]: there will be nothing more.
    pub async fn next(&mut self) -> Result<UserUpdate> {
        let update = tokio::select! {
            biased;
            update = self.updates.recv() => update,
            () = self.engine.feed.closed() => return Err(Error::Closed),
        };
        match update {
            Ok(update) => Ok(update),
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(UserUpdate::Missed),
            // The sender stays while somebody watches.
            Err(broadcast::error::RecvError::Closed) => Err(Error::Closed),
        }
    }
}

impl fmt::Debug for UserWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserWatcher")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Drop for UserWatcher {
    fn drop(&mut self) {
        // First ends the subscription of this watcher; there may be others.
        self.updates = broadcast::channel(1).1;
        self.engine.feed.users.forget(&self.user);
    }
}
