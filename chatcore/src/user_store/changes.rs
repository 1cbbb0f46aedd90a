//! Editing, deleting and reacting as one user.

use super::UserStore;
use crate::committer::Change;
use crate::error::{Error, Result};
use crate::shared::SharedMessage;
use crate::types::{Emoji, MessageText, RoomName, Seq};

impl UserStore {
    /// Replaces the text of a message that the user wrote with an account, and returns the message.
    /// Its `seq` and its time stay, `edited_at` is set, and its mentions follow the new text. The
    /// same text changes nothing.
    ///
    /// The commit decides whether the user may: once the user is banned or removed from the room,
    /// nothing is edited. If the future is dropped, the message is edited or not.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for the message of anyone else, [`Error::Banned`],
    /// [`Error::RoomNotFound`], [`Error::MessageNotFound`], [`Error::MessageDeleted`],
    /// [`Error::Busy`], [`Error::Full`]. [`Error::Unavailable`]: edited or not; a repeat is safe.
    pub async fn edit_message(
        &self,
        room: &RoomName,
        seq: Seq,
        text: MessageText,
    ) -> Result<SharedMessage> {
        if !self.actor.is_account() {
            self.access(room).await?;
            return Err(Error::Forbidden(
                "only the account that wrote a message may edit it",
            ));
        }
        let actor = Some(self.actor.clone());
        self.engine().edit(room, seq, text, actor).await
    }

    /// Deletes a message that the user wrote with an account, or any message of a room that the
    /// user owns: its `seq` and its time stay, its sender, its text and its reactions are gone for
    /// every reader, and its sender's counter goes down by one. A message that is deleted already
    /// stays so.
    ///
    /// If the future is dropped, the message is deleted or not.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for the message of anyone else, [`Error::Banned`],
    /// [`Error::RoomNotFound`], [`Error::MessageNotFound`], [`Error::Busy`], [`Error::Full`].
    /// [`Error::Unavailable`]: deleted or not; a repeat is safe.
    pub async fn delete_message(&self, room: &RoomName, seq: Seq) -> Result<()> {
        if !self.actor.is_account() {
            self.access(room).await?;
            return Err(Error::Forbidden(
                "only who wrote a message, or the owner of the room, may delete it",
            ));
        }
        let change = Change::Delete {
            actor: Some(self.actor.clone()),
        };
        self.engine().change(room, seq, change).await.map(drop)
    }

    /// Adds a reaction of the user to a message, and returns the message. A user reacts with each
    /// emoji once; the same again changes nothing.
    ///
    /// If the future is dropped, the reaction is added or not.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReactions`] for one emoji more than a message may have,
    /// [`Error::NameClaimed`] and [`Error::NameReserved`] for a guest whose name has an account,
    /// [`Error::Forbidden`] for an anonymous user, [`Error::Banned`], [`Error::RoomNotFound`],
    /// [`Error::MessageNotFound`], [`Error::MessageDeleted`], [`Error::Busy`], [`Error::Full`].
    /// [`Error::Unavailable`]: added or not; a repeat is safe.
    pub async fn add_reaction(
        &self,
        room: &RoomName,
        seq: Seq,
        emoji: Emoji,
    ) -> Result<SharedMessage> {
        self.react(room, seq, emoji, true).await
    }

    /// Removes a reaction of the user from a message, and returns the message. Removing what is not
    /// there changes nothing.
    ///
    /// If the future is dropped, the reaction is removed or not.
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
        self.user()?;
        let change = Change::React {
            actor: self.actor.clone(),
            emoji,
            is_added,
        };
        self.engine().change(room, seq, change).await
    }
}
