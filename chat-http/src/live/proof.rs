//! The session that something open depends on.

use std::time::Duration;

use chatcore::{ChatStore, SessionToken, UserUpdate, UserWatcher};
use tokio::time::{Instant, sleep_until};

use crate::App;
use crate::request::Who;

/// How often a session is looked at that may have expired.
const LOOK: Duration = Duration::from_secs(30);
/// How soon it is looked at again when the store could not be asked.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Proof {
    store: ChatStore,
    token: SessionToken,
    user: UserWatcher,
    next_look: Instant,
}

impl Proof {
    /// The session of a request. It is looked at again as soon as its end would be heard of: it may
    /// have ended before.
    pub(crate) fn new(app: &App, who: &Who) -> Self {
        let (store, user) = (app.store().clone(), app.store().watch_user(&who.session.username));
        Self { store, token: who.token.clone(), user, next_look: Instant::now() }
    }

    /// Waits until the session has ended. May be dropped and called again at any time.
    pub(crate) async fn ended(&mut self) {
        loop {
            tokio::select! {
                update = self.user.next() => match update {
                    // In case the look is given up: it is due until it was made.
                    UserUpdate::SessionsEnded => self.next_look = Instant::now(),
                    UserUpdate::Read(..) => continue,
                },
                () = sleep_until(self.next_look) => {}
            }
            match self.store.session(&self.token).await {
                Ok(None) => return,
                Ok(Some(_)) => self.next_look = Instant::now() + LOOK,
                Err(error) => {
                    tracing::debug!(%error, "a session could not be looked up");
                    self.next_look = Instant::now() + RETRY;
                }
            }
        }
    }
}

/// Waits until a session has ended, if there is one.
pub(crate) async fn ended(proof: &mut Option<Proof>) {
    match proof {
        Some(proof) => proof.ended().await,
        None => std::future::pending().await,
    }
}
