//! Changes of stored messages: editing, deleting, reacting, and reading what changed.

use std::time::Duration;

use super::ChatStore;
use crate::actor::Actor;
use crate::committer::Change;
use crate::error::Result;
use crate::options::{MAX_MESSAGES, check_limit};
use crate::position::Position;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, Emoji, MessageText, RoomName, Seq, Username};

impl ChatStore {
    /// Replaces the text of a message, and returns the message. Its `seq` and its time stay,
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
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound),
    /// [`Error::MessageNotFound`](crate::Error::MessageNotFound),
    /// [`Error::MessageDeleted`](crate::Error::MessageDeleted),
    /// [`Error::Busy`](crate::Error::Busy), [`Error::Full`](crate::Error::Full).
    /// [`Error::Unavailable`](crate::Error::Unavailable): edited or not; a repeat is safe.
    pub async fn edit_message(
        &self,
        room: &RoomName,
        seq: Seq,
        text: MessageText,
    ) -> Result<SharedMessage> {
        self.engine.edit(room, seq, text, None).await
    }

    /// Deletes a message: its `seq` and its time stay, its sender, its text and its reactions are
    /// gone for every reader, and its sender's counter goes down by one, all in one step. A message
    /// that is deleted already stays so.
    ///
    /// The store keeps the sender beside the nonce of the message, if it has one: a repeat of the
    /// post makes no other message, and is answered with the deleted one.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound),
    /// [`Error::MessageNotFound`](crate::Error::MessageNotFound),
    /// [`Error::Busy`](crate::Error::Busy), [`Error::Full`](crate::Error::Full).
    /// [`Error::Unavailable`](crate::Error::Unavailable): deleted or not; a repeat is safe.
    pub async fn delete_message(&self, room: &RoomName, seq: Seq) -> Result<()> {
        self.engine
            .change(room, seq, Change::Delete { actor: None })
            .await
            .map(drop)
    }

    /// Adds the reaction of a user to a message, and returns the message. A user reacts with each
    /// emoji once; the same again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReactions`](crate::Error::TooManyReactions) for one emoji more than a
    /// message may have, and those of [`edit_message`](Self::edit_message).
    pub async fn add_reaction(
        &self,
        room: &RoomName,
        seq: Seq,
        user: &Username,
        emoji: Emoji,
    ) -> Result<SharedMessage> {
        self.react(room, seq, user, emoji, true).await
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
        self.react(room, seq, user, emoji, false).await
    }

    async fn react(
        &self,
        room: &RoomName,
        seq: Seq,
        user: &Username,
        emoji: Emoji,
        is_added: bool,
    ) -> Result<SharedMessage> {
        let change = Change::React {
            actor: Actor::Account(user.clone()),
            emoji,
            is_added,
        };
        self.engine.change(room, seq, change).await
    }

    /// Reads at most `limit` messages of a room that changed after the change `after`, as they are
    /// now, each once, in the order of their last changes. Empty if nothing changed, or there is no
    /// such room.
    ///
    /// A caller that asks again with the `change` of the last message that it got ends with what
    /// the store holds: it misses no edit, reaction or deletion. The log keeps one entry for each
    /// message, however often it changes, so nothing of it is ever trimmed.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a `limit` outside 1 to [`MAX_MESSAGES`],
    /// [`Error::ChangesGone`](crate::Error::ChangesGone) if the room has no change of the number
    /// `after`, [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        self.wait_for_changes(room, after, limit, Duration::ZERO)
            .await
    }

    /// Reads changed messages as [`changes`](Self::changes) does. If there is none yet, waits
    /// up to `timeout` for the first; the answer is empty after that.
    ///
    /// # Errors
    ///
    /// Those of [`changes`](Self::changes).
    pub async fn wait_for_changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
        timeout: Duration,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        self.engine
            .wait_for_changes(room, after, limit, timeout, None)
            .await
    }

    /// Returns the number of the last change to a message of a room; 0 if there was none, or the
    /// room does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn last_change(&self, room: &RoomName) -> Result<ChangeSeq> {
        let feed = self.engine.feed.room(room);
        self.engine.last_change(&feed).await
    }

    /// Returns the `seq` of a room's newest message and the number of its last change:
    /// [`Position::START`] if there is none, or the room does not exist. The change is of no
    /// message after the `seq`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn last_position(&self, room: &RoomName) -> Result<Position> {
        // In this order, so that the change is of no message after the `seq`.
        let change = self.last_change(room).await?;
        let seq = self.last_seq(room).await?;
        Ok(Position { seq, change })
    }
}
