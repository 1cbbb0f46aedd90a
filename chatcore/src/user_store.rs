//! The store as one user may see and change it.

use std::collections::HashMap;
use std::time::Duration;

use crate::actor::Actor;
use crate::committer::Change;
use crate::error::{Error, Result};
use crate::feed::{AccessRequest, Permission};
use crate::follow::{Follower, PresenceGuard, Watcher};
use crate::model::{Access, Page};
use crate::options::{MAX_MESSAGES, MAX_NAMES, check_limit};
use crate::shared::SharedMessage;
use crate::store::ChatStore;
use crate::timestamp::Timestamp;
use crate::types::{
    ChangeSeq, Emoji, MessageText, Privacy, Range, Room, RoomName, Seq, Topic, Username,
};

/// Pages of mentions that are read for one answer, if most of them are of rooms that may not be
/// read.
const MAX_PAGES: usize = 8;

/// The store as one user may see and change it, or as somebody unknown may. Made by
/// [`ChatStore::as_user`].
///
/// A private room of which the user is not a member is to all of this as if it did not exist: there
/// is nothing to read in it, and everything else fails with [`Error::RoomNotFound`]. That holds for
/// followers too, as soon as the user is removed.
///
/// Posts are not made here: whether a sender may post is decided by [`ChatStore::post`] for
/// everyone.
#[derive(Debug, Clone)]
pub struct UserStore {
    store: ChatStore,
    actor: Actor,
}

impl ChatStore {
    /// Returns the store as an actor may see and change it.
    ///
    /// ```
    /// # use chatcore::{Actor, ChatStore, Error, Privacy, Username};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let (ann, room): (Username, _) = ("ann".parse()?, "plans".parse()?);
    /// store.register(&ann, &"correct horse".parse()?, "").await?;
    /// store.as_user(Actor::Account(ann)).create_room(&room, Privacy::Private).await?;
    /// assert!(matches!(store.as_user(Actor::Anonymous).room(&room).await, Err(Error::RoomNotFound)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn as_user(&self, actor: Actor) -> UserStore {
        UserStore {
            store: self.clone(),
            actor,
        }
    }
}

impl UserStore {
    /// The user, if the name is proved.
    fn verified(&self) -> Option<&Username> {
        self.actor.account()
    }

    fn visitor(&self, permission: Permission) -> AccessRequest {
        AccessRequest {
            actor: self.actor.clone(),
            permission,
        }
    }

    /// What the user may do in a room that the user may know of.
    async fn access(&self, room: &RoomName) -> Result<Access> {
        let visitor = self.visitor(Permission::Read);
        let access = self
            .store
            .access(room, visitor.actor.username())
            .await?
            .ok_or(Error::RoomNotFound)?;
        visitor.check(Some(&access)).map(|()| access)
    }

    /// Fails unless the user owns the room.
    async fn check_owner(&self, room: &RoomName) -> Result<()> {
        let access = self.access(room).await?;
        match self
            .verified()
            .is_some_and(|user| access.owner.as_ref() == Some(user))
        {
            true => Ok(()),
            false => Err(Error::Forbidden("only the owner of the room may do this")),
        }
    }

