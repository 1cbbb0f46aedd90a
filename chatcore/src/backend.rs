//! What a store needs of a database: each method is one atomic step of the domain.
//!
//! The rules of the domain live above this trait, once. Every future here may be dropped: that
//! abandons the answer, never the work, and leaves the backend usable.

mod accounts;
mod moderation;
#[cfg(feature = "mongodb")]
pub(crate) mod mongo;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use self::accounts::{Accounts, NewSession};
pub(crate) use self::moderation::{Access, Joined, Moderation};
use crate::error::Result;
use crate::feed::Feed;
use crate::read_marks::ReadMark;
use crate::timestamp::Timestamp;
use crate::types::{
    ChangeSeq, Content, Emoji, Message, Nonce, Range, Room, RoomName, Seq, Topic, UserRoom,
    Username,
};

/// The end of a room: what the next message is numbered and timed after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: Seq,
    /// Number of the last change to a message.
    pub(crate) change: ChangeSeq,
    pub(crate) timestamp: Timestamp,
    /// Number of times that a member left or was removed. While it stays the same, members stay
    /// members. Anyone may move it at will, so only a batch that assumes members is guarded by it.
    pub(crate) departures: i64,
    /// Whether not everyone may post: it is private, or somebody was banned from it.
    pub(crate) restricted: bool,
    /// Number of times that somebody lost the right to post: was banned, or is no longer in a
    /// private room. While it stays the same, whoever was allowed to post still is.
    pub(crate) closings: i64,
}

impl Head {
    /// The head of a room without messages.
    pub(crate) const EMPTY: Self = Self {
        seq: Seq::ZERO,
        change: ChangeSeq::ZERO,
        timestamp: Timestamp::EPOCH,
        departures: 0,
        restricted: false,
        closings: 0,
    };
}

/// Names a batch across retries and processes: 96 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) [u8; 12]);

/// Messages and changes that are stored together or not at all, with all that follows from them.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    pub(crate) rooms: Vec<RoomBatch>,
    /// Moves of the senders' counters. No sender appears twice.
    pub(crate) counts: Vec<CountChange>,
    /// Those who post or react and proved nothing, each once. The batch must not be stored if one
    /// of their names, in any case, has an account.
    pub(crate) guests: Vec<Username>,
}

/// Change of a user's message counter. At least one of its numbers is not 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CountChange {
    pub(crate) user: Username,
    /// Number of the user's messages that are stored.
    pub(crate) added: i64,
    /// Number of the user's messages that are deleted.
    pub(crate) removed: i64,
}

impl CountChange {
    /// Returns by how much the counter grows; negative if it shrinks.
    pub(crate) fn sum(&self) -> i64 {
        self.added - self.removed
    }
}

/// The part of a batch that goes to one room: messages, changes, or both.
#[derive(Debug, Clone)]
pub(crate) struct RoomBatch {
    pub(crate) room: RoomName,
    /// Head that this follows, `None` if the room has yet to be created. The batch must not
    /// be stored if the room has other `closings`; another `seq`, if there are messages; another
    /// `change`, if there are changes; other `departures`, where
    /// [membership is assumed](Self::assumes_members).
    pub(crate) after: Option<Head>,
    /// Numbered without holes.
    pub(crate) messages: Vec<BatchMessage>,
    /// Changes of messages that were stored before the batch, numbered without holes; at most one
    /// of each message.
    pub(crate) changes: Vec<MessageChange>,
    /// Senders who may not be members yet, each once. They become members.
    pub(crate) members: Vec<Username>,
    /// Tells that some sender is not in `members`, because that user was a member when
    /// `after.departures` was read.
    pub(crate) assumes_members: bool,
}

/// A message of a batch: its place and time in the room are decided, and it is not stored yet.
#[derive(Debug, Clone)]
pub(crate) struct BatchMessage {
    pub(crate) seq: Seq,
    pub(crate) timestamp: Timestamp,
    pub(crate) content: Content,
    pub(crate) nonce: Option<Nonce>,
}

impl BatchMessage {
    /// Returns the message as it is once it is stored.
    pub(crate) fn to_message(&self, room: &RoomName) -> Message {
        Message {
            room: room.clone(),
            seq: self.seq,
            timestamp: self.timestamp,
            change: None,
            content: Some(self.content.clone()),
        }
    }
}

/// A change of a stored message: its new state, and what else it moves.
#[derive(Debug, Clone)]
pub(crate) struct MessageChange {
    /// The message before the change. It has content: a deleted message does not change.
    pub(crate) before: Stored,
    /// The message after it; `change` is the number of this change.
    pub(crate) after: Message,
    /// Reactions that come or go, each user and emoji once. None of a message that is deleted: then
    /// all of its reactions go.
    pub(crate) reactions: Vec<ReactionChange>,
}

