//! Values that the processes on a shared store send to each other.

use crate::types::{RoomName, Topic, Username};

/// Names one of the processes that work on a shared store: 96 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId(pub(crate) [u8; 12]);

/// The users who are connected to a room at one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessPresence {
    /// Grows with each list that the process publishes, so that an older one is told apart.
    pub(crate) version: i64,
    pub(crate) users: Vec<Username>,
}

/// An event that is published to the other processes and not stored.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "mongodb"),
    expect(dead_code, reason = "there is no other process to notify")
)]
pub(crate) enum Signal {
    /// A user types in a room.
    Typing(RoomName, Username),
    /// Some of a user's sessions ended.
    SessionsEnded(Username),
    /// Everything that a user has open ended, whatever proved it.
    Revoked(Username),
    /// A private room was created. Someone who followed the name before may not read it.
    PrivateRoomCreated(RoomName),
    /// A user was removed or banned from a room.
    Evicted(RoomName, Username),
    /// A room got another topic.
    TopicSet(RoomName, Topic),
    /// A user joined or left a room, or somebody else decided so.
    RoomsChanged(Username),
}
