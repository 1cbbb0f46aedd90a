//! Position of a reader in a room.

use crate::types::{ChangeSeq, Seq};

/// Position in a room: the `seq` of the last message, and the number of the last change, that a
/// reader has seen.
///
/// A reader that resumes at both ends with exactly what the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// `seq` of the last message.
    pub seq: Seq,
    /// Number of the last change.
    pub change: ChangeSeq,
}

impl Default for Position {
    fn default() -> Self {
        Self::START
    }
}

impl Position {
    /// The position before the first message and the first change.
    pub const START: Self = Self {
        seq: Seq::ZERO,
        change: ChangeSeq::ZERO,
    };

    /// Returns the position after the message at `seq` and the change numbered `change`.
    #[must_use]
    pub fn new(seq: Seq, change: ChangeSeq) -> Self {
        Self { seq, change }
    }
}
