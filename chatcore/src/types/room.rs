//! Descriptions of rooms.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{ChangeSeq, RoomName, Seq, Topic, Username};
use crate::timestamp::Timestamp;

/// The number of a user's newest mentions among which unread ones are counted.
pub const MAX_COUNTED_MENTIONS: u32 = 1_000;

/// A description of a room.
///
/// Written as one JSON object; `private`, `owner` and `topic` are left out where they do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Room {
    /// The name, which JSON calls `room`.
    #[serde(rename = "room")]
    pub name: RoomName,
    /// The `seq` of the newest message; 0 in a room without messages.
    pub last_seq: Seq,
    /// The number of the last change to a message; 0 if there was none.
    pub last_change: ChangeSeq,
    /// The time of the newest message.
    pub last_timestamp: Option<Timestamp>,
    /// The time at which the room was created.
    pub created_at: Timestamp,
    /// The number of members, which JSON calls `users`.
    #[serde(rename = "users")]
    pub members: u64,
    /// True if only members may know of the room. Decided when the room is created.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// The user who created the room, and may delete messages, ban users, and invite and remove
    /// members of a private room. A room that came to be by a post or a join has no owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Username>,
    /// The topic, if the owner has set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
}

/// The circle of users who may know of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privacy {
    /// Everyone.
    Public,
    /// The members of the room.
    Private,
}

/// A room as one of its members sees it.
///
/// Written as one JSON object, with the number of [unread](Self::unread) messages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UserRoom {
    /// The name.
    pub room: RoomName,
    /// The `seq` of the newest message; 0 in a room without messages.
    pub last_seq: Seq,
    /// The `seq` up to which the user has read; 0 if nothing.
    pub read_seq: Seq,
    /// The number of messages that mention the user and that the user has not read, of the user's
    /// newest [`MAX_COUNTED_MENTIONS`].
    pub mentions: u64,
}

impl UserRoom {
    /// Returns the number of messages that the user has not read.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.last_seq
            .get()
            .saturating_sub(self.read_seq.get())
            .max(0)
            .unsigned_abs()
    }
}

impl Serialize for UserRoom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("UserRoom", 5)?;
        fields.serialize_field("room", &self.room)?;
        fields.serialize_field("last_seq", &self.last_seq)?;
        fields.serialize_field("read_seq", &self.read_seq)?;
        fields.serialize_field("unread", &self.unread())?;
        fields.serialize_field("mentions", &self.mentions)?;
        fields.end()
    }
}