impl MessageChange {
    /// Returns the number of the change.
    pub(crate) fn number(&self) -> ChangeSeq {
        self.after.change.unwrap_or(ChangeSeq::ZERO)
    }

    /// Tells if the text is replaced or goes.
    #[cfg_attr(
        not(feature = "mongodb"),
        expect(dead_code, reason = "SQLite replaces it in any case")
    )]
    pub(crate) fn replaces_text(&self) -> bool {
        self.before.message.text() != self.after.text()
    }

    /// Returns the users who are mentioned from now on.
    pub(crate) fn new_mentions(&self) -> impl Iterator<Item = &Username> {
        let before = self.before.message.mentions();
        self.after
            .mentions()
            .iter()
            .filter(|user| !before.contains(user))
    }

    /// Returns the users who are not mentioned any more.
    pub(crate) fn lost_mentions(&self) -> impl Iterator<Item = &Username> {
        let after = self.after.mentions();
        self.before
            .message
            .mentions()
            .iter()
            .filter(|user| !after.contains(user))
    }
}

/// A reaction of one user that comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReactionChange {
    pub(crate) emoji: Emoji,
    pub(crate) user: Username,
    /// Where it stands among the reactions with this emoji, if it comes; `None` if it goes.
    pub(crate) position: Option<i64>,
    /// Tells that it was there before, so that it moves if it comes.
    pub(crate) was_there: bool,
}

/// A message that is to be changed, and what has to be known of its reactions.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) room: RoomName,
    pub(crate) seq: Seq,
    /// Each emoji once.
    pub(crate) reactions: Vec<ReactionQuery>,
}

/// A question about the reactions with one emoji.
#[derive(Debug, Clone)]
pub(crate) struct ReactionQuery {
    pub(crate) emoji: Emoji,
    /// Users of whom it has to be known whether they reacted with it.
    pub(crate) users: Vec<Username>,
    /// Number of the first users who reacted with it that have to be known; 0 if none goes.
    pub(crate) first: u32,
}

/// A message as the store has it, with what a change of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) message: Message,
    /// Where the backend keeps it.
    pub(crate) location: i64,
    /// Answers to the [queries](Target::reactions), in their order.
    pub(crate) reactions: Vec<ReactionAnswer>,
}

/// The answer to a [`ReactionQuery`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReactionAnswer {
    /// Users out of those who were asked about who reacted with it.
    pub(crate) users: Vec<Username>,
    /// The first users who reacted with it, in order.
    pub(crate) first: Vec<Username>,
}

/// The state that a read is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// The newest, which a failover may still take back. Not older than a head that was read
    /// before.
    Newest,
    /// The newest that stays whatever fails.
    Durable,
}

impl RoomBatch {
    /// The head of the room once the batch is stored.
    pub(crate) fn head(&self) -> Head {
        let mut head = self.after.unwrap_or(Head::EMPTY);
        if let Some(last) = self.messages.last() {
            (head.seq, head.timestamp) = (last.seq, last.timestamp);
        }
        if let Some(last) = self.changes.last() {
            head.change = last.number();
        }
        head
    }

    /// Tells if the head of the room is what the batch expects.
    #[cfg_attr(
        not(feature = "mongodb"),
        expect(dead_code, reason = "SQLite asks with the update itself")
    )]
    pub(crate) fn follows(&self, stored: Option<Head>) -> bool {
        match (self.after, stored) {
            (None, None) => true,
            (Some(after), Some(stored)) => {
                after.closings == stored.closings
                    && (self.messages.is_empty() || after.seq == stored.seq)
                    && (self.changes.is_empty() || after.change == stored.change)
                    && (!self.assumes_members || after.departures == stored.departures)
            }
            _ => false,
        }
    }

    /// When the room is created, if it is, and its new members join: the time of the first message.
    pub(crate) fn created_at(&self) -> Timestamp {
        self.messages
            .first()
            .map_or(Timestamp::EPOCH, |m| m.timestamp)
    }
}

/// What became of a batch. An error instead of it means: stored whole, in part that no reader
/// sees and the next call completes or removes, or not at all. Only [`Backend::is_stored`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Append {
    /// Stored, durably, and visible to every reader.
    Committed,
    /// Not stored: a room has another head than expected, or another batch was faster.
    HeadMoved,
    /// Not stored: a nonce in it belongs to a stored message.
    NonceTaken,
    /// Not stored: the name of a guest in it, in any case, has an account.
    NameClaimed,
}

/// One of the processes that work on a shared store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId(pub(crate) [u8; 12]);

/// Who is connected to a room at one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessPresence {
    /// Grows with each change that the process tells of.
    pub(crate) version: i64,
    pub(crate) users: Vec<Username>,
}

