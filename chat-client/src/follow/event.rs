//! Events of followed rooms.

use super::subscription::Position;
use crate::wire::{Message, Problem};

/// The way by which events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// A WebSocket.
    Socket,
    /// Long polling, because sockets are blocked: without presence, typing, read marks, mentions
    /// and topics.
    Polling,
}

/// An event of a followed room, or of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Events arrive from now on.
    Connected(Way),
    /// The connection is lost, for the reason given; another one is tried.
    Disconnected(String),
    /// A room is followed after this position: first, and after every interruption. Topic, read
    /// marks and mentions may have changed meanwhile, and are read with the calls of a client.
    Following {
        /// The room.
        room: String,
        /// The position.
        position: Position,
    },
    /// A new message. Each comes once, in the order of `seq`.
    Message(Message),
    /// A message that changed, as it is now. Several changes may come as one, in the order of
    /// `change`, and always after the message itself.
    Changed(Message),
    /// Changes were missed that the server does not keep any more: read again what is shown.
    Resync {
        /// The room.
        room: String,
        /// The last change that is not told; those that follow are.
        last_change: i64,
    },
    /// A room has another topic; an empty one was removed.
    Topic {
        /// The room.
        room: String,
        /// The topic.
        topic: String,
    },
    /// The users who are present in a room, sorted: the first 1,000.
    Presence {
        /// The room.
        room: String,
        /// The users.
        users: Vec<String>,
    },
    /// A user types in a room, which holds for 5 s.
    Typing {
        /// The room.
        room: String,
        /// The user.
        username: String,
    },
    /// The user of the client has read a room up to here, on whichever device.
    Read {
        /// The room.
        room: String,
        /// The `seq`.
        seq: i64,
    },
    /// A message mentions the user of the client, in whichever room.
    Mention {
        /// The room.
        room: String,
        /// The `seq` of the message.
        seq: i64,
    },
    /// The rooms of the user of the client have changed: the user joined or left one, was invited,
    /// removed or banned.
    Rooms,
    /// A room cannot be followed yet, because the server is busy or one follows too many rooms. It
    /// is tried again.
    Delayed {
        /// The room.
        room: String,
        /// The reason.
        problem: Problem,
    },
    /// A room may not be followed, or not any more, and is not tried again.
    Ended {
        /// The room.
        room: String,
        /// The reason.
        problem: Problem,
    },
}
