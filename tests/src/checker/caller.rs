//! Calls that are repeated until there is an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::wire::Problem;
use tokio::time::{sleep, timeout};

use super::Record;

/// Time that a client waits for one answer. The server's own limits are shorter.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The pause of a client that could not reach the server.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Time for which a call is repeated after the load has ended, before the server is taken for dead.
const LAST_TRIES: Duration = Duration::from_secs(60);

/// Number of times a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    One,
    UntilAnswered,
}

/// Reason why a call did nothing, or perhaps something.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Problem),
    NoAnswer,
}

impl From<chat_client::Error> for Failure {
    fn from(error: chat_client::Error) -> Self {
        match error {
            chat_client::Error::Refused { problem, .. } => Self::Refused(problem),
            _ => Self::NoAnswer,
        }
    }
}

/// Outcome of a call.
pub(super) struct Called<T> {
    /// The answer or the refusal; `None` if there was neither.
    pub(super) answer: Option<Result<T, Problem>>,
    /// True if an attempt had no answer, so that it may have an effect later than the answer.
    pub(super) is_doubtful: bool,
}

/// One user's clients of all servers.
#[derive(Debug)]
pub(super) struct Caller<C> {
    servers: Vec<C>,
    pub(super) record: Arc<Record>,
}

impl<C: Clone> Caller<C> {
    pub(super) fn new(servers: Vec<C>, record: Arc<Record>) -> Self {
        Self { servers, record }
    }

    /// Begins with another server than the others do.
    pub(super) fn starting_at(mut self, number: usize) -> Self {
        let first = number % self.servers.len();
        self.servers.rotate_left(first);
        self
    }

    /// Makes a call to one of the servers, and to another one next time if there was no answer.
    pub(super) async fn call<T, E, F>(
        &mut self,
        attempts: Attempts,
        call: impl Fn(C) -> F,
    ) -> Called<T>
    where
        E: Into<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        let mut stopped: Option<Instant> = None;
        let mut is_doubtful = false;
        loop {
            let attempt = timeout(ANSWER_LIMIT, call(self.servers[0].clone())).await;
            let answer = match attempt.map(|answer| answer.map_err(Into::into)) {
                Ok(Ok(value)) => Some(Ok(value)),
                Ok(Err(Failure::Refused(problem))) if problem.status != 503 => Some(Err(problem)),
                _ => None,
            };
            if answer.is_some() {
                return Called {
                    answer,
                    is_doubtful,
                };
            }

            self.servers.rotate_left(1);
            is_doubtful = true;
            sleep(RETRY_PAUSE).await;
            let is_over = self.record.is_stopped()
                && stopped.get_or_insert_with(Instant::now).elapsed() > LAST_TRIES;
            if attempts == Attempts::One || is_over {
                return Called {
                    answer: None,
                    is_doubtful,
                };
            }
        }
    }
}
