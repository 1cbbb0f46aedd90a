//! Messages and reactions.

use serde::{Deserialize, Serialize};

use super::is_false;
#[cfg(feature = "schema")]
use super::schema;

/// A message as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Message {
    /// The room.
    pub room: String,
    /// The number of the message in its room.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub seq: i64,
    /// The user who wrote it; empty once it is deleted.
    pub sender: String,
    /// The text; empty once it is deleted.
    pub text: String,
    /// The time at which it was stored. Strictly increases with `seq`.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Timestamp"))]
    pub timestamp: String,
    /// True if the sender had proved to be who the name says.
    pub verified: bool,
    /// The earlier message of the room that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::MessageSeq"))]
    pub reply_to: Option<i64>,
    /// The users whom its text names as `@name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 20)))]
    pub mentions: Vec<String>,
    /// The time at which its text was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Timestamp"))]
    pub edited_at: Option<String>,
    /// Reactions, in the order in which each emoji first came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 20)))]
    pub reactions: Vec<Reaction>,
    /// True once it is deleted: its `seq` and its time stay, the rest is gone.
    #[serde(default, skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::True"))]
    pub deleted: bool,
    /// The number of the last change to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::MessageSeq"))]
    pub change: Option<i64>,
    /// Its row, as pages draw it: only in frames of a room that was followed with `html`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub html: Option<String>,
}

/// All reactions to a message with the same emoji.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// The number of users who reacted with it.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub count: u64,
    /// The first ten of these users.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 10)))]
    pub users: Vec<String>,
}

/// All reactions to a message, after one was added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reactions {
    /// Reactions, in the order in which each emoji first came.
    pub reactions: Vec<Reaction>,
}

/// A message to post: body of `POST /chat/{room}/messages`.
///
/// ```
/// use chat_client::wire::NewMessage;
///
/// let message = NewMessage::new("I agree").in_reply_to(7).with_nonce("a1");
/// assert_eq!(message.reply_to, Some(7));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct NewMessage {
    /// The name to post under; may be left out with a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<schema::Username>"))]
    pub sender: Option<String>,
    /// The text.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Text"))]
    pub text: String,
    /// However often a sender posts with the same nonce in the same room, it makes one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<schema::Nonce>"))]
    pub nonce: Option<String>,
    /// An earlier message of the room that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<schema::MessageSeq>"))]
    pub reply_to: Option<i64>,
}

impl NewMessage {
    /// Returns a message with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Posts under this name, as a guest without a session may.
    #[must_use]
    pub fn from_sender(mut self, sender: impl Into<String>) -> Self {
        self.sender = Some(sender.into());
        self
    }

    /// Posts with this nonce.
    #[must_use]
    pub fn with_nonce(mut self, nonce: impl Into<String>) -> Self {
        self.nonce = Some(nonce.into());
        self
    }

    /// Answers the message with this `seq`.
    #[must_use]
    pub fn in_reply_to(mut self, seq: i64) -> Self {
        self.reply_to = Some(seq);
        self
    }
}

impl From<&str> for NewMessage {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for NewMessage {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Body of `PATCH /chat/{room}/messages/{seq}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageText {
    /// The text that replaces the one of the message.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Text"))]
    pub text: String,
}

/// The answer to a post.
///
/// A server may have a type `M` of its own that is written as a [`Message`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Posted"))]
pub struct Posted<M = Message> {
    /// Always `ok`.
    pub status: super::StatusOk,
    /// The message as it is stored.
    #[serde(flatten)]
    pub message: M,
}
