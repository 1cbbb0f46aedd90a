//! Members of rooms, invitations and bans.

use super::ChatStore;
use crate::error::{Error, Result};
use crate::model::{Joined, Page};
use crate::options::{MAX_NAMES, check_limit};
use crate::types::{Privacy, RoomName, Username};

impl ChatStore {
    /// Lists at most `limit` members of a room in code point order, from the first after `after`.
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
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        let members = self.engine.backend.members(room.clone(), page);
        self.engine.call(members).await?.ok_or(Error::RoomNotFound)
    }

    /// Makes a user a member of a room, which is created if need be. Posting does it too.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a private room that the user is not a member of,
    /// [`Error::Banned`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn join(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.add_member(room, user, false).await
    }

    /// Ends a user's membership of a room, if there is one. Messages stay.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn leave(&self, room: &RoomName, user: &Username) -> Result<()> {
        let left = self.engine.backend.leave(room.clone(), user.clone());
        let left = self.engine.call(left).await;

        // A user who leaves a private room sees no more of it. After an error too: the call may
        // have had its effect.
        if self.engine.feed.privacy(room) != Some(Privacy::Public) {
            self.engine.feed.evict(room, user);
        }
        if !left? {
            return Err(Error::RoomNotFound);
        }
        self.engine.notify_rooms_changed(user);
        Ok(())
    }

    /// Makes a user a member of a private room.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::RoomIsPublic`], [`Error::AccountNotFound`],
    /// [`Error::Banned`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn invite(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_private(room).await?;
        self.check_account(user).await?;
        self.add_member(room, user, true).await
    }

    /// Ends a user's membership of a private room: once this has returned, nothing that is posted
    /// there reaches the user, at any process, and the user posts nothing there.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::RoomIsPublic`], [`Error::Unavailable`].
    pub async fn remove(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_private(room).await?;
        self.leave(room, &self.in_account_case(user).await?).await
    }

    /// Bans a name, in any case, from a room, and ends its membership: once this has returned,
    /// nothing that it posts there is stored, by any process. A public room can still be read.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn ban(&self, room: &RoomName, user: &Username) -> Result<()> {
        let engine = &self.engine;
        engine
            .access(room, None)
            .await?
            .ok_or(Error::RoomNotFound)?;

        let user = self.in_account_case(user).await?;
        let banned = engine.backend.ban(room.clone(), user.clone(), engine.now());
        let banned = engine.call(banned).await;
        // An error leaves open whether it is done.
        engine.feed.evict(room, &user);
        banned?;
        engine.notify_rooms_changed(&user);
        Ok(())
    }

    /// Lifts a ban. Returns false if there was none.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn unban(&self, room: &RoomName, user: &Username) -> Result<bool> {
        let unbanned = self.engine.backend.unban(room.clone(), user.clone());
        self.engine.call(unbanned).await
    }

    /// Lists at most `limit` of the names that are banned from a room, as they were given, in code
    /// point order, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::Unavailable`].
    pub async fn bans(
        &self,
        room: &RoomName,
        after: Option<&Username>,
        limit: u32,
    ) -> Result<Vec<Username>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        let bans = self.engine.backend.bans(room.clone(), page);
        self.engine.call(bans).await
    }

    pub(crate) async fn add_member(
        &self,
        room: &RoomName,
        user: &Username,
        invited: bool,
    ) -> Result<()> {
        let engine = &self.engine;
        let joined = engine
            .backend
            .join(room.clone(), user.clone(), invited, engine.now());
        match engine.call(joined).await? {
            Joined::Member => engine.notify_rooms_changed(user),
            Joined::NoSuchRoom => return Err(Error::RoomNotFound),
            Joined::Banned => return Err(Error::Banned),
        }
        Ok(())
    }

    /// Returns a name as the account that has it, in any case, writes it.
    async fn in_account_case(&self, user: &Username) -> Result<Username> {
        Ok(self
            .account_name(user)
            .await?
            .unwrap_or_else(|| user.clone()))
    }

    async fn check_private(&self, room: &RoomName) -> Result<()> {
        let access = self.engine.access(room, None).await?;
        match access.map(|access| access.privacy) {
            Some(Privacy::Private) => Ok(()),
            Some(Privacy::Public) => Err(Error::RoomIsPublic),
            None => Err(Error::RoomNotFound),
        }
    }

    /// Fails unless a name, in this case, has an account.
    pub(super) async fn check_account(&self, user: &Username) -> Result<()> {
        if self.account_name(user).await?.as_ref() == Some(user) {
            Ok(())
        } else {
            Err(Error::AccountNotFound)
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;
    use crate::actor::Actor;
    use crate::options::Options;
    use crate::position::Position;

    #[tokio::test]
    async fn an_access_cache_is_closed_by_a_ban_and_not_by_creating_the_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let backend = crate::backend::sqlite::open(folder.path().join("chat.db"), &options)
            .await
            .unwrap();
        let store = ChatStore::over(backend, options);
        let (ann, room): (Username, RoomName) = ("ann".parse().unwrap(), "a".parse().unwrap());
        store
            .register(&ann, &"correct horse".parse().unwrap(), "")
            .await
            .unwrap();
        let user = store.as_user(Actor::Account(ann.clone()));
        assert!(user.create_room(&room, Privacy::Public).await.unwrap());

        let _watching = user.watch(&room, Position::START).await.unwrap();
        let is_open = || store.engine.feed.room(&room).is_open();
        assert!(is_open());
        assert!(!user.create_room(&room, Privacy::Public).await.unwrap());
        assert!(is_open());
        store.ban(&room, &"bob".parse().unwrap()).await.unwrap();
        assert!(!is_open());
    }
}
