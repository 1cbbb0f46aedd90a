//! Rooms to follow, and positions in them.

/// Position that a follower has reached in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The `seq` of the last message; 0 before the first.
    pub seq: i64,
    /// The number of the last change; 0 before the first.
    pub change: i64,
}

/// A room to follow, and the position to begin after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub(crate) room: String,
    pub(crate) after: Option<i64>,
    pub(crate) changes_after: Option<i64>,
}

impl Subscription {
    /// Follows a room from now on: from the moment of its
    /// [`Event::Following`](crate::Event::Following).
    #[must_use]
    pub fn from_now(room: impl Into<String>) -> Self {
        Self {
            room: room.into(),
            after: None,
            changes_after: None,
        }
    }

    /// Follows a room from its first message.
    #[must_use]
    pub fn from_start(room: impl Into<String>) -> Self {
        Self::after(room, 0)
    }

    /// Follows a room from the message after `seq`, and from the changes that are made from now on.
    ///
    /// A program that shows earlier messages [resumes](Self::resume) after them instead: with
    /// `last_change` of [`Client::room`](crate::Client::room), read before the messages, so that no
    /// change in between is missed.
    #[must_use]
    pub fn after(room: impl Into<String>, seq: i64) -> Self {
        Self {
            room: room.into(),
            after: Some(seq),
            changes_after: None,
        }
    }

    /// Goes on where a follower stopped: see [`Follower::position`](crate::Follower::position).
    #[must_use]
    pub fn resume(room: impl Into<String>, position: Position) -> Self {
        Self {
            room: room.into(),
            after: Some(position.seq),
            changes_after: Some(position.change),
        }
    }
}

impl From<&str> for Subscription {
    fn from(room: &str) -> Self {
        Self::from_now(room)
    }
}

impl From<String> for Subscription {
    fn from(room: String) -> Self {
        Self::from_now(room)
    }
}
