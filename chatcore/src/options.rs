//! Options of a store, and limits of its answers.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Invalid, Result};
use crate::session::SESSION_IDLE;
use crate::timestamp::Timestamp;

/// The most messages that one call returns.
pub const MAX_MESSAGES: u32 = 200;
/// The most names that one call returns.
pub const MAX_NAMES: u32 = 1_000;

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60 * 60);
const QUEUE: RangeInclusive<usize> = 1..=1_048_576;
const IDLE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_650 * 24 * 60 * 60);

/// Source of the time for a store.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of a store.
///
/// ```
/// use std::time::Duration;
///
/// use chatcore::{ChatStore, Options};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let address = path.to_str().ok_or("path")?;
/// let options = Options::default()
///     .timeout(Duration::from_secs(2))
///     .queue(1_000);
/// let store = ChatStore::open_with(address, options).await?;
/// # store.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// A value out of its range is refused when the store is opened.
#[derive(Clone)]
pub struct Options {
    pub(crate) timeout: Duration,
    pub(crate) queue: usize,
    pub(crate) session_idle: Duration,
    pub(crate) clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            queue: 4_096,
            session_idle: SESSION_IDLE,
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl Options {
    /// Sets how long one call may take before it fails with
    /// [`Error::Unavailable`](crate::Error::Unavailable). A post may take twice that, in the queue
    /// and in the commit together. 5 s by default; from 1 ms to 1 hour.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the number of posts and changes that may wait for a commit before
    /// [`Error::Busy`](crate::Error::Busy). 4,096 by default; from 1 to 1,048,576.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }

    /// Sets the lifetime of a session that is not used. [`SESSION_IDLE`] by default, 30 days; from
    /// 1 s to 3,650 days.
    #[must_use]
    pub fn session_idle(mut self, idle: Duration) -> Self {
        self.session_idle = idle;
        self
    }

    /// Sets the source of the time, for tests. The system clock by default. Timestamps of a room
    /// strictly increase whatever it says.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Fails for an option out of its range.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if !TIMEOUT.contains(&self.timeout) {
            return Err(Invalid::new("timeout", "must be from 1 ms to 1 hour"));
        }
        if !QUEUE.contains(&self.queue) {
            return Err(Invalid::new("queue", "must be from 1 to 1048576"));
        }
        if !IDLE.contains(&self.session_idle) {
            return Err(Invalid::new(
                "session_idle",
                "must be from 1 second to 3650 days",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeout", &self.timeout)
            .field("queue", &self.queue)
            .field("session_idle", &self.session_idle)
            .finish_non_exhaustive()
    }
}

/// Returns `limit` if it is from 1 to `max`.
pub(crate) fn check_limit(limit: u32, max: u32) -> Result<u32> {
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }

    Err(Invalid::new("limit", format!("must be a whole number from 1 to {max}")).into())
}
