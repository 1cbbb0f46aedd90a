//! Rooms, their members, and the members' read marks.

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{Joined, Page, ReadMark};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, Room, RoomName, Seq, Topic, UserRoom, Username};

/// Creates, lists and describes rooms, and keeps their members.
#[async_trait]
pub(crate) trait Rooms: Send + Sync + 'static {
    /// Creates a public room without an owner unless it exists. Returns true if it did not.
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool>;

    /// Creates a room for its owner unless it exists. Returns true if it did not. The owner of a
    /// private room is its first member.
    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool>;

    /// Lists the public rooms, by name.
    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>>;

    /// Lists all rooms, private ones too, by name.
    async fn all_rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>>;

    /// Lists the private rooms that a user is a member of, by name.
    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>>;

    /// Lists the rooms that a user is a member of, by name, without their mentions.
    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>>;

    /// Describes a room; `None` if it does not exist.
    async fn room(&self, room: RoomName) -> Result<Option<Room>>;

    /// Sets the topic of a room. Returns false if the room does not exist.
    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool>;

    /// Lists the members of a room, by name; `None` if it does not exist.
    async fn members(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>>;

    /// Makes the user a member of a room. Without an invitation, the room is created unless it
    /// exists.
    async fn join(
        &self,
        room: RoomName,
        user: Username,
        invited: bool,
        now: Timestamp,
    ) -> Result<Joined>;

    /// Ends a membership, so that no post that rests on it is stored after this. Returns false if
    /// the room does not exist.
    async fn leave(&self, room: RoomName, user: Username) -> Result<bool>;

    /// Returns the `seq` up to which a user has read a room; 0 if there is no mark.
    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq>;

    /// Moves read marks forward, never back, in one write. After an error any of them may have been
    /// moved.
    async fn store_read_marks(&self, marks: Vec<ReadMark>) -> Result<()>;
}
