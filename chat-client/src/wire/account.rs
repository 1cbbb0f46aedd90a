//! Accounts, sessions and counters.

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use super::schema;

/// Body of `POST /auth/login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Credentials {
    /// The name to log in with.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Username"))]
    pub username: String,
    /// The password of the name's account; left out by a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Body of `POST /auth/register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Registration {
    /// The name of the account.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Username"))]
    pub username: String,
    /// Its password.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Password"))]
    pub password: String,
}

/// Body of `POST /auth/password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewPassword {
    /// The password that the account has.
    pub password: String,
    /// The one that replaces it.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Password"))]
    pub new_password: String,
}

/// The user of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Me {
    /// The user's name.
    pub username: String,
    /// True for an account, false for a guest.
    pub verified: bool,
}

/// One of the sessions of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// Names the session in `DELETE /auth/sessions/{id}`.
    pub id: String,
    /// The time of the log-in.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Timestamp"))]
    pub created_at: String,
    /// The time of its last use, to within some minutes.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Timestamp"))]
    pub last_seen: String,
    /// The program that logged in, as it named itself.
    pub user_agent: String,
    /// True for the session of the request.
    pub current: bool,
}

/// Number of the messages of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageCount {
    /// The user's name.
    pub username: String,
    /// The number of stored messages, deleted ones left out; 0 for a name never seen.
    pub message_count: u64,
}