/// What passes, and is not kept.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "mongodb"),
    expect(dead_code, reason = "there is no other process to tell")
)]
pub(crate) enum Signal {
    /// A user types in a room.
    Typing(RoomName, Username),
    /// Some of a user's sessions ended.
    SessionsEnded(Username),
    /// A private room was created. Whoever followed the name before may not know of it.
    RoomClosed(RoomName),
    /// A user was removed or banned from a room.
    Evicted(RoomName, Username),
    /// A room got another topic.
    TopicSet(RoomName, Topic),
}

/// What makes a post unique.
pub(crate) type NonceKey = (RoomName, Username, Nonce);

/// A page of a sorted list of names.
#[derive(Debug, Clone)]
pub(crate) struct Page<T> {
    pub(crate) after: Option<T>,
    pub(crate) limit: u32,
}

#[async_trait]
pub(crate) trait Backend: Accounts + Moderation {
    /// The heads of rooms, in the order asked for. A head that cannot be read is an error of its
    /// own.
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>>;
    /// Stores a batch. A repeat of a batch that was stored changes nothing and may also say
    /// that it is refused.
    async fn append(&self, batch: Arc<Batch>) -> Result<Append>;
    /// Whether the batch is stored. Waits for an attempt to store it that is still under way.
    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool>;
    /// Messages that are to be changed, in the order asked for; `None` for one that does not exist.
    /// One that cannot be read is an error of its own.
    async fn targets(
        &self,
        targets: Vec<Target>,
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>>;
    /// Where the messages of a part of a batch are kept once it is stored.
    fn locations_of(&self, part: &RoomBatch) -> Vec<i64> {
        vec![0; part.messages.len()]
    }
    /// Where a message is kept once this change of it is stored.
    fn location_after(&self, change: &MessageChange) -> i64 {
        change.before.location
    }
    /// The messages stored under these nonces, in the order asked for. One that cannot be read is
    /// an error of its own.
    async fn by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>>;

    /// Creates a public room that nobody owns unless it exists; says whether it did.
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool>;
    /// The public rooms.
    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>>;
    async fn room(&self, room: RoomName) -> Result<Option<Room>>;
    /// The members, or `None` if the room does not exist.
    async fn users(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>>;
    /// Makes the user a member of a room. Without an invitation, the room is created unless it
    /// exists.
    async fn join(
        &self,
        room: RoomName,
        user: Username,
        invited: bool,
        now: Timestamp,
    ) -> Result<Joined>;
    /// Ends a membership, so that no post that rests on it is stored after this; says whether the
    /// room exists.
    async fn leave(&self, room: RoomName, user: Username) -> Result<bool>;

    /// At most `limit` messages, in `seq` order; none of a room that does not exist.
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>>;
    /// At most `limit` messages that changed after the change `after`, as they are now, by the
    /// number of the last change to each.
    async fn changed(&self, room: RoomName, after: ChangeSeq, limit: u32) -> Result<Vec<Message>>;
    async fn message_count(&self, user: Username) -> Result<u64>;
    /// Sets what a room is about; says whether the room exists.
    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool>;

    /// At most `limit` messages from before `before` that mention a user, newest first, whether the
    /// user may read them or not.
    async fn mentions(&self, user: Username, before: Timestamp, limit: u32)
    -> Result<Vec<Message>>;
    /// Places of at most `limit` messages that mention a user, newest first.
    async fn mentioned_at(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>>;

    /// Where a user's mark of what was read in a room is; 0 if there is none.
    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq>;
    /// Moves marks of what was read forward, never back, in one write. An error leaves open which
    /// of them were moved.
    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<()>;
    /// Lists the rooms that a user is a member of, by name, without their mentions.
    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>>;

    /// Whether other processes may write to the store while this one does.
    fn is_shared(&self) -> bool {
        false
    }
    /// Keeps the feed in step with a store that other processes may write to, until something fails
    /// or the feed is closed: tells it of every commit, this process's own included, and closes it
    /// once the store is lost to another process. The feed is live while nothing is left out.
    async fn watch(&self, feed: Arc<Feed>) -> Result<()> {
        feed.closed().await;
        Ok(())
    }
    /// Tells other processes who is connected to this one.
    async fn attend(&self, room: RoomName, attendance: ProcessPresence) -> Result<()> {
        let _ = (room, attendance);
        Ok(())
    }
    /// Who is connected to other processes.
    async fn attendance(&self, room: RoomName) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        let _ = room;
        Ok(Vec::new())
    }
    /// Tells other processes what passes.
    async fn announce(&self, signal: Signal) -> Result<()> {
        let _ = signal;
        Ok(())
    }
    /// Succeeds if the store can be read and written by this process.
    async fn ping(&self) -> Result<()>;
    /// Gives the store free for another process. Nothing is called after it.
    async fn close(&self) -> Result<()>;
}
