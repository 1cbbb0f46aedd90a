//! Changes of stored messages, by the program itself: who may make them is up to it. What one user
//! may do is in [`UserStore`](crate::UserStore).

use super::{ChatStore, within};
use crate::account::NameKey;
use crate::actor::Actor;
use crate::committer::Change;
use crate::error::{Error, Result};
use crate::feed::AccessRequest;
use crate::mentions;
use crate::model::Signal;
use crate::options::{MAX_MESSAGES, check_limit};
use crate::shared::SharedMessage;
use crate::timestamp::Timestamp;
use crate::types::{Emoji, MessageText, Privacy, Range, Room, RoomName, Seq, Topic, Username};

impl ChatStore {
    /// Reads one message, as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotFound`], [`Error::Unavailable`].
    pub async fn message(&self, room: &RoomName, seq: Seq) -> Result<SharedMessage> {
        self.message_as(room, seq, None).await
    }

    pub(crate) async fn message_as(
        &self,
        room: &RoomName,
        seq: Seq,
        visitor: Option<&AccessRequest>,
    ) -> Result<SharedMessage> {
        let before = Seq::new(seq.get() - 1).ok_or(Error::MessageNotFound)?;
        let found = self
            .read(room, Range::After(before), 1, visitor, visitor.is_some())
            .await?;
        found
            .into_iter()
            .find(|message| message.seq == seq)
            .ok_or(Error::MessageNotFound)
    }

    /// Replaces the text of a message, and returns the message. Its place and its time stay,
    /// `edited_at` is set, and its mentions follow the new text. The same text changes nothing.
    ///
    /// ```
    /// # use chatcore::{ChatStore, ChangeSeq, NewMessage};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let room = "general".parse()?;
    /// let posted = store.post(NewMessage::new(room, "ann".parse()?, "helo".parse()?)).await?.message;
    /// let edited = store.edit_message(&posted.room, posted.seq, "hello".parse()?).await?;
    /// assert_eq!(edited.text(), Some("hello"));
    ///
    /// let changed = store.changes(&posted.room, ChangeSeq::ZERO, 50).await?;
    /// assert_eq!(changed, [edited]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::MessageNotFound`], [`Error::MessageDeleted`],
    /// [`Error::Busy`], [`Error::Full`]. [`Error::Unavailable`]: edited or not; a repeat is safe.
    pub async fn edit_message(
        &self,
        room: &RoomName,
        seq: Seq,
        text: MessageText,
    ) -> Result<SharedMessage> {
        self.edit_as(room, seq, text, None).await
    }

    pub(crate) async fn edit_as(
        &self,
        room: &RoomName,
        seq: Seq,
        text: MessageText,
        actor: Option<Username>,
    ) -> Result<SharedMessage> {
        let mentions = self.mentioned_in(room, &text).await?;
        self.change(
            room,
            seq,
            Change::Edit {
                actor: actor.map(Actor::Account),
                text,
                mentions,
            },
        )
        .await
    }

    /// Deletes a message: its place and its time stay, its sender, its text and its reactions are
    /// gone for every reader, and its sender's counter goes down by one, all in one step. A message
    /// that is deleted already stays so.
    ///
    /// The store keeps the sender beside the nonce of the message, if it has one: a repeat of the
    /// post makes no other message, and is answered with the deleted one.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::MessageNotFound`], [`Error::Busy`], [`Error::Full`].
    /// [`Error::Unavailable`]: deleted or not; a repeat is safe.
    pub async fn delete_message(&self, room: &RoomName, seq: Seq) -> Result<()> {
        self.change(room, seq, Change::Delete { actor: None })
            .await
            .map(drop)
    }

    /// Adds the reaction of a user to a message, and returns the message. A user reacts with each
    /// emoji once; the same again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReactions`] for one emoji more than a message may have, and those of
    /// [`edit_message`](Self::edit_message).
    pub async fn add_reaction(
        &self,
        room: &RoomName,
        seq: Seq,
        user: &Username,
        emoji: Emoji,
    ) -> Result<SharedMessage> {
        self.react(room, seq, (user, true), emoji, true).await
    }

    /// Removes the reaction of a user from a message, and returns the message. Removing what is not
    /// there changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`edit_message`](Self::edit_message).
    pub async fn remove_reaction(
        &self,
        room: &RoomName,
        seq: Seq,
        user: &Username,
        emoji: Emoji,
    ) -> Result<SharedMessage> {
        self.react(room, seq, (user, true), emoji, false).await
    }

    pub(crate) async fn react(
        &self,
        room: &RoomName,
        seq: Seq,
        (user, verified): (&Username, bool),
        emoji: Emoji,
        is_added: bool,
    ) -> Result<SharedMessage> {
        self.change(
            room,
            seq,
            Change::React {
                actor: Actor::named(user.clone(), verified),
                emoji,
                is_added,
            },
        )
        .await
    }

    pub(crate) async fn change(
        &self,
        room: &RoomName,
        seq: Seq,
        change: Change,
    ) -> Result<SharedMessage> {
        self.check_open()?;
        let changed = self.0.committer.change(room.clone(), seq, change);
        within(self.0.options.timeout * 2, changed)
            .await
            .map(SharedMessage::from)
    }

    /// Sets what a room is about, and returns the room. Those who watch the room are told.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn set_topic(&self, room: &RoomName, topic: Topic) -> Result<Room> {
        if !self
            .call(self.0.backend.set_topic(room.clone(), topic.clone()))
            .await?
        {
            return Err(Error::RoomNotFound);
        }
        self.0.feed.hear_topic(room, &topic);
        if self.0.backend.is_shared() {
            self.announce(Signal::TopicSet(room.clone(), topic));
        }
        self.room(room).await
    }

    /// Lists at most `limit` messages that mention a user, newest first, from before `before` if
    /// that is given. Those of rooms that the user may not read are among them: see
    /// [`UserStore::mentions`](crate::UserStore::mentions).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_MESSAGES`], [`Error::Unavailable`].
    pub async fn mentions(
        &self,
        user: &Username,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        let before = before.unwrap_or(Timestamp::MAX);
        let found = self
            .call(self.0.backend.mentions(user.clone(), before, limit))
            .await?;
        Ok(found.into_iter().map(SharedMessage::from).collect())
    }

    /// Returns the users whom a text mentions in a room: of a private one, its members. A name that
    /// has an account, in any case, is that of the account; any other one is as it is written.
    pub(super) async fn mentioned_in(
        &self,
        room: &RoomName,
        text: &MessageText,
    ) -> Result<Vec<Username>> {
        let names = mentions::named_in(text);
        if names.is_empty() {
            return Ok(names);
        }
        let owners = self
            .call(
                self.0
                    .backend
                    .account_names(names.iter().map(NameKey::from).collect()),
            )
            .await?;
        let mut mentioned = Vec::with_capacity(names.len());
        for (name, owner) in names.into_iter().zip(owners) {
            let name = owner.unwrap_or(name);
            if !mentioned.contains(&name) {
                mentioned.push(name);
            }
        }
        if self.privacy(room).await? != Some(Privacy::Private) {
            return Ok(mentioned);
        }

        // Nobody fills the list of another user from a room that only its members see.
        let found = self
            .call(self.0.backend.access(room.clone(), mentioned.clone()))
            .await?;
        let access = found.map(|(_, each)| each).unwrap_or_default();
        let is_member = access.iter().map(|access| access.member && !access.banned);
        Ok(mentioned
            .into_iter()
            .zip(is_member)
            .filter(|(_, member)| *member)
            .map(|(name, _)| name)
            .collect())
    }
}
