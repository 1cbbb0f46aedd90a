//! Reactions.

use mongodb::bson::{Bson, Document, doc};

use super::{Query, limit};
use crate::types::{Emoji, RoomName, Seq, Username};

/// Returns the query for the reactions that exist out of these.
pub(in crate::backend::mongo) fn reactions_among(
    reactions: &[(RoomName, Seq, Emoji, Username)],
) -> Query {
    let ids: Vec<_> = reactions
        .iter()
        .map(|(room, seq, emoji, user)| {
            doc! { "room": room.as_str(), "seq": seq.get(), "emoji": emoji.as_str(), "user": user.as_str() }
        })
        .collect();
    let mut rooms: Vec<_> = reactions.iter().map(|(room, ..)| room.as_str()).collect();
    rooms.sort_unstable();
    rooms.dedup();
    Query {
        hint: Some(doc! { "_id": 1 }),
        projection: doc! { "_id": 1 },
        limit: limit(reactions.len()),
        ..Query::one(
            "reactions",
            doc! { "_id": { "$in": ids }, "_id.room": { "$in": rooms } },
        )
    }
}

/// Returns the query for the first reactions to a message with an emoji, of users whom it does not
/// name.
pub(in crate::backend::mongo) fn first_reactions(
    room: &RoomName,
    seq: Seq,
    emoji: Emoji,
    limit: u32,
) -> Query {
    let filter =
        doc! { "_id.room": room.as_str(), "_id.seq": seq.get(), "_id.emoji": emoji.as_str() };
    Query {
        sort: doc! { "position": 1 },
        projection: doc! { "_id": 1 },
        hint: Some(doc! { "_id.room": 1, "_id.seq": 1, "_id.emoji": 1, "position": 1 }),
        limit,
        ..Query::one("reactions", filter)
    }
}

/// Returns the filter for all reactions to a message. A document is less than one that goes on
/// where it ends.
pub(in crate::backend::mongo) fn reactions_to(room: &RoomName, seq: Seq) -> Document {
    let (room, seq) = (room.as_str(), seq.get());
    doc! {
        "_id": {
            "$gt": { "room": room, "seq": seq },
            "$lt": { "room": room, "seq": seq, "emoji": Bson::MaxKey },
        },
        "_id.room": room,
    }
}
