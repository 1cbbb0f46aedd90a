//! Private rooms and bans, by the program itself: who may do what is up to it.
//! What one user may do is in [`UserStore`](crate::UserStore).

use super::ChatStore;
use crate::error::{Error, Result};
use crate::feed::{AccessRequest, Permission, RoomFeed};
use crate::model::{Access, Joined, Page};
use crate::options::MAX_NAMES;
use crate::options::check_limit;
use crate::types::{Privacy, RoomName, Username};

impl ChatStore {
    /// Creates a room that `owner` owns; says whether it did, `false` meaning that it was there.
    /// The owner of a private room is its first member.
    ///
    /// # Errors
    ///
    /// [`Error::AccountNotFound`]: only who has an account can own a room, because anyone can use
    /// another name. [`Error::Unavailable`], [`Error::Full`].
    pub async fn create_room_for(
        &self,
        room: &RoomName,
        owner: &Username,
        privacy: Privacy,
    ) -> Result<bool> {
        self.check_account(owner).await?;
        let (backend, now) = (&self.0.backend, self.now());
        let created = self
            .call(backend.create_room_for(room.clone(), owner.clone(), privacy, now))
            .await;
        // Whoever followed a room that did not exist yet may not follow a private one. Those of a
        // room that was there are not looked up again for it.
        if privacy == Privacy::Private && !matches!(created, Ok(false)) {
            self.0.feed.forget_access(room);
        }
        created
    }

    /// Who may know of a room; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn privacy(&self, room: &RoomName) -> Result<Option<Privacy>> {
        let known = self.0.feed.privacy(room);
        if known.is_some() {
            return Ok(known);
        }
        let access = self.look_up(&self.0.feed.room(room), None).await?;
        Ok(access.map(|access| access.privacy))
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
        self.leave(room, &self.in_its_case(user).await?).await
    }

    /// The name as the account that has it, in any case, writes it.
    async fn in_its_case(&self, user: &Username) -> Result<Username> {
        Ok(self.owner(user).await?.unwrap_or_else(|| user.clone()))
    }

    /// Bans a name, in any case, from a room, and ends its membership: once this has returned,
    /// nothing that it posts there is stored, by any process. A public room can still be read.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn ban(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.access(room, None).await?.ok_or(Error::RoomNotFound)?;
        let user = self.in_its_case(user).await?;
        let banned = self
            .call(self.0.backend.ban(room.clone(), user.clone(), self.now()))
            .await;
        // Whatever the result was, it may be done.
        self.0.feed.evict(room, &user);
        banned
    }

    /// Lifts a ban; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn unban(&self, room: &RoomName, user: &Username) -> Result<bool> {
        self.call(self.0.backend.unban(room.clone(), user.clone()))
            .await
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
        self.call(self.0.backend.bans(room.clone(), page)).await
    }

    pub(crate) async fn access(
        &self,
        room: &RoomName,
        user: Option<&Username>,
    ) -> Result<Option<Access>> {
        let users = user.cloned().into_iter().collect();
        let found = self
            .call(self.0.backend.access(room.clone(), users))
            .await?;
        Ok(found.map(|(everyone, mut each)| each.pop().unwrap_or(everyone)))
    }

    /// Makes a user a member.
    pub(crate) async fn add_member(
        &self,
        room: &RoomName,
        user: &Username,
        invited: bool,
    ) -> Result<()> {
        match self
            .call(
                self.0
                    .backend
                    .join(room.clone(), user.clone(), invited, self.now()),
            )
            .await?
        {
            Joined::Member => Ok(()),
            Joined::NoSuchRoom => Err(Error::RoomNotFound),
            Joined::Banned => Err(Error::Banned),
        }
    }

    async fn check_private(&self, room: &RoomName) -> Result<()> {
        match self.access(room, None).await?.map(|access| access.privacy) {
            Some(Privacy::Private) => Ok(()),
            Some(Privacy::Public) => Err(Error::RoomIsPublic),
            None => Err(Error::RoomNotFound),
        }
    }

    async fn check_account(&self, user: &Username) -> Result<()> {
        match self.owner(user).await?.as_ref() == Some(user) {
            true => Ok(()),
            false => Err(Error::AccountNotFound),
        }
    }

    /// Fails unless the room lets a visitor in. What is remembered will do while everything is
    /// heard of that other processes do; but of a private room not if the question is to be
    /// answered `afresh`.
    pub(crate) async fn let_in(
        &self,
        room: &RoomFeed,
        visitor: &AccessRequest,
        afresh: bool,
    ) -> Result<()> {
        match room.privacy() {
            // A public room stays public, and a private one private.
            Some(Privacy::Public) if visitor.permission == Permission::Read => return Ok(()),
            Some(Privacy::Private) if !visitor.actor.is_account() => {
                return Err(Error::RoomNotFound);
            }
            _ => {}
        }
        // Before and after: what was missed while one looked must not count.
        let before = self.0.feed.heard_in(room);
        if room.lets_in(visitor) && before.is_some() && self.0.feed.heard_in(room) == before {
            let others_may_have_acted = self.0.backend.is_shared() && afresh && !room.is_open();
            if !others_may_have_acted {
                return Ok(());
            }
        }
        let access = self.look_up(room, visitor.actor.username()).await?;
        visitor.check(access.as_ref())
    }

    /// Asks the store how a room stands to a user, or to somebody unknown, and remembers the
    /// answer.
    async fn look_up(&self, room: &RoomFeed, user: Option<&Username>) -> Result<Option<Access>> {
        let Some(user) = user else {
            let asked = room.ask();
            let access = self.access(&room.name, None).await?;
            room.learn(asked, access.as_ref());
            return Ok(access);
        };
        room.look_up(user, |users| {
            self.call(self.0.backend.access(room.name.clone(), users))
        })
        .await
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;
    use crate::actor::Actor;
    use crate::options::Options;

    #[tokio::test]
    async fn an_access_cache_is_closed_by_a_ban_and_not_by_opening_the_room_again() {
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
        let view = store.as_user(Actor::Account(ann.clone()));
        assert!(view.create_room(&room, Privacy::Public).await.unwrap());
        let _watching = view.watch(&room, crate::Seq::ZERO, None).await.unwrap();
        let is_open = || store.0.feed.room(&room).is_open();
        assert!(is_open());
        assert!(!view.create_room(&room, Privacy::Public).await.unwrap());
        assert!(is_open());
        store.ban(&room, &"bob".parse().unwrap()).await.unwrap();
        assert!(!is_open());
    }
}
