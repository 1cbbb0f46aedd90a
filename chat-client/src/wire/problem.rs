//! Answers that carry nothing but their outcome.

use serde::{Deserialize, Serialize};

/// A failed request: RFC 9457, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// The name of the status.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// One sentence that says what to change.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.status)
    }
}

/// The only value of a status: the request was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
pub enum StatusOk {
    /// The request was done.
    #[default]
    #[serde(rename = "ok")]
    Ok,
}

/// The answer to a request that was done and has nothing else to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Always `ok`.
    pub status: StatusOk,
}
