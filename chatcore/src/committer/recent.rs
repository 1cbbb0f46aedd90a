//! Messages that this process changed last, as its commits left them.
//!
//! Whoever changes a message often follows others who just did. What is kept of a room holds as long as
//! the room's head has the change that was last when it was kept: a batch is guarded by that.

use std::collections::HashMap;

use crate::backend::{Batch, ReactionAnswer, ReactionQuery, Stored, Target};
use crate::types::{ChangeSeq, RoomName, Seq};

/// Messages that are kept. Beyond it all are forgotten, and read again.
const MAX_MESSAGES: usize = 4_096;

#[derive(Default)]
pub(super) struct Recent {
    rooms: HashMap<RoomName, RecentOfRoom>,
    messages: usize,
}

struct RecentOfRoom {
    /// The last change of the room as of which this holds.
    last_change: ChangeSeq,
    messages: HashMap<Seq, Stored>,
}

impl Recent {
    /// Returns a message that is to be changed, if all that has to be known of it is, and nothing has
    /// changed in its room since `last_change`.
    pub(super) fn find(&self, target: &Target, last_change: ChangeSeq) -> Option<Stored> {
        let room = self.rooms.get(&target.room).filter(|room| room.last_change == last_change)?;
        let stored = room.messages.get(&target.seq)?;
        let reactions = target.reactions.iter().map(|query| answer(stored, query));
        Some(Stored { reactions: reactions.collect::<Option<_>>()?, ..stored.clone() })
    }

    /// Keeps what a committed batch changed. `location` tells where the backend keeps a message then.
    pub(super) fn keep(&mut self, batch: &Batch, location: impl Fn(&crate::backend::MessageChange) -> i64) {
        for part in batch.rooms.iter().filter(|part| !part.changes.is_empty()) {
            if self.messages > MAX_MESSAGES {
                *self = Self::default();
            }
            let before = part.after.map(|head| head.change);
            let room = self.rooms.entry(part.room.clone()).or_insert_with(|| RecentOfRoom {
                last_change: part.head().change,
                messages: HashMap::new(),
            });
            if Some(room.last_change) != before {
                self.messages -= room.messages.len();
                room.messages.clear();
            }
            room.last_change = part.head().change;
            for change in &part.changes {
                let stored = Stored {
                    message: change.after.clone(),
                    location: location(change),
                    reactions: Vec::new(),
                };
                self.messages += usize::from(room.messages.insert(change.after.seq, stored).is_none());
            }
        }
    }
}

/// Answers a question about the reactions with one emoji from the message itself, which lists all users
/// as long as they are few.
fn answer(stored: &Stored, query: &ReactionQuery) -> Option<ReactionAnswer> {
    let content = stored.message.content.as_ref()?;
    let Some(reaction) = content.reactions.iter().find(|reaction| reaction.emoji == query.emoji) else {
        return Some(ReactionAnswer::default());
    };
    if reaction.count != reaction.users.len() as u64 {
        return None;
    }
    let users = query.users.iter().filter(|user| reaction.users.contains(user)).cloned().collect();
    Some(ReactionAnswer { users, first: reaction.users.clone() })
}
