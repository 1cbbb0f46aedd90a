//! Members of rooms, invitations and bans, as one user.

use super::UserStore;
use crate::error::{Error, Result};
use crate::options::{MAX_NAMES, check_limit};
use crate::types::{RoomName, Username};

impl UserStore {
    /// Lists at most `limit` members of a room that the user may know of, in code point order, from
    /// the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::RoomNotFound`],
    /// [`Error::Unavailable`].
    pub async fn members(
        &self,
        room: &RoomName,
        after: Option<&Username>,
        limit: u32,
    ) -> Result<Vec<Username>> {
        check_limit(limit, MAX_NAMES)?;
        self.access(room).await?;
        self.store.members(room, after, limit).await
    }

    /// Makes the user a member of a room, which is created if need be. Posting does it too.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a private room that the user is not a member of,
    /// [`Error::Banned`], [`Error::Forbidden`] for an anonymous user, [`Error::Unavailable`],
    /// [`Error::Full`].
    pub async fn join(&self, room: &RoomName) -> Result<()> {
        self.store.join(room, self.user()?).await
    }

    /// Returns true if the user is a member of a room.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn is_member(&self, room: &RoomName) -> Result<bool> {
        Ok(self.access(room).await?.member)
    }

    /// Ends the user's membership of a room, if there is one. Messages stay.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Forbidden`] for an anonymous user, [`Error::Unavailable`].
    pub async fn leave(&self, room: &RoomName) -> Result<()> {
        self.access(room).await?;
        self.store.leave(room, self.user()?).await
    }

    /// Makes another user a member of a private room that this user owns.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] unless the user owns the room, [`Error::RoomNotFound`],
    /// [`Error::RoomIsPublic`], [`Error::AccountNotFound`], [`Error::Banned`],
    /// [`Error::Unavailable`], [`Error::Full`].
    pub async fn invite(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_owner(room).await?;
        self.store.invite(room, user).await
    }

    /// Ends another user's membership of a private room that this user owns: once this has
    /// returned, nothing that is posted there reaches that user, at any process, and the user posts
    /// nothing there.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] unless the user owns the room, [`Error::RoomNotFound`],
    /// [`Error::RoomIsPublic`], [`Error::Unavailable`].
    pub async fn remove(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_owner(room).await?;
        self.store.remove(room, user).await
    }

    /// Bans a name, in any case, from a room that the user owns, and ends its membership: once this
    /// has returned, nothing that it posts there is stored, by any process. A public room can still
    /// be read. The owner cannot be banned.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] unless the user owns the room, and for the owner's own name,
    /// [`Error::RoomNotFound`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn ban(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_owner(room).await?;
        let owner = self.actor.account();
        if owner.is_some_and(|owner| owner.is_same_but_for_case(user)) {
            return Err(Error::Forbidden(
                "the owner of a room cannot be banned from it",
            ));
        }
        self.store.ban(room, user).await
    }

    /// Lifts a ban from a room that the user owns. Returns false if there was none.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] unless the user owns the room, [`Error::RoomNotFound`],
    /// [`Error::Unavailable`].
    pub async fn unban(&self, room: &RoomName, user: &Username) -> Result<bool> {
        self.check_owner(room).await?;
        self.store.unban(room, user).await
    }

    /// Lists at most `limit` of the names that are banned from a room that the user owns, as they
    /// were given, in code point order, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::Forbidden`] unless the
    /// user owns the room, [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn bans(
        &self,
        room: &RoomName,
        after: Option<&Username>,
        limit: u32,
    ) -> Result<Vec<Username>> {
        self.check_owner(room).await?;
        self.store.bans(room, after, limit).await
    }
}