    /// See [`ChatStore::messages`].
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::messages`].
    pub async fn messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        self.store
            .read(
                room,
                range,
                limit,
                Some(&self.visitor(Permission::Read)),
                true,
            )
            .await
    }

    /// What [`messages`](Self::messages) gives, if that is in memory and the room is public. For
    /// who reads often: neither the store nor the user's session need be asked.
    #[must_use]
    pub fn messages_at_hand(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Option<Vec<SharedMessage>> {
        check_limit(limit, MAX_MESSAGES)
            .ok()
            .and_then(|limit| self.store.at_hand(room, range, limit, true))
    }

    /// See [`ChatStore::wait_for_messages`].
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::messages`].
    pub async fn wait_for_messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        patience: Duration,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        self.store
            .wait(
                room,
                range,
                limit,
                patience,
                Some(&self.visitor(Permission::Read)),
            )
            .await
    }

    /// See [`ChatStore::last_seq`].
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn last_seq(&self, room: &RoomName) -> Result<Seq> {
        let newest = self.messages(room, Range::Newest, 1).await?;
        Ok(newest.last().map_or(Seq::ZERO, |message| message.seq))
    }

    /// Follows a room, as [`ChatStore::follow`] does, for as long as the user may read it.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a room that does not exist, and for a private one that the user
    /// is not a member of, so that neither can be told from the other; [`Error::Unavailable`].
    pub async fn follow(&self, room: &RoomName, after: Seq) -> Result<Follower> {
        self.check_exists(room).await?;
        let visitor = self.visitor(Permission::Read);
        let feed = self.store.0.feed.room(room);
        self.store.let_in(&feed, &visitor, true).await?;
        Ok(Follower::new(
            self.store.clone(),
            feed,
            after,
            Some(visitor),
        ))
    }

    /// Watches a room, as [`ChatStore::watch`] does, and counts the user, if it is known who that
    /// is, as present until the second value is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a room that does not exist, and for a private one that the user
    /// is not a member of; [`Error::Banned`], [`Error::Unavailable`].
    pub async fn watch(
        &self,
        room: &RoomName,
        after: Seq,
        changes_after: Option<ChangeSeq>,
    ) -> Result<(Watcher, Option<PresenceGuard>)> {
        self.check_exists(room).await?;
        let visitor = self.take_part(room, true).await?;
        let attending = visitor
            .actor
            .username()
            .map(|user| self.store.enter(room, user));
        Ok((
            self.store
                .watch_as(room, after, changes_after, Some(visitor)),
            attending,
        ))
    }

    /// Fails unless the room exists. One that does not looks like a private one to a stranger.
    async fn check_exists(&self, room: &RoomName) -> Result<()> {
        self.store
            .privacy(room)
            .await?
            .map(drop)
            .ok_or(Error::RoomNotFound)
    }

    /// Fails unless the user, or somebody unknown, may be seen in the room.
    async fn take_part(&self, room: &RoomName, afresh: bool) -> Result<AccessRequest> {
        let visitor = self.visitor(Permission::Participate);
        self.store
            .let_in(&self.store.0.feed.room(room), &visitor, afresh)
            .await?;
        Ok(visitor)
    }

    /// See [`ChatStore::type_in`].
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a private room that the user is not a member of,
    /// [`Error::Banned`], [`Error::Unavailable`].
    pub async fn type_in(&self, room: &RoomName) -> Result<()> {
        if let Some(user) = self.take_part(room, false).await?.actor.username() {
            self.store.type_in(room, user);
        }
        Ok(())
    }

    /// See [`ChatStore::room`].
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn room(&self, room: &RoomName) -> Result<Room> {
        let found = self.store.room(room).await;
        if let Ok(found) = &found
            && !found.private
        {
            return Ok(found.clone());
        }
        // Asked for a room that does not exist too, so that the two take the same time.
        self.access(room).await?;
        found
    }

    /// Lists at most `limit` rooms that the user may know of, in code point order, from the first
    /// after `after`.
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::rooms`].
    pub async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<Vec<RoomName>> {
        let mut rooms = self.store.rooms(after, limit).await?;
        if let Some(user) = self.verified() {
            let page = Page {
                after: after.cloned(),
                limit,
            };
            let private = self.store.0.backend.private_rooms(user.clone(), page);
            rooms.extend(self.store.call(private).await?);
            rooms.sort_unstable();
            rooms.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Ok(rooms)
    }

    /// See [`ChatStore::users`].
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::users`].
    pub async fn users(
        &self,
        room: &RoomName,
        after: Option<&Username>,
        limit: u32,
    ) -> Result<Vec<Username>> {
        check_limit(limit, MAX_NAMES)?;
        self.access(room).await?;
        self.store.users(room, after, limit).await
    }

    /// Creates a room; says whether it did, `false` meaning that it was there. A user who has
    /// proved the name owns it.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for a private room of somebody who has proved no name, and for a room
    /// that exists and is private, of which the user is not a member. [`Error::PrivacyFixed`] if a
    /// private room was asked for, and it is public. [`Error::Unavailable`], [`Error::Full`].
    pub async fn create_room(&self, room: &RoomName, privacy: Privacy) -> Result<bool> {
        let created = match self.verified() {
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
        let taken = Error::Forbidden("a room of this name cannot be created");
        let access = match self.store.access(room, self.verified()).await? {
            Some(access) => access,
            None => return Err(taken),
        };
        let owns = self.verified().is_some() && access.owner.as_ref() == self.verified();
        match (access.privacy, privacy) {
            // What ended between making the room and making its owner a member is mended here.
            (Privacy::Private, _) if owns && !access.member => self
                .store
                .add_member(room, self.verified().ok_or(taken)?, true)
                .await
                .map(|()| false),
            (Privacy::Private, _) if !access.member => Err(taken),
            (Privacy::Public, Privacy::Private) => Err(Error::PrivacyFixed),
            _ => Ok(false),
        }
    }

    /// See [`ChatStore::join`].
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a private room that the user is not a member of,
    /// [`Error::Banned`], [`Error::Forbidden`] if it is not known who joins,
    /// [`Error::Unavailable`], [`Error::Full`].
    pub async fn join(&self, room: &RoomName) -> Result<()> {
        self.store.join(room, self.user()?).await
    }

    /// See [`ChatStore::leave`].
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Forbidden`] if it is not known who leaves,
    /// [`Error::Unavailable`].
    pub async fn leave(&self, room: &RoomName) -> Result<()> {
        self.access(room).await?;
        self.store.leave(room, self.user()?).await
    }

    /// See [`ChatStore::mark_read`].
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::mark_read`], [`Error::Forbidden`] if it is not known who has read.
    pub async fn mark_read(&self, room: &RoomName, seq: Seq) -> Result<Seq> {
        // A room that is known to be public needs no question.
        if self.store.privacy(room).await? == Some(Privacy::Private) {
            self.access(room).await?;
        }
        self.store.mark_read(self.user()?, room, seq).await
    }

    fn user(&self) -> Result<&Username> {
        self.actor
            .username()
            .ok_or(Error::Forbidden("it is not known who this is"))
    }

    /// Makes a user a member of a private room that the user of this view owns.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for who is not the owner, and those of [`ChatStore::invite`].
    pub async fn invite(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_owner(room).await?;
        self.store.invite(room, user).await
    }

    /// Ends a user's membership of a private room that the user of this view owns.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for who is not the owner, and those of [`ChatStore::remove`].
    pub async fn remove(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_owner(room).await?;
        self.store.remove(room, user).await
    }

    /// Bans a name from a room that the user of this view owns. The owner cannot be banned.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for who is not the owner, and those of [`ChatStore::ban`].
    pub async fn ban(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.check_owner(room).await?;
        if self
            .verified()
            .is_some_and(|owner| owner.is_same_but_for_case(user))
        {
            return Err(Error::Forbidden(
                "the owner of a room cannot be banned from it",
            ));
        }
        self.store.ban(room, user).await
    }

    /// Lifts a ban from a room that the user of this view owns; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for who is not the owner, [`Error::RoomNotFound`],
    /// [`Error::Unavailable`].
    pub async fn unban(&self, room: &RoomName, user: &Username) -> Result<bool> {
        self.check_owner(room).await?;
        self.store.unban(room, user).await
    }

    /// Lists who is banned from a room that the user of this view owns.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for who is not the owner, [`Error::RoomNotFound`], and those of
    /// [`ChatStore::bans`].
    pub async fn bans(
        &self,
        room: &RoomName,
        after: Option<&Username>,
        limit: u32,
    ) -> Result<Vec<Username>> {
        self.check_owner(room).await?;
        self.store.bans(room, after, limit).await
    }

    /// See [`ChatStore::message`].
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotFound`], also in a private room that the user is not a member of;
    /// [`Error::Unavailable`].
    pub async fn message(&self, room: &RoomName, seq: Seq) -> Result<SharedMessage> {
        self.store
            .message_as(room, seq, Some(&self.visitor(Permission::Read)))
            .await
    }

    /// See [`ChatStore::changes`]. None of a private room that the user is not a member of.
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::changes`].
    pub async fn changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        self.wait_for_changes(room, after, limit, Duration::ZERO)
            .await
    }

    /// See [`ChatStore::wait_for_changes`]. None of a private room that the user is not a member
    /// of.
    ///
    /// # Errors
    ///
    /// Those of [`ChatStore::changes`].
    pub async fn wait_for_changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
        patience: Duration,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        let visitor = self.visitor(Permission::Read);
        self.store
            .wait_for_changes_as(room, after, limit, patience, Some(&visitor))
            .await
    }

    /// Returns the place of a room's newest message and the number of its last change; 0 where
    /// there is none, or the user may not know.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn ends(&self, room: &RoomName) -> Result<(Seq, ChangeSeq)> {
        // A room of which nothing may be read has no message.
        if self.last_seq(room).await? == Seq::ZERO {
            return Ok((Seq::ZERO, ChangeSeq::ZERO));
        }
        // In this order, so that the change is of no message after the place.
        let last_change = self.store.last_change(room).await?;
        Ok((self.last_seq(room).await?, last_change))
    }

    /// Edits a message, as [`ChatStore::edit_message`] does, that the user wrote after proving the
    /// name.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for the message of anyone else, [`Error::Banned`], and those of
    /// [`ChatStore::edit_message`].
    pub async fn edit_message(
        &self,
        room: &RoomName,
        seq: Seq,
        text: MessageText,
    ) -> Result<SharedMessage> {
        let Some(editor) = self.verified() else {
            self.access(room).await?;
            return Err(Error::Forbidden(
                "only the account that wrote a message may edit it",
            ));
        };
        self.store
            .edit_as(room, seq, text, Some(editor.clone()))
            .await
    }

    /// Deletes a message, as [`ChatStore::delete_message`] does, in a room that the user owns, or
    /// one that the user wrote after proving the name.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for the message of anyone else, [`Error::Banned`], and those of
    /// [`ChatStore::delete_message`].
    pub async fn delete_message(&self, room: &RoomName, seq: Seq) -> Result<()> {
        let Some(actor) = self.verified() else {
            self.access(room).await?;
            return Err(Error::Forbidden(
                "only who wrote a message, or the owner of the room, may delete it",
            ));
        };
        self.store
            .change(
                room,
                seq,
                Change::Delete {
                    actor: Some(Actor::Account(actor.clone())),
                },
            )
            .await
            .map(drop)
    }

    /// Adds a reaction of the user, as [`ChatStore::add_reaction`] does.
    ///
    /// # Errors
    ///
    /// [`Error::NameClaimed`] and [`Error::NameReserved`] if the name is not proved and has an
    /// account, [`Error::Banned`], [`Error::Forbidden`] if it is not known who reacts, and those of
    /// [`ChatStore::add_reaction`].
    pub async fn add_reaction(
        &self,
        room: &RoomName,
        seq: Seq,
        emoji: Emoji,
    ) -> Result<SharedMessage> {
        self.react(room, seq, emoji, true).await
    }

    /// Removes a reaction of the user, as [`ChatStore::remove_reaction`] does.
    ///
    /// # Errors
    ///
    /// Those of [`add_reaction`](Self::add_reaction).
    pub async fn remove_reaction(
        &self,
        room: &RoomName,
        seq: Seq,
        emoji: Emoji,
    ) -> Result<SharedMessage> {
        self.react(room, seq, emoji, false).await
    }

    async fn react(
        &self,
        room: &RoomName,
        seq: Seq,
        emoji: Emoji,
        is_added: bool,
    ) -> Result<SharedMessage> {
        let verified = self.verified().is_some();
        self.store
            .react(room, seq, (self.user()?, verified), emoji, is_added)
            .await
    }

    /// Sets what a room is about that the user owns.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for who is not the owner, and those of [`ChatStore::set_topic`].
    pub async fn set_topic(&self, room: &RoomName, topic: Topic) -> Result<Room> {
        self.check_owner(room).await?;
        self.store.set_topic(room, topic).await
    }

    /// Returns a message if it mentions the user, who may be told of it: is not banned, and a
    /// member if the room is private.
    ///
    /// # Errors
    ///
    /// [`Error::Banned`], [`Error::RoomNotFound`], [`Error::Forbidden`] if it is not known who this
    /// is, and those of [`message`](Self::message).
    pub async fn mention(&self, room: &RoomName, seq: Seq) -> Result<Option<SharedMessage>> {
        let user = self.user()?;
        let message = self.message(room, seq).await?;
        self.take_part(room, true).await?;
        Ok(message.mentions().contains(user).then_some(message))
    }

    /// Lists at most `limit` messages that mention the user and that the user may read, newest
    /// first, from before `before` if that is given.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] if it is not known who this is, and those of [`ChatStore::mentions`].
    pub async fn mentions(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let (user, visitor) = (self.user()?, self.visitor(Permission::Participate));
        let wanted = usize::try_from(check_limit(limit, MAX_MESSAGES)?).unwrap_or(usize::MAX);
        let mut readable: Vec<SharedMessage> = Vec::new();
        let mut before = before;
        let mut rooms: HashMap<RoomName, bool> = HashMap::new();
        for _ in 0..MAX_PAGES {
            let page = self.store.mentions(user, before, MAX_MESSAGES).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.timestamp);
            for message in page {
                let may_read = match rooms.get(&message.room) {
                    Some(may_read) => *may_read,
                    None => {
                        let feed = self.store.0.feed.room(&message.room);
                        let may_read = match self.store.let_in(&feed, &visitor, true).await {
                            Ok(()) => true,
                            Err(Error::RoomNotFound | Error::Banned) => false,
                            Err(error) => return Err(error),
                        };
                        rooms.insert(message.room.clone(), may_read);
                        may_read
                    }
                };
                if may_read {
                    readable.push(message);
                }
                if readable.len() == wanted {
                    return Ok(readable);
                }
            }
        }
        Ok(readable)
    }
}
