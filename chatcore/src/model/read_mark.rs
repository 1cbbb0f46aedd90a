//! The `seq` up to which a user has read a room.

use crate::types::{RoomName, Seq, Username};

/// A user has read a room up to and including `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadMark {
    pub(crate) user: Username,
    pub(crate) room: RoomName,
    pub(crate) seq: Seq,
}
