//! Heads of rooms.

use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Seq};

/// The end of a room: the numbers and the time that the next message and the next change follow,
/// and the counters that guard a batch against a loss of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: Seq,
    /// Number of the last change to a message.
    pub(crate) change: ChangeSeq,
    pub(crate) timestamp: Timestamp,
    /// Number of times that a member left or was removed, or a name was banned. While it stays the same, members stay
    /// members. Anyone may move it at will, so it guards only a batch that assumes a membership.
    pub(crate) departures: i64,
    /// True if not everyone may post: the room is private, or somebody is banned from it.
    pub(crate) restricted: bool,
    /// Number of times that somebody lost the right to post, by a ban or by the end of a
    /// membership in a private room. While it stays the same, everyone who was allowed to post
    /// still is.
    pub(crate) closings: i64,
}

impl Head {
    /// The head of a room without messages.
    pub(crate) const EMPTY: Self = Self {
        seq: Seq::ZERO,
        change: ChangeSeq::ZERO,
        timestamp: Timestamp::EPOCH,
        departures: 0,
        restricted: false,
        closings: 0,
    };
}
