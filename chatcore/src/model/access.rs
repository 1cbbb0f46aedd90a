//! Access of users to a room.

use crate::types::{Privacy, Username};

/// The rights of one user in a room, with the facts about the room that they follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) privacy: Privacy,
    /// True if the room is private, or somebody is banned from it.
    pub(crate) restricted: bool,
    pub(crate) owner: Option<Username>,
    /// True if the user is a member. Set for private rooms only.
    pub(crate) member: bool,
    pub(crate) banned: bool,
}

/// Outcome of an attempt to join a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The user is a member.
    Member,
    /// Nothing changed: the room is private and there was no invitation, or there was one to a room
    /// that does not exist.
    NoSuchRoom,
    /// Nothing changed: the user is banned.
    Banned,
}
