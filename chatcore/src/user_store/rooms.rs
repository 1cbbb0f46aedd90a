//! Creating and listing rooms, and setting topics, as one user.

use super::UserStore;
use crate::error::{Error, Result};
use crate::model::Page;
use crate::options::{MAX_NAMES, check_limit};
use crate::types::{Privacy, Room, RoomName, Topic};

impl UserStore {
    /// Creates a room. Returns false if there was one of that name. An account owns the room that
    /// it creates, and is the first member of a private one; nobody owns a guest's.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for a private room without an account, and for a room that exists and
    /// is private, of which the user is not a member. [`Error::PrivacyFixed`] if a private room was
    /// asked for, and it is public. [`Error::Unavailable`], [`Error::Full`].
    pub async fn create_room(&self, room: &RoomName, privacy: Privacy) -> Result<bool> {
        let created = match self.actor.account() {
            Some(user) => self.store.create_room_for(room, user, privacy).await?,
            None if privacy == Privacy::Private => {
                return Err(Error::Forbidden(
                    "only who has an account may make a private room",
                ));
            }
            None => self.store.create_room(room).await?,
        };
        if created {
            return Ok(true);
        }
        self.check_existing(room, privacy).await?;
        Ok(false)
    }

    /// Fails if a room that exists is not the one that the user asked for.
    async fn check_existing(&self, room: &RoomName, privacy: Privacy) -> Result<()> {
        let taken = || Error::Forbidden("a room of this name cannot be created");
        let account = self.actor.account();
        let access = self.engine().access(room, account).await?;
        let access = access.ok_or_else(taken)?;
        match (access.privacy, account) {
            (Privacy::Private, _) if access.member => Ok(()),
            // The room was created, and adding its owner was cut off.
            (Privacy::Private, Some(owner)) if access.owner.as_ref() == account => {
                self.store.add_member(room, owner, true).await
            }
            (Privacy::Private, _) => Err(taken()),
            (Privacy::Public, _) if privacy == Privacy::Private => Err(Error::PrivacyFixed),
            (Privacy::Public, _) => Ok(()),
        }
    }

    /// Lists at most `limit` rooms that the user may know of, in code point order, from the first
    /// after `after`: the public ones, and the private ones of which the user is a member.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`](crate::MAX_NAMES),
    /// [`Error::Unavailable`].
    pub async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<Vec<RoomName>> {
        let mut rooms = self.store.rooms(after, limit).await?;
        rooms.extend(self.private_rooms(after, limit).await?);
        rooms.sort_unstable();
        rooms.truncate(limit as usize);
        Ok(rooms)
    }

    /// Lists at most `limit` private rooms that the user is a member of, in code point order, from
    /// the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::Unavailable`].
    pub async fn private_rooms(
        &self,
        after: Option<&RoomName>,
        limit: u32,
    ) -> Result<Vec<RoomName>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        let Some(user) = self.actor.account() else {
            return Ok(Vec::new());
        };

        let private = self.engine().backend.private_rooms(user.clone(), page);
        self.engine().call(private).await
    }

    /// Returns the description of a room.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], also for a private room that the user is not a member of;
    /// [`Error::Unavailable`].
    pub async fn room(&self, room: &RoomName) -> Result<Room> {
        let found = self.store.room(room).await;
        if found.as_ref().is_ok_and(|room| !room.private) {
            return found;
        }
        // Asked for a room that does not exist too, so that the two take the same time.
        self.access(room).await?;
        found
    }

    /// Sets the topic of a room that the user owns, and returns the room. Those who watch the room
    /// are notified.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] unless the user owns the room, [`Error::RoomNotFound`],
    /// [`Error::Unavailable`], [`Error::Full`].
    pub async fn set_topic(&self, room: &RoomName, topic: Topic) -> Result<Room> {
        self.check_owner(room).await?;
        self.store.set_topic(room, topic).await
    }
}
