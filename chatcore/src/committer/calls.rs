//! Calls of the backend, repeated while the store is out of reach.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::error::{Error, Result};

/// The pause before a failed call is repeated, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The calls of one commit, which all end by its deadline.
pub(super) struct Calls {
    pub(super) backend: Arc<dyn Backend>,
    /// Longest time of a single call.
    timeout: Duration,
    deadline: Instant,
}

impl Calls {
    pub(super) fn new(backend: Arc<dyn Backend>, timeout: Duration, deadline: Instant) -> Self {
        Self {
            backend,
            timeout,
            deadline,
        }
    }

    /// Makes a call once.
    ///
    /// # Errors
    ///
    /// Those of the call; [`Error::Unavailable`] if it does not answer in time.
    pub(super) async fn once<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.deadline.min(Instant::now() + self.timeout);

        within(limit, call).await
    }

    /// Makes a call until the store is in reach and answers.
    ///
    /// # Errors
    ///
    /// Those of the call, but [`Error::Unavailable`] only once the deadline is near.
    pub(super) async fn retry<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut backoff = Backoff::default();
        loop {
            match self.once(call()).await {
                Err(Error::Unavailable(_)) => self.wait(&mut backoff).await?,
                answer => return answer,
            }
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] at once, if the deadline would pass meanwhile.
    pub(super) async fn wait(&self, backoff: &mut Backoff) -> Result<()> {
        if Instant::now() + backoff.0 >= self.deadline {
            return Err(out_of_time());
        }

        backoff.wait().await;
        Ok(())
    }

    /// Succeeds if the deadline has not passed.
    pub(super) fn check_deadline(&self) -> Result<()> {
        if Instant::now() >= self.deadline {
            return Err(out_of_time());
        }
        Ok(())
    }
}

/// The pause before the next attempt. Each is longer than the one before.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// Makes a call that is abandoned at `deadline`.
pub(super) async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout_at(deadline, call)
        .await
        .unwrap_or_else(|_| Err(out_of_time()))
}

fn out_of_time() -> Error {
    Error::Unavailable("it did not answer in time".into())
}
