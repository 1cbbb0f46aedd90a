//! Access of an actor to a room: from memory where it is known, else from the store.

use super::{AccessSource, Engine};
use crate::access::{AccessRequest, Permission};
use crate::error::{Error, Result};
use crate::feed::RoomFeed;
use crate::model::Access;
use crate::types::{Privacy, RoomName, Username};

impl Engine {
    /// Returns who may know of a room; `None` if it does not exist.
    pub(crate) async fn privacy(&self, room: &RoomName) -> Result<Option<Privacy>> {
        let known = self.feed.privacy(room);
        if known.is_some() {
            return Ok(known);
        }

        let access = self.look_up(&self.feed.room(room), None).await?;
        Ok(access.map(|access| access.privacy))
    }

    /// Asks the store for the access of a user to a room, or of everyone.
    pub(crate) async fn access(
        &self,
        room: &RoomName,
        user: Option<&Username>,
    ) -> Result<Option<Access>> {
        let users = user.cloned().into_iter().collect();
        let found = self.call(self.backend.access(room.clone(), users)).await?;
        Ok(found.map(|(everyone, mut each)| each.pop().unwrap_or(everyone)))
    }

    /// Fails unless a room allows a request.
    ///
    /// The cached answer is used while the change stream is live. In a private or restricted room
    /// of a shared store that is not enough if the [`AccessSource`] is the store.
    pub(crate) async fn check_access(
        &self,
        room: &RoomFeed,
        request: &AccessRequest,
        source: AccessSource,
    ) -> Result<()> {
        match room.privacy() {
            // A public room stays public, and a private one private.
            Some(Privacy::Public) if request.permission == Permission::Read => return Ok(()),
            Some(Privacy::Private) if !request.actor.is_account() => {
                return Err(Error::RoomNotFound);
            }
            _ => {}
        }

        let is_allowed = || room.allows(request).then_some(());
        if self.feed.read_if_current(room, is_allowed).is_some() {
            let may_be_removed =
                self.backend.is_shared() && source == AccessSource::Store && !room.is_open();
            if !may_be_removed {
                return Ok(());
            }
        }

        let access = self.look_up(room, request.actor.username()).await?;
        request.check(access.as_ref())
    }

    /// Asks the store for the access of a user to a room, or of everyone, and remembers the answer.
    async fn look_up(&self, room: &RoomFeed, user: Option<&Username>) -> Result<Option<Access>> {
        let Some(user) = user else {
            let asked = room.begin_access_question();
            let access = self.access(&room.name, None).await?;
            room.learn_access(asked, access.as_ref());
            return Ok(access);
        };

        let ask = |users| self.call(self.backend.access(room.name.clone(), users));
        room.look_up(user, ask).await
    }
}
