//! Reactions of users whom the message does not name.
//!
//! A message names the first ten users who reacted with an emoji, and counts all. Each further one
//! has a document in `reactions`, with a `position` after those who came before. When one of the
//! ten goes, the next moves up: the message then names that user, and the document goes. So most
//! reactions cost no more than an edit.

use mongodb::bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

use super::{commands, find};
use crate::model::{MessageChange, ReactionChange};
use crate::types::{Emoji, Message, RoomName, Seq, Username};

/// Documents of `reactions` that a batch adds, moves and removes.
#[derive(Default)]
struct Rows {
    added: RawArrayBuf,
    /// Update statements.
    moved: RawArrayBuf,
    removed: RawArrayBuf,
    /// Delete statements, each for all reactions to one message.
    cleared: RawArrayBuf,
}

/// Returns the commands that keep the documents in line with changed messages.
pub(super) fn commands_of<'a>(
    changes: impl Iterator<Item = (&'a RoomName, &'a MessageChange)>,
) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
    let mut rows = Rows::default();
    for (room, change) in changes {
        if change.after.is_deleted() {
            rows.clear(room, &change.before.message)?;
        } else {
            rows.follow(room, change);
        }
    }

    let mut deletes = rows.cleared;
    if let Some(statement) = commands::delete_by_id("_id.room", rows.removed)? {
        deletes.push(statement);
    }
    let all = [
        commands::insert_all("reactions", rows.added),
        commands::update_all("reactions", rows.moved),
        commands::delete_all("reactions", deletes),
    ];
    Ok(all.into_iter().flatten().collect())
}

impl Rows {
    /// Removes the documents of a message that is deleted.
    fn clear(&mut self, room: &RoomName, before: &Message) -> mongodb::error::Result<()> {
        let mut reactions = before.content.iter().flat_map(|content| &content.reactions);
        if reactions.any(|reaction| reaction.count > reaction.users.len() as u64) {
            let all = RawDocumentBuf::try_from(&find::reactions_to(room, before.seq))?;
            self.cleared.push(rawdoc! { "q": all, "limit": 0 });
        }
        Ok(())
    }

    /// Follows the reactions that come and go, and the users who move up.
    fn follow(&mut self, room: &RoomName, change: &MessageChange) {
        let seq = change.after.seq;
        let mut moved_up: Vec<(Emoji, &Username)> = Vec::new();
        for ReactionChange {
            emoji,
            user,
            rank,
            was_there,
        } in &change.reactions
        {
            let named_before = named(&change.before.message, *emoji);
            let named_after = named(&change.after, *emoji);
            let had_document = *was_there && !named_before.contains(user);
            let rank = rank.filter(|_| !named_after.contains(user));

            let id = reaction_id(room, seq, *emoji, user);
            match (rank, had_document) {
                (Some(rank), true) => self
                    .moved
                    .push(rawdoc! { "q": { "_id": id }, "u": { "$set": { "position": rank } } }),
                (Some(rank), false) => {
                    self.added.push(rawdoc! { "_id": id, "position": rank });
                }
                (None, true) => self.removed.push(id),
                (None, false) => {}
            }

            let is_new = |user: &&Username| {
                let of_user = |r: &ReactionChange| r.emoji == *emoji && r.user == **user;
                !named_before.contains(user) && !change.reactions.iter().any(of_user)
            };
            moved_up.extend(named_after.iter().filter(is_new).map(|user| (*emoji, user)));
        }

        moved_up.sort_unstable();
        moved_up.dedup();
        for (emoji, user) in moved_up {
            self.removed.push(reaction_id(room, seq, emoji, user));
        }
    }
}

/// Returns the users whom a message names with an emoji.
fn named(message: &Message, emoji: Emoji) -> &[Username] {
    let mut reactions = message
        .content
        .iter()
        .flat_map(|content| &content.reactions);
    reactions
        .find(|reaction| reaction.emoji == emoji)
        .map_or(&[], |reaction| &reaction.users)
}

fn reaction_id(room: &RoomName, seq: Seq, emoji: Emoji, user: &Username) -> RawDocumentBuf {
    rawdoc! { "room": room.as_str(), "seq": seq.get(), "emoji": emoji.as_str(), "user": user.as_str() }
}
