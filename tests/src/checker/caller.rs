//! Requests that are repeated until there is an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::Value;

use super::Record;
use crate::http::{Client, Reply};

/// Time that a client waits for one answer. The server's own limits are shorter.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The pause of a client that could not reach the server.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Time for which a request is repeated after the load has ended, before the server is taken for
/// dead.
const LAST_TRIES: Duration = Duration::from_secs(60);

/// Number of times a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    One,
    UntilAnswered,
}

/// Outcome of a request.
pub(super) struct Called {
    /// The answer, if there was one.
    pub(super) reply: Option<Reply>,
    /// True if an attempt had no answer, so that it may have an effect later than the answer.
    pub(super) is_doubtful: bool,
}

impl Called {
    /// Returns the status; `None` if there was no answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.reply.as_ref().map(|reply| reply.status)
    }

    pub(super) fn json(&self) -> Value {
        self.reply.as_ref().map(Reply::json).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        self.reply.as_ref().map(Reply::text).unwrap_or_default()
    }
}

/// One user's clients of all servers.
#[derive(Debug)]
pub(super) struct Caller {
    servers: Vec<Client>,
    pub(super) record: Arc<Record>,
}

impl Caller {
    pub(super) fn new(servers: Vec<Client>, record: Arc<Record>) -> Self {
        Self { servers, record }
    }

    /// Begins with another server than the others do.
    pub(super) fn starting_at(mut self, number: usize) -> Self {
        let first = number % self.servers.len();
        self.servers.rotate_left(first);
        self
    }

    /// Sends a request to one of the servers, and to another one next time if there was no answer.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        attempts: Attempts,
    ) -> Called {
        let mut stopped: Option<Instant> = None;
        let mut is_doubtful = false;
        loop {
            let kind = body.map(|_| "application/json");
            let bytes = body.map(|body| body.to_string().into()).unwrap_or_default();
            let sent = self.servers[0].request(method.clone(), path, kind, bytes);
            let reply = tokio::time::timeout(ANSWER_LIMIT, sent)
                .await
                .ok()
                .and_then(Result::ok);
            if reply.as_ref().is_some_and(|reply| reply.status != 503) {
                return Called { reply, is_doubtful };
            }

            self.servers.rotate_left(1);
            is_doubtful = true;
            tokio::time::sleep(RETRY_PAUSE).await;
            let is_over = self.record.is_stopped()
                && stopped.get_or_insert_with(Instant::now).elapsed() > LAST_TRIES;
            if attempts == Attempts::One || is_over {
                return Called {
                    reply: None,
                    is_doubtful,
                };
            }
        }
    }
}
