//! Reads that precede a change of messages.

use crate::types::{Emoji, Message, RoomName, Seq, Username};

/// A message that is to be changed, and the questions about its reactions that decide the change.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) room: RoomName,
    pub(crate) seq: Seq,
    /// Questions about its reactions, one for each emoji that the change concerns.
    pub(crate) reactions: Vec<ReactionQuery>,
}

/// A question about the reactions with one emoji.
#[derive(Debug, Clone)]
pub(crate) struct ReactionQuery {
    pub(crate) emoji: Emoji,
    /// Users to look for among those who reacted with it.
    pub(crate) users: Vec<Username>,
    /// Number of the first users who reacted with it that the answer lists; 0 if none goes.
    pub(crate) first: u32,
}

/// A message as the store has it, with the facts that a change of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) message: Message,
    /// The backend's own note of where it keeps the message.
    pub(crate) location: i64,
    /// Answers to the [queries](Target::reactions), in their order.
    pub(crate) reactions: Vec<ReactionAnswer>,
}

/// The answer to a [`ReactionQuery`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReactionAnswer {
    /// Users of the query who reacted with the emoji.
    pub(crate) users: Vec<Username>,
    /// The first users who reacted with it, in order.
    pub(crate) first: Vec<Username>,
}

/// The state of the store that a read sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// The newest state, which a failover may still roll back. Not older than a head that was read
    /// before.
    Newest,
    /// The newest state that no failure rolls back.
    Durable,
}
