//! Times that a client keeps to.

use std::time::Duration;

/// Times that a client keeps to.
///
/// ```
/// use std::time::Duration;
/// use chat_client::Options;
///
/// let options = Options::new().retry_for(Duration::from_secs(120));
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) retry_for: Duration,
    pub(crate) timeout: Duration,
    pub(crate) silence: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) socket_retry: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retry_for: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            silence: Duration::from_secs(45),
            longest_pause: Duration::from_secs(15),
            socket_retry: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Returns the times that [`Client::connect`](crate::Client::connect) uses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a call again for this long while it fails for a while: 30 s unless set. Zero makes each
    /// call once.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// Waits this long for the answer to one attempt of a call: 30 s unless set. A call that asks
    /// the server to wait gets that time besides.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Takes a socket for lost on which nothing arrives for this long: 45 s unless set. The server
    /// is pinged three times within it.
    #[must_use]
    pub fn silence(mut self, time: Duration) -> Self {
        self.silence = time;
        self
    }

    /// Pauses at most this long between two attempts: 15 s unless set. Pauses begin at a tenth of a
    /// second, double, and are random from their half up.
    #[must_use]
    pub fn longest_pause(mut self, time: Duration) -> Self {
        self.longest_pause = time;
        self
    }

    /// Tries a socket again after polling for this long: 60 s unless set.
    #[must_use]
    pub fn socket_retry(mut self, time: Duration) -> Self {
        self.socket_retry = time;
        self
    }
}
