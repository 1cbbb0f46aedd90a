//! What a store needs of a database for rooms that are not for everyone: each method is one atomic
//! step.

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{Access, Page};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Username};

#[async_trait]
pub(crate) trait Moderation: Send + Sync + 'static {
    /// Creates a room for its owner unless it exists; says whether it did. The owner of a private
    /// room is its first member.
    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool>;
    /// The private rooms that a user is a member of.
    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>>;

    /// Access to a room of everyone, and of each of these users; `None` if the room does not exist.
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>>;
    /// For each of these users, how the room stands to them. Not older than a head that was read
    /// before; a batch that is guarded by that head makes sure that it is still true.
    async fn admissions(&self, room: RoomName, users: Vec<Username>)
    -> Result<Vec<Option<Access>>>;

    /// Bans a user, whose membership ends, so that no post of the user is stored after this.
    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()>;
    /// Lifts a ban; says whether there was one. With the last ban of a public room, everyone may
    /// post there again.
    async fn unban(&self, room: RoomName, user: Username) -> Result<bool>;
    /// The names that are banned.
    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>>;
}
