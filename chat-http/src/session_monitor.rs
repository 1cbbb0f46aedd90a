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
const INTERVAL: Duration = Duration::from_secs(30);
/// Pause before the next question when the store could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// Time over which the lookups of all sessions are spread whose ends may have been missed.
const SPREAD: Duration = Duration::from_secs(5);

pub(crate) struct SessionMonitor {
    store: ChatStore,
    proof: Proof,
    watcher: UserWatcher,
    next_lookup: Instant,
    /// The lookup that is under way.
    lookup: Option<BoxFuture<'static, chatcore::Result<Standing>>>,
    /// Set once a lookup has found the session, until its end may have been published.
    is_current: bool,
    /// Set if an end was published after the lookup under way began, so that its answer may be
    /// outdated.
    is_outdated: bool,
    /// Standing of a user whom the program vouches for.
    word: Standing,
}

/// Standing of a session, or of the word of the program for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Stands,
    /// An end may have been missed.
    Unknown,
    Ended,
}

/// State of a session, as a lookup finds it.
pub(crate) enum SessionState {
    Valid,
    Ended,
    /// Only the program knows, which is asked when the client comes back.
    Unknown,
    /// The store did not answer.
    Failed(Error),
}

impl SessionMonitor {
    /// Returns a monitor of the session of a request. The first lookup is due at once, because the
    /// session may have ended before its watcher began.
    pub(crate) fn new(app: &App, user: &CurrentUser) -> Self {
        Self {
            store: app.store().clone(),
            proof: user.proof.clone(),
            watcher: user.watcher(app.store()),
            next_lookup: Instant::now(),
            lookup: None,
            is_current: false,
            is_outdated: false,
            word: Standing::Stands,
        }
    }

    /// Returns false while the session may have ended: from the moment an end is published until
    /// [`next`](Self::next) has returned what the store says.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current
    }

    /// Waits for the result of the next lookup. May be dropped at any time: the next call goes on
    /// with what was under way, so that a busy caller does not ask again and
    /// again.
    pub(crate) async fn next(&mut self) -> SessionState {
        loop {
            tokio::select! {
                // Published ends first: they decide whether a lookup that was begun still counts.
                biased;
                update = self.watcher.next() => match update {
                    Ok(update) => self.apply(update),
                    // The store is closed, which ends no session.
                    Err(_) => future::pending().await,
                },
                found = under_way(&mut self.lookup) => {
                    self.lookup = None;
                    if !std::mem::take(&mut self.is_outdated) {
                        return self.conclude(found);
                    }
                }
                () = sleep_until(self.next_lookup), if self.lookup.is_none() => {
                    self.lookup = Some(self.begin_lookup());
                }
                () = cancelled(&self.proof) => {
                    self.is_current = false;
                    return SessionState::Ended;
                }
            }
        }
    }

    /// Has the session looked up again, if an update may be its end.
    fn apply(&mut self, update: UserUpdate) {
        match update {
            UserUpdate::SessionsEnded | UserUpdate::Revoked => {
                self.is_current = false;
                // The end of a session says nothing of a user whom the program vouches for.
                if update == UserUpdate::Revoked {
                    self.word = Standing::Ended;
                }
                self.is_outdated = self.lookup.is_some();
                self.next_lookup = Instant::now();
            }
            UserUpdate::Missed => {
                if self.word == Standing::Stands {
                    self.word = Standing::Unknown;
                }
                self.is_outdated = self.lookup.is_some();
                let pause = match self.is_outdated {
                    true => Duration::ZERO,
                    false => random_up_to(SPREAD),
                };
                self.next_lookup = self.next_lookup.min(Instant::now() + pause);
            }
            _ => {}
        }
    }

    fn begin_lookup(&self) -> BoxFuture<'static, chatcore::Result<Standing>> {
        match &self.proof {
            Proof::Session { token, .. } => {
                let (store, token) = (self.store.clone(), token.clone());
                Box::pin(async move {
                    Ok(match store.session(&token).await? {
                        Some(_) => Standing::Stands,
                        None => Standing::Ended,
                    })
                })
            }
            Proof::Program { .. } => Box::pin(future::ready(Ok(self.word))),
        }
    }

    fn conclude(&mut self, found: chatcore::Result<Standing>) -> SessionState {
        let (pause, state) = match found {
            Ok(Standing::Stands) => (INTERVAL, SessionState::Valid),
            Ok(Standing::Ended) => (INTERVAL, SessionState::Ended),
            Ok(Standing::Unknown) => (INTERVAL, SessionState::Unknown),
            Err(error) => {
                tracing::debug!(%error, "a session could not be looked up");
                (RETRY, SessionState::Failed(error))
            }
        };

        self.is_current |= matches!(state, SessionState::Valid);
        self.next_lookup = Instant::now() + pause;
        state
    }

    /// Waits until the session has ended, or the program has to be asked again. May be dropped at
    /// any time, as [`next`](Self::next).
    pub(crate) async fn ended(&mut self) {
        while !matches!(
            self.next().await,
            SessionState::Ended | SessionState::Unknown
        ) {}
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
    lookup: &mut Option<BoxFuture<'static, chatcore::Result<Standing>>>,
) -> chatcore::Result<Standing> {
    match lookup {
        Some(lookup) => lookup.await,
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

/// Waits for the result of the next lookup of a session, if there is one.
pub(crate) async fn next_state(monitor: &mut Option<SessionMonitor>) -> SessionState {
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
        assert!(matches!(monitor.next().await, SessionState::Valid));

        let user = CurrentUser::by_program(app.store(), ann.clone(), None);
        app.end_sessions_of(&ann).await.expect("ended");
        let mut monitor = SessionMonitor::new(&app, &user);
        assert!(matches!(monitor.next().await, SessionState::Ended));
        app.store().close().await.expect("closed");
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test(start_paused = true)]
    async fn updates_that_were_missed_are_no_end_but_ask_the_program_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = ChatStore::open_sqlite(folder.path().join("chat.db"), Default::default());
        let app = App::new(store.await.expect("a store"), Default::default());
        let ann: chatcore::Username = "ann".parse().expect("a name");
        let by_program = || CurrentUser::by_program(app.store(), ann.clone(), None);

        let mut monitor = SessionMonitor::new(&app, &by_program());
        assert!(matches!(monitor.next().await, SessionState::Valid));
        monitor.apply(UserUpdate::Missed);
        assert!(matches!(monitor.next().await, SessionState::Unknown));

        let mut monitor = SessionMonitor::new(&app, &by_program());
        monitor.apply(UserUpdate::Revoked);
        monitor.apply(UserUpdate::Missed);
        assert!(matches!(monitor.next().await, SessionState::Ended));
    }
}
