//! Frames of a WebSocket: one JSON object each, told apart by `type`.

use serde::{Deserialize, Serialize};

use super::{Message, is_false};

/// A frame that a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClientFrame {
    /// Follows a room, in place of what was followed of it before.
    Subscribe {
        /// The room.
        room: String,
        /// The `seq` after which to begin; left out to begin with what comes next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<i64>,
        /// The change after which to begin. Goes with `after`, because a message comes before its
        /// changes; left out to begin with what changes next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changes_after: Option<i64>,
        /// True to get each message with its row, as pages draw it.
        #[serde(default, skip_serializing_if = "is_false")]
        html: bool,
        /// True to get each message with the beginning of its text, in one line and without
        /// formatting.
        #[serde(default, skip_serializing_if = "is_false")]
        line: bool,
    },
    /// Follows a room no longer.
    Unsubscribe {
        /// The room.
        room: String,
    },
    /// Posts a message. Posts of one socket keep their order.
    Post {
        /// The room.
        room: String,
        /// The message.
        #[serde(flatten)]
        message: super::NewMessage,
    },
    /// Tells the others in a room that the user types, which holds for 5 s.
    Typing {
        /// A room that the socket follows.
        room: String,
    },
    /// Moves the mark up to which the user has read.
    Read {
        /// The room.
        room: String,
        /// The `seq` up to which the user has read.
        seq: i64,
    },
    /// Asks whether the server is there. For clients that do not see the pings of the protocol, as
    /// scripts of a page.
    Ping,
}

/// A frame that the server sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerFrame {
    /// A room is followed from now on. It answers [`ClientFrame::Subscribe`].
    Subscribed {
        /// The room.
        room: String,
        /// The `seq` of the newest message.
        last_seq: i64,
        /// The number of the last change.
        last_change: i64,
    },
    /// A new message of a followed room, in the order of `seq`.
    Message(Message),
    /// A message of a followed room that changed, as it is now, in the order of `change`.
    Changed(Message),
    /// Changes were missed that are not kept any more: read again what is shown.
    Resync {
        /// The room.
        room: String,
        /// The last change that is not told any more; those that follow are.
        last_change: i64,
    },
    /// A followed room has another topic.
    Room {
        /// The room.
        room: String,
        /// The topic; empty if it was removed.
        topic: String,
    },
    /// The users who are present in a followed room, sorted: the first 1,000.
    Presence {
        /// The room.
        room: String,
        /// The users.
        users: Vec<String>,
    },
    /// A user types in a followed room.
    Typing {
        /// The room.
        room: String,
        /// The user.
        username: String,
    },
    /// The user of the socket has read a room up to here, on whichever device.
    Read {
        /// The room.
        room: String,
        /// The `seq` up to which the user has read.
        seq: i64,
    },
    /// The server is there. It answers [`ClientFrame::Ping`], ahead of what waits for the store.
    Pong,
    /// A message mentions the user of the socket.
    Mention {
        /// The room.
        room: String,
        /// The `seq` of the message.
        seq: i64,
    },
    /// The rooms of the user of the socket have changed: the user joined or left one, was invited,
    /// removed or banned.
    Rooms,
    /// A message is stored. It answers [`ClientFrame::Post`].
    Posted {
        /// The room.
        room: String,
        /// The `seq` of the message.
        seq: i64,
        /// The nonce of the post.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<String>,
    },
    /// A frame was refused; or, with a room, no nonce and status 403 or 404, the user may not
    /// follow that room any more.
    Error {
        /// The room of the frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        /// The nonce of the frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<String>,
        /// The status that the same request would have over HTTP.
        status: u16,
        /// One sentence that says what to change.
        detail: String,
    },
    /// A frame of a type that this version does not know.
    #[serde(other)]
    Unknown,
}
