//! Messages and changes that are stored in one atomic step.

use super::{Head, Stored};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Content, Emoji, Message, Nonce, RoomName, Seq, Username};

/// Names a batch across retries and processes: 96 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) [u8; 12]);

/// Messages and changes that are stored together or not at all, with everything that follows from
/// them.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    pub(crate) rooms: Vec<RoomBatch>,
    /// Moves of the senders' counters. No sender appears twice.
    pub(crate) counts: Vec<CountDelta>,
    /// Guests who post or react, each once. The batch must not be stored if one of their names, in
    /// any case, has an account.
    pub(crate) guests: Vec<Username>,
}

/// The key that makes a post unique.
pub(crate) type NonceKey = (RoomName, Username, Nonce);

/// Delta of a user's message counter. At least one of its numbers is not 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CountDelta {
    pub(crate) user: Username,
    /// Number of the user's messages that are stored.
    pub(crate) added: i64,
    /// Number of the user's messages that are deleted.
    pub(crate) removed: i64,
}

impl CountDelta {
    /// Returns by how much the counter grows; negative if it shrinks.
    pub(crate) fn sum(&self) -> i64 {
        self.added - self.removed
    }
}

/// Messages and changes of a batch that go to one room. At least one of the two lists is not empty.
#[derive(Debug, Clone)]
pub(crate) struct RoomBatch {
    pub(crate) room: RoomName,
    /// Head that the batch was built on, `None` if the room has yet to be created.
    /// [`follows`](Self::follows) returns true for the heads on which the batch may be stored.
    pub(crate) after: Option<Head>,
    /// True if a commit of this process made `after`, so that no failover rolls it back. Any other
    /// head may be newer than what a majority of the replica set has.
    #[cfg_attr(
        not(feature = "mongodb"),
        expect(dead_code, reason = "no commit of SQLite is rolled back")
    )]
    pub(crate) after_is_durable: bool,
    /// New messages, numbered without holes after the head's `seq`.
    pub(crate) messages: Vec<BatchMessage>,
    /// Changes of messages that were stored before the batch, numbered without holes; at most one
    /// of each message.
    pub(crate) changes: Vec<MessageChange>,
    /// Senders who may not be members yet, each once. They become members.
    pub(crate) members: Vec<Username>,
    /// True if some sender is missing from `members`, because that user was a member when
    /// `after.departures` was read.
    pub(crate) assumes_members: bool,
}

impl RoomBatch {
    /// Returns the head of the room once the batch is stored.
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

    /// Returns true if the batch may be stored on this head. The head must have the same
    /// `closings` as [`after`](Self::after); the same `seq`, if the batch has messages; the same
    /// `change`, if it has changes; the same `departures`, if it
    /// [assumes a membership](Self::assumes_members).
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

    /// Returns the time at which the room is created, if it is, and its new members join: that of
    /// the first message.
    pub(crate) fn created_at(&self) -> Timestamp {
        self.messages
            .first()
            .map_or(Timestamp::EPOCH, |m| m.timestamp)
    }
}

/// A message of a batch: its `seq` and its time are decided, and it is not stored yet.
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

/// A change of a stored message: its new state, and everything else that the change moves.
#[derive(Debug, Clone)]
pub(crate) struct MessageChange {
    /// The message before the change. It has content: a deleted message does not change.
    pub(crate) before: Stored,
    /// The message after it; `change` is the number of this change.
    pub(crate) after: Message,
    /// Reactions that come or go, each user and emoji once. Empty for a message that is deleted:
    /// all of its reactions go then.
    pub(crate) reactions: Vec<ReactionChange>,
}

impl MessageChange {
    /// Returns the number of the change.
    pub(crate) fn number(&self) -> ChangeSeq {
        self.after.change.unwrap_or(ChangeSeq::ZERO)
    }

    /// Returns true if the text is replaced or removed.
    #[cfg_attr(
        not(feature = "mongodb"),
        expect(dead_code, reason = "SQLite replaces it in any case")
    )]
    pub(crate) fn replaces_text(&self) -> bool {
        self.before.message.text() != self.after.text()
    }

    /// Returns the users whom the message mentions after the change, and did not before.
    pub(crate) fn new_mentions(&self) -> impl Iterator<Item = &Username> {
        mentioned_only_in(&self.after, &self.before.message)
    }

    /// Returns the users whom the message mentioned before the change, and does not after it.
    pub(crate) fn lost_mentions(&self) -> impl Iterator<Item = &Username> {
        mentioned_only_in(&self.before.message, &self.after)
    }
}

fn mentioned_only_in<'a>(
    message: &'a Message,
    other: &'a Message,
) -> impl Iterator<Item = &'a Username> {
    let others = other.mentions();

    message
        .mentions()
        .iter()
        .filter(move |user| !others.contains(user))
}

/// A reaction of one user that comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReactionChange {
    pub(crate) emoji: Emoji,
    pub(crate) user: Username,
    /// Position among the reactions with this emoji, if it comes; `None` if it goes.
    pub(crate) rank: Option<i64>,
    /// True if it was there before, so that it moves if it comes.
    pub(crate) was_there: bool,
}

/// Outcome of an attempt to store a batch. An error instead of it means: stored whole, in part that
/// no reader sees and the next call completes or removes, or not at all. Only
/// [`Backend::is_stored`](crate::backend::Backend::is_stored) tells.
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
