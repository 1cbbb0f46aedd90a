//! Access to rooms, and bans from them.

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{Access, Page};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Username};

/// Keeps and reads the facts that access to a room follows from.
#[async_trait]
pub(crate) trait AccessControl: Send + Sync + 'static {
    /// Returns the access to a room of everyone, and of each of these users; `None` if the room
    /// does not exist.
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>>;

    /// Returns the access of each of these users in the newest state, which is not older than a
    /// head that was read before: a batch that is guarded by that head is refused if the answer
    /// has changed by its commit.
    ///
    /// This is a call of the committer, which does not wait for other calls.
    async fn newest_access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>>;

    /// Bans a user, whose membership ends, so that no post of the user is stored after this.
    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()>;

    /// Lifts a ban. Returns false if there was none. With the last ban of a public room, everyone
    /// may post there again.
    async fn unban(&self, room: RoomName, user: Username) -> Result<bool>;

    /// Lists the names that are banned from a room, by name.
    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>>;
}
