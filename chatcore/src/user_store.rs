//! The store, as one user may see and change it.
//!
//! - [`messages`]: reading messages and mentions
//! - [`changes`]: editing, deleting and reacting
//! - [`rooms`]: creating and listing rooms, topics
//! - [`members`]: who belongs to a room, and who is banned from it
//! - [`follow`]: following rooms, typing and read marks

mod changes;
mod follow;
mod members;
mod messages;
mod rooms;

use crate::access::{AccessRequest, Permission};
use crate::actor::Actor;
use crate::engine::{AccessSource, Engine};
use crate::error::{Error, Result};
use crate::model::Access;
use crate::store::ChatStore;
use crate::types::{RoomName, Username};

/// The store, as one user may see and change it, or as an anonymous one may. Made by
/// [`ChatStore::as_user`].
///
/// A private room of which the user is not a member is to all of this as if it did not exist: there
/// is nothing to read in it, and everything else fails with [`Error::RoomNotFound`]. That holds for
/// followers too, as soon as the user is removed.
///
/// Posts are not made here: [`ChatStore::post`] decides for everyone whether a sender may post.
///
/// The rules of [`ChatStore`] about cancellation and panics hold here too.
///
/// ```
/// use chatcore::{Actor, ChatStore, Error, NewMessage, Privacy, Range, RoomName, Username};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
/// let ann: Username = "ann".parse()?;
/// store.register(&ann, &"correct horse".parse()?, "").await?;
/// let room: RoomName = "plans".parse()?;
/// let by_ann = store.as_user(Actor::Account(ann.clone()));
/// by_ann.create_room(&room, Privacy::Private).await?;
/// let mut post = NewMessage::new(room, ann, "hello".parse()?);
/// post.verified = true;
/// let room = store.post(post).await?.message.room.clone();
///
/// assert_eq!(by_ann.messages(&room, Range::Newest, 50).await?.len(), 1);
/// let stranger = store.as_user(Actor::Anonymous);
/// assert!(stranger.messages(&room, Range::Newest, 50).await?.is_empty());
/// assert!(matches!(stranger.room(&room).await, Err(Error::RoomNotFound)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct UserStore {
    store: ChatStore,
    actor: Actor,
}

impl ChatStore {
    /// Returns the store as an actor may see and change it. See [`UserStore`] for an example.
    #[must_use]
    pub fn as_user(&self, actor: Actor) -> UserStore {
        UserStore {
            store: self.clone(),
            actor,
        }
    }
}

impl UserStore {
    /// Returns the actor whose store this is.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    fn engine(&self) -> &Engine {
        &self.store.engine
    }

    fn request(&self, permission: Permission) -> AccessRequest {
        AccessRequest {
            actor: self.actor.clone(),
            permission,
        }
    }

    /// Returns the name of the user, proved or not.
    fn user(&self) -> Result<&Username> {
        self.actor
            .username()
            .ok_or(Error::Forbidden("it is not known who this is"))
    }

    /// Asks the store what the user may do in a room, which the user must be allowed to read.
    async fn access(&self, room: &RoomName) -> Result<Access> {
        let request = self.request(Permission::Read);
        let access = self
            .engine()
            .access(room, self.actor.username())
            .await?
            .ok_or(Error::RoomNotFound)?;
        request.check(Some(&access)).map(|()| access)
    }

    /// Fails unless the user owns the room.
    async fn check_owner(&self, room: &RoomName) -> Result<()> {
        let access = self.access(room).await?;
        let account = self.actor.account();
        if account.is_some() && access.owner.as_ref() == account {
            Ok(())
        } else {
            Err(Error::Forbidden("only the owner of the room may do this"))
        }
    }

    /// Fails unless the room exists. A private one looks to a stranger like one that does not.
    async fn check_exists(&self, room: &RoomName) -> Result<()> {
        self.engine()
            .privacy(room)
            .await?
            .map(drop)
            .ok_or(Error::RoomNotFound)
    }

    /// Fails unless the user may take part in the room. Returns the request that was allowed.
    async fn participate(&self, room: &RoomName, source: AccessSource) -> Result<AccessRequest> {
        let request = self.request(Permission::Participate);
        let feed = self.engine().feed.room(room);
        self.engine().check_access(&feed, &request, source).await?;
        Ok(request)
    }
}
