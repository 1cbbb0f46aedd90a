//! Rooms, and what a user has read of them.

use serde::{Deserialize, Serialize};

use super::is_false;
#[cfg(feature = "schema")]
use super::schema;

/// State of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Room {
    /// The name.
    #[serde(rename = "room")]
    pub name: String,
    /// The `seq` of the newest message; 0 in a room without messages.
    pub last_seq: i64,
    /// The number of the last change to a message; 0 if there was none.
    pub last_change: i64,
    /// The time of the newest message.
    #[cfg_attr(feature = "schema", schemars(with = "Option<schema::Timestamp>"))]
    pub last_timestamp: Option<String>,
    /// The time at which the room was created.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Timestamp"))]
    pub created_at: String,
    /// The number of members.
    pub users: u64,
    /// True if only members may know of the room.
    #[serde(default, skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::True"))]
    pub private: bool,
    /// The account that created the room and looks after it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub owner: Option<String>,
    /// The subject of the room, as its owner says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub topic: Option<String>,
}

/// A room as one of its members sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct UserRoom {
    /// The name of the room.
    pub room: String,
    /// The `seq` of the newest message; 0 in a room without messages.
    pub last_seq: i64,
    /// The `seq` up to which the user has read; 0 if nothing.
    pub read_seq: i64,
    /// The number of messages that the user has not read.
    pub unread: u64,
    /// The number of unread messages that mention the user.
    pub mentions: u64,
}

/// Body of `PUT /chat/{room}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewRoom {
    /// True if only members may know of the room; this needs an account's session.
    #[serde(default)]
    pub private: bool,
}

/// Body of `PATCH /chat/{room}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewTopic {
    /// The subject of the room. An empty one removes it.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Topic"))]
    pub topic: String,
}

/// Body of `POST /chat/{room}/read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReadMark {
    /// The `seq` up to which the user has read.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Seq"))]
    pub seq: i64,
}

/// The `seq` up to which a user has read a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredReadMark {
    /// The `seq`. It only moves forward.
    pub read_seq: i64,
}
