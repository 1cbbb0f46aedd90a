//! Messages that this process stored or changed last, as its commits left them.
//!
//! Most changes are of messages that were just posted, or that others just changed too. The
//! messages of a room are up to date as long as the last change in the room's head is the one that
//! was last when they were kept, which the head guards.

use std::collections::HashMap;

use crate::backend::Backend;
use crate::model::{Batch, Head, ReactionAnswer, ReactionQuery, Stored, Target};
use crate::types::{ChangeSeq, Message, RoomName, Seq};

/// Bytes of all messages that are kept. Beyond it all are forgotten, and read again.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Last new messages of a room that are kept of one batch. Few of a large batch are changed.
const MAX_NEW: usize = 32;

#[derive(Default)]
pub(super) struct Recent {
    rooms: HashMap<RoomName, RecentOfRoom>,
    bytes: usize,
}

struct RecentOfRoom {
    /// The last change of the room when the messages were kept.
    last_change: ChangeSeq,
    messages: HashMap<Seq, Stored>,
}

impl Recent {
    /// Returns a message that is to be changed, if it is kept with the answers to all questions,
    /// and nothing has changed in its room since `last_change`.
    pub(super) fn find(&self, target: &Target, last_change: ChangeSeq) -> Option<Stored> {
        let room = self
            .rooms
            .get(&target.room)
            .filter(|room| room.last_change == last_change)?;
        let stored = room.messages.get(&target.seq)?;

        let reactions = target.reactions.iter().map(|query| answer(stored, query));
        Some(Stored {
            reactions: reactions.collect::<Option<_>>()?,
            ..stored.clone()
        })
    }

    /// Keeps the messages of a committed batch, new and changed.
    pub(super) fn keep(&mut self, batch: &Batch, backend: &dyn Backend) {
        for room_batch in &batch.rooms {
            if self.bytes > MAX_BYTES {
                *self = Self::default();
            }

            let before = room_batch.after.unwrap_or(Head::EMPTY).change;
            let room = self
                .rooms
                .entry(room_batch.room.clone())
                .or_insert_with(|| RecentOfRoom {
                    last_change: before,
                    messages: HashMap::new(),
                });
            if room.last_change != before {
                self.bytes -= room
                    .messages
                    .values()
                    .map(|stored| stored.message.weight())
                    .sum::<usize>();
                room.messages.clear();
            }
            room.last_change = room_batch.head().change;

            let skipped = room_batch.messages.len().saturating_sub(MAX_NEW);
            let new = room_batch
                .messages
                .iter()
                .zip(backend.locations_of(room_batch))
                .skip(skipped)
                .map(|(message, location)| (message.to_message(&room_batch.room), location));
            let changed = room_batch
                .changes
                .iter()
                .map(|change| (change.after.clone(), backend.location_after(change)));

            for (message, location) in new.chain(changed) {
                self.bytes += message.weight();
                self.bytes -= room
                    .keep(message, location)
                    .map_or(0, |old| old.message.weight());
            }
        }
    }
}

impl RecentOfRoom {
    fn keep(&mut self, message: Message, location: i64) -> Option<Stored> {
        self.messages.insert(
            message.seq,
            Stored {
                message,
                location,
                reactions: Vec::new(),
            },
        )
    }
}

/// Answers a question about the reactions with one emoji from the message itself, which lists all
/// users as long as they are few.
fn answer(stored: &Stored, query: &ReactionQuery) -> Option<ReactionAnswer> {
    let content = stored.message.content.as_ref()?;
    let Some(reaction) = content
        .reactions
        .iter()
        .find(|reaction| reaction.emoji == query.emoji)
    else {
        return Some(ReactionAnswer::default());
    };
    if reaction.count != reaction.users.len() as u64 {
        return None;
    }

    let users = query
        .users
        .iter()
        .filter(|user| reaction.users.contains(user))
        .cloned()
        .collect();
    Some(ReactionAnswer {
        users,
        first: reaction.users.clone(),
    })
}
