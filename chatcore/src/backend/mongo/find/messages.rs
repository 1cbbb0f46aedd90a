//! Messages, in buckets and as changes left them, and mentions.

use mongodb::bson::{Bson, Document, doc};

use super::{Query, limit, within};
use crate::backend::mongo::buckets;
use crate::model::{Head, NonceKey};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Range, RoomName, Seq, Username};

/// Returns the query for the first buckets of a range, the newest first for [`Range::Newest`] and
/// [`Range::Before`], up to `bound`.
///
/// [`Range::After`] names the numbers of the whole page, so it finds every bucket of it. The other
/// ranges find as many as hold the page if all are full, and one that the range begins within.
///
/// [`Range::Since`] is searched for from the milestone that [`last_milestone`] finds; `Seq::ZERO`
/// if there is none.
pub(in crate::backend::mongo) fn messages(
    room: &RoomName,
    range: Range,
    milestone: Seq,
    limit: u32,
    bound: Option<Head>,
) -> Query {
    let end = bound.map_or(i64::MAX, |head| head.seq.get() + 1);
    let capacity = u32::try_from(buckets::CAPACITY).unwrap_or(u32::MAX);
    let full_buckets = limit.min(limit.div_ceil(capacity) + 1);

    let (filter, order) = match range {
        Range::Newest => (within(room, "seq", 0_i64, end), -1),
        Range::Before(seq) => (within(room, "seq", 0_i64, seq.get().min(end)), -1),
        Range::After(seq) => {
            // The next message may be the last of its bucket, and the page is full that far on.
            let reach = i64::try_from(buckets::CAPACITY).unwrap_or(i64::MAX);
            let below = seq.get().saturating_add(i64::from(limit) + 1).min(end);
            let mut filter = within(room, "seq", seq.get().saturating_sub(reach - 1), below);
            filter.insert("last_seq", doc! { "$gt": seq.get() });
            (filter, 1)
        }
        Range::Since(time) => {
            let mut filter = within(room, "seq", milestone.get(), end);
            filter.insert("last_timestamp", doc! { "$gt": time.as_micros() });
            (filter, 1)
        }
    };
    let limit = if matches!(range, Range::After(_)) {
        limit
    } else {
        full_buckets
    };

    Query {
        sort: doc! { "_id": order },
        limit,
        hint: Some(doc! { "_id": 1 }),
        ..Query::one("messages", filter)
    }
}

/// Returns the query for the last milestone whose messages are no later than a time.
pub(in crate::backend::mongo) fn last_milestone(room: &RoomName, time: Timestamp) -> Query {
    Query {
        sort: doc! { "milestone": -1 },
        projection: doc! { "last_seq": 1 },
        hint: Some(doc! { "_id.room": 1, "milestone": 1 }),
        ..Query::one(
            "messages",
            doc! { "_id.room": room.as_str(), "milestone": { "$lte": time.as_micros() } },
        )
    }
}

/// Returns the query for the buckets of a batch in one room, of `limit` messages.
pub(in crate::backend::mongo) fn batch_buckets(
    room: &RoomName,
    after: Seq,
    last: Seq,
    limit: u32,
) -> Query {
    Query {
        sort: doc! { "_id": 1 },
        limit,
        newest_state: true,
        ..Query::one("messages", bucket_range(room, after, last))
    }
}

/// Returns the filter for the buckets above `after`, up to `last`.
pub(in crate::backend::mongo) fn bucket_range(room: &RoomName, after: Seq, last: Seq) -> Document {
    within(room, "seq", after.get(), last.get() + 1)
}

/// Returns the query for the batch of the bucket that begins at a `seq`.
pub(in crate::backend::mongo) fn batch_at(room: &RoomName, seq: Seq, newest_state: bool) -> Query {
    let filter =
        doc! { "_id": { "room": room.as_str(), "seq": seq.get() }, "_id.room": room.as_str() };
    Query {
        newest_state,
        projection: doc! { "batch": 1 },
        ..Query::one("messages", filter)
    }
}

fn rooms_among(keys: &[(RoomName, Seq)]) -> Document {
    let mut rooms: Vec<_> = keys.iter().map(|(room, _)| room.as_str()).collect();
    rooms.sort_unstable();
    rooms.dedup();
    doc! { "$in": rooms }
}

