//! The session that something open depends on.

use std::future;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use chatcore::{ChatStore, Error, UserUpdate, UserWatcher};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::credentials::{CurrentUser, Proof};

/// Interval at which an open stream asks the store for its session.
const LOOK: Duration = Duration::from_secs(30);
/// Pause before the next question when the store could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// Time over which all sessions are looked at that may have ended unheard.
const SPREAD: Duration = Duration::from_secs(5);

pub(crate) struct SessionMonitor {
    store: ChatStore,
    proof: Proof,
    watcher: UserWatcher,
    next_look: Instant,
    /// The look that is under way: true if the session is still there.
    look: Option<BoxFuture<'static, chatcore::Result<bool>>>,
    /// Set once a look has found the session, until its end may have been published.
    is_current: bool,
    /// Set if an end was published after the look under way began, so that its answer may be
    /// outdated.
    is_outdated: bool,
    /// Set once all that the user has open was ended, or that may have been missed. The word of a program counts no more
    /// then: the client comes back, and the program is asked again.
    may_have_ended: bool,
}

/// Result of a look at a session.
pub(crate) enum Looked {
    Valid,
    Ended,
    /// The store did not answer.
    Failed(Error),
}

impl SessionMonitor {
    /// The session of a request. It is looked at again as soon as its end would be heard of: it may
    /// have ended before.
    pub(crate) fn new(app: &App, user: &CurrentUser) -> Self {
        Self {
            store: app.store().clone(),
            proof: user.proof.clone(),
            watcher: user.watcher(app.store()),
            next_look: Instant::now(),
            look: None,
            is_current: false,
            is_outdated: false,
            may_have_ended: false,
        }
    }

    /// Returns false while the session may have ended: from the moment an end is published until
    /// [`next`](Self::next) has returned what the store says.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current
    }

    /// Waits for the result of the next look. May be dropped at any time: the next call goes on
    /// with what was under way, so that whoever is busy with other things does not ask again and
    /// again.
    pub(crate) async fn next(&mut self) -> Looked {
        loop {
            tokio::select! {
                // Published ends first: they decide whether a look-up that was begun still counts.
                biased;
                update = self.watcher.next() => match update {
                    Ok(update @ (UserUpdate::SessionsEnded | UserUpdate::Revoked)) => {
                        self.is_current = false;
                        // The end of a session says nothing of a user whom the program vouches for.
                        self.may_have_ended |= update == UserUpdate::Revoked;
                        self.is_outdated = self.look.is_some();
                        self.next_look = Instant::now();
                    }
                    Ok(UserUpdate::Missed) => {
                        self.may_have_ended = true;
                        self.is_outdated = self.look.is_some();
                        let pause = if self.is_outdated { Duration::ZERO } else { random_up_to(SPREAD) };
                        self.next_look = self.next_look.min(Instant::now() + pause);
                    }
                    Ok(_) => {}
                    // The store is closed, which ends no session.
                    Err(_) => future::pending().await,
                },
                found = under_way(&mut self.look) => {
                    self.look = None;
                    if !std::mem::take(&mut self.is_outdated) {
                        return self.conclude(found);
                    }
                }
                () = sleep_until(self.next_look), if self.look.is_none() => {
                    self.look = Some(self.begin_look());
                }
                () = cancelled(&self.proof) => {
                    self.is_current = false;
                    return Looked::Ended;
                }
            }
        }
    }

    fn begin_look(&self) -> BoxFuture<'static, chatcore::Result<bool>> {
        match &self.proof {
            Proof::Session { token, .. } => {
                let (store, token) = (self.store.clone(), token.clone());
                Box::pin(async move { Ok(store.session(&token).await?.is_some()) })
            }
            Proof::Program { .. } => Box::pin(future::ready(Ok(!self.may_have_ended))),
        }
    }

    fn conclude(&mut self, found: chatcore::Result<bool>) -> Looked {
        let (pause, looked) = match found {
            Ok(true) => (LOOK, Looked::Valid),
            Ok(false) => (LOOK, Looked::Ended),
            Err(error) => {
                tracing::debug!(%error, "a session could not be looked up");
                (RETRY, Looked::Failed(error))
            }
        };

        self.is_current |= matches!(looked, Looked::Valid);
        self.next_look = Instant::now() + pause;
        looked
    }

    /// Waits until the session has ended. May be dropped at any time, as [`next`](Self::next).
    pub(crate) async fn ended(&mut self) {
        while !matches!(self.next().await, Looked::Ended) {}
    }
}

/// Waits until the program takes its word back, if it can.
async fn cancelled(proof: &Proof) {
    match proof {
        Proof::Program {
            ended: Some(ended), ..
        } => ended.cancelled().await,
        _ => future::pending().await,
    }
}

/// A random duration, so that those who are told the same at once do not all ask the store at once.
fn random_up_to(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) >> 32;
    most.mul_f64(random as f64 / f64::from(u32::MAX))
}

async fn under_way(
    look: &mut Option<BoxFuture<'static, chatcore::Result<bool>>>,
) -> chatcore::Result<bool> {
    match look {
        Some(look) => look.await,
        None => future::pending().await,
    }
}

/// Waits until a session has ended, if there is one.
pub(crate) async fn ended(monitor: &mut Option<SessionMonitor>) {
    match monitor {
        Some(monitor) => monitor.ended().await,
        None => future::pending().await,
    }
}

/// Waits for the result of the next look at a session, if there is one.
pub(crate) async fn next_look(monitor: &mut Option<SessionMonitor>) -> Looked {
    match monitor {
        Some(monitor) => monitor.next().await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_all_sessions_are_spread_over_time() {
        let mut pauses: Vec<_> = (0..1_000).map(|_| random_up_to(SPREAD)).collect();
        pauses.sort_unstable();
        assert!(pauses[999] <= SPREAD);
        for tenth in 0..10_u32 {
            let begins = SPREAD / 10 * tenth;
            let within = pauses
                .iter()
                .filter(|&pause| (begins..begins + SPREAD / 10).contains(pause))
                .count();
            assert!((50..200).contains(&within), "{tenth}: {within}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn an_end_between_the_word_of_the_program_and_the_monitor_is_not_missed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = ChatStore::open_sqlite(folder.path().join("chat.db"), Default::default());
        let app = App::new(store.await.expect("a store"), Default::default());
        let ann: chatcore::Username = "ann".parse().expect("a name");
        app.claim(&ann).await.expect("claimed");

        let user = CurrentUser::by_program(app.store(), ann.clone(), None);
        app.store().end_sessions(&ann, None).await.expect("ended");
        let mut monitor = SessionMonitor::new(&app, &user);
        assert!(matches!(monitor.next().await, Looked::Valid));

        let user = CurrentUser::by_program(app.store(), ann.clone(), None);
        app.end_sessions_of(&ann).await.expect("ended");
        let mut monitor = SessionMonitor::new(&app, &user);
        assert!(matches!(monitor.next().await, Looked::Ended));
        app.store().close().await.expect("closed");
    }
}
