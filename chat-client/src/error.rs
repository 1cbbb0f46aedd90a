//! Failures of calls.

use std::time::Duration;

use crate::wire::Problem;

/// Result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the server cannot be used.
    #[error("the address of the server cannot be used: {0}")]
    Address(String),
    /// The call cannot be sent as it is.
    #[error("{0}")]
    Invalid(String),
    /// The server refused the call.
    #[error("{problem}")]
    Refused {
        /// The reason.
        problem: Problem,
        /// Time after which the server takes the call again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The server did not answer. It may have acted on the call or not.
    #[error("there is no answer from the server: {0}")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not one of `chat-http`.
    #[error("the answer of the server cannot be understood: {0}")]
    Answer(String),
}

impl Error {
    /// Returns the error of a call without an answer.
    pub(crate) fn unreachable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(cause.into())
    }

    /// Returns the status code of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// Returns true if the same call may succeed later: there was no answer, or the server is busy,
    /// stops, or takes no more from this client for now.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { problem, .. } => is_temporary(problem.status),
            _ => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Returns true for a status of the server, or of a proxy before it, that passes by itself.
pub(crate) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}