/// Returns the query for the states of messages that were changed, from the `seq` `first` up to
/// `last`.
pub(in crate::backend::mongo) fn changes_between(room: &RoomName, first: Seq, last: Seq) -> Query {
    let (above, below) = (first.get() - 1, last.get() + 1);
    let length = limit(usize::try_from(below - above - 1).unwrap_or(usize::MAX));
    Query {
        sort: doc! { "_id": 1 },
        hint: Some(doc! { "_id": 1 }),
        limit: length,
        ..Query::one("changes", within(room, "seq", above, below))
    }
}

/// Returns the query for the states of messages that were changed, of any rooms.
pub(in crate::backend::mongo) fn changes_at(keys: &[(RoomName, Seq)]) -> Query {
    let ids: Vec<_> = keys
        .iter()
        .map(|(room, seq)| doc! { "room": room.as_str(), "seq": seq.get() })
        .collect();
    let filter = doc! { "_id": { "$in": ids }, "_id.room": rooms_among(keys) };
    Query {
        hint: Some(doc! { "_id": 1 }),
        limit: limit(keys.len()),
        ..Query::one("changes", filter)
    }
}

/// Returns the query for the buckets that hold messages, of any rooms; the messages are in order.
/// Where they are close to each other, one range finds all of them, and perhaps a few more.
pub(in crate::backend::mongo) fn buckets_at(keys: &[(RoomName, Seq)]) -> Query {
    let capacity = i64::try_from(buckets::CAPACITY).unwrap_or(i64::MAX);
    let is_close = |(a, first): &(RoomName, Seq), (b, second): &(RoomName, Seq)| {
        a == b && second.get() - first.get() <= capacity
    };
    let (mut ranges, mut most) = (Vec::new(), 0);
    for group in keys.chunk_by(is_close) {
        let [(room, first), ..] = group else { continue };
        let last = group.last().map_or(*first, |(_, last)| *last);
        let bound = |seq: i64| doc! { "room": room.as_str(), "seq": seq };
        ranges.push(doc! {
            "_id": { "$gt": bound(first.get() - capacity), "$lt": bound(last.get().saturating_add(1)) },
            "last_seq": { "$gte": first.get() },
        });
        most += last.get() - first.get();
    }
    Query {
        hint: Some(doc! { "_id": 1 }),
        limit: limit(
            usize::try_from(most)
                .unwrap_or(usize::MAX)
                .saturating_add(keys.len()),
        ),
        ..Query::one(
            "messages",
            doc! { "_id.room": rooms_among(keys), "$or": ranges },
        )
    }
}

/// Returns the query for the states of messages that changed last after the change `after`, up to
/// `bound`.
pub(in crate::backend::mongo) fn changed(
    room: &RoomName,
    after: ChangeSeq,
    bound: Option<ChangeSeq>,
    limit: u32,
) -> Query {
    let mut numbers = doc! { "$gt": after.get() };
    numbers.extend(bound.map(|bound| ("$lte".to_owned(), Bson::Int64(bound.get()))));
    Query {
        sort: doc! { "change": 1 },
        hint: Some(doc! { "_id.room": 1, "change": 1 }),
        limit,
        ..Query::one(
            "changes",
            doc! { "_id.room": room.as_str(), "change": numbers },
        )
    }
}

/// Returns the query for the messages before a time that mention a user, newest first.
pub(in crate::backend::mongo) fn mentions(user: &Username, before: Timestamp, limit: u32) -> Query {
    Query {
        sort: doc! { "timestamp": -1 },
        projection: doc! { "_id": 1 },
        hint: Some(doc! { "_id.user": 1, "timestamp": -1 }),
        limit,
        ..Query::one(
            "mentions",
            doc! { "_id.user": user.as_str(), "timestamp": { "$lt": before.as_micros() } },
        )
    }
}

/// Returns the query for the bucket in which a nonce is.
pub(in crate::backend::mongo) fn by_nonce((room, sender, nonce): &NonceKey) -> Query {
    // `$exists` because the index holds only buckets that have nonces.
    let filter = doc! {
        "_id.room": room.as_str(),
        "nonces": {
            "$elemMatch": { "sender": sender.as_str(), "nonce": nonce.as_str() },
            "$exists": true,
        },
    };
    Query::one("messages", filter)
}
