//! The session that something open depends on.

use std::time::Duration;

use chatcore::{ChatStore, SessionToken, UserUpdate, UserWatcher};
use futures_util::future::BoxFuture;
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
    /// The look that is under way: whether the session is still there.
    look: Option<BoxFuture<'static, chatcore::Result<bool>>>,
}

impl Proof {
    /// The session of a request. It is looked at again as soon as its end would be heard of: it may
    /// have ended before.
    pub(crate) fn new(app: &App, who: &Who) -> Self {
        let (store, user) = (app.store().clone(), app.store().watch_user(&who.session.username));
        Self { store, token: who.token.clone(), user, next_look: Instant::now(), look: None }
    }

    /// Waits until the session has ended. May be dropped at any time: the next call goes on with what
    /// was under way, so that whoever is busy with other things does not ask again and again.
    pub(crate) async fn ended(&mut self) {
        loop {
            if let Some(look) = &mut self.look {
                let found = look.await;
                self.look = None;
                let pause = match found {
                    Ok(false) => return,
                    Ok(true) => LOOK,
                    Err(error) => {
                        tracing::debug!(%error, "a session could not be looked up");
                        RETRY
                    }
                };
                self.next_look = Instant::now() + pause;
            }
            tokio::select! {
                update = self.user.next() => match update {
                    Ok(UserUpdate::Read(..)) => continue,
                    Ok(UserUpdate::SessionsEnded) => {}
                    // The store is closed, which ends no session.
                    Err(_) => std::future::pending().await,
                },
                () = sleep_until(self.next_look) => {}
            }
            let (store, token) = (self.store.clone(), self.token.clone());
            self.look = Some(Box::pin(async move { Ok(store.session(&token).await?.is_some()) }));
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
