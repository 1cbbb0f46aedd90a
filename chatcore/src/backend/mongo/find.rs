//! Every query and every filter, in one place so that a test can ask MongoDB how it runs each.

use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::action::Action as _;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::Hint;

use super::error::error;
use super::{buckets, documents};
use crate::account::NameKey;
use crate::error::Result;
use crate::model::{CountChange, Head, NonceKey, Page, ReadState};
use crate::options::MAX_NAMES;
use crate::session::{SessionId, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Emoji, Range, RoomName, Seq, Username};

/// A `find` command.
pub(super) struct Query {
    pub(super) collection: &'static str,
    pub(super) filter: Document,
    sort: Document,
    projection: Document,
    /// The keys of the index to use, where the server would have to try which one is best.
    hint: Option<Document>,
    pub(super) limit: u32,
    /// Reads the primary's newest state, which a failover may still take back, where the answer
    /// is only a guess that a guard checks.
    pub(super) newest_state: bool,
}

impl Query {
    fn one(collection: &'static str, filter: Document) -> Self {
        let (sort, projection) = (Document::new(), Document::new());
        Self {
            collection,
            filter,
            sort,
            projection,
            hint: None,
            limit: 1,
            newest_state: false,
        }
    }

    /// Returns the query as a command whose answer is one reply.
    pub(super) fn command(self) -> Document {
        let limit = i64::from(self.limit);
        let mut command = doc! {
            "find": self.collection,
            "filter": self.filter,
            "sort": self.sort,
            "projection": self.projection,
            "limit": limit,
            "batchSize": limit,
            "singleBatch": true,
        };
        command.extend(
            self.hint
                .map(|keys| ("hint".to_owned(), Bson::Document(keys))),
        );
        command
    }

    /// Has the query read the newest state.
    pub(super) fn newest(self) -> Self {
        Self {
            newest_state: true,
            ..self
        }
    }

    /// Has the query read a state.
    pub(super) fn of(self, state: ReadState) -> Self {
        Self {
            newest_state: state == ReadState::Newest,
            ..self
        }
    }

    /// Runs the query and reads each document with `read`.
    pub(super) async fn run<T>(
        self,
        collection: &Collection<RawDocumentBuf>,
        mut read: impl FnMut(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        // A negative limit asks for one reply, which has 101 documents unless it may have more.
        let find = collection
            .find(self.filter)
            .sort(self.sort)
            .projection(self.projection)
            .batch_size(self.limit)
            .limit(-i64::from(self.limit))
            .optional(self.hint, |find, keys| find.hint(Hint::Keys(keys)));
        let mut batches = find.batch().await.map_err(error)?;
        let mut values = Vec::new();
        while let Some(batch) = batches.try_next().await.map_err(error)? {
            for document in batch.doc_slices().map_err(error)? {
                let document = document.map_err(|e| crate::Error::Corrupt(e.to_string()))?;
                if let Some(document) = document.as_document() {
                    values.push(read(document)?);
                }
            }
        }
        Ok(values)
    }
}

pub(super) fn heads(rooms: &[RoomName]) -> Query {
    let ids: Vec<_> = rooms
        .iter()
        .map(|room| doc! { "room": room.as_str() })
        .collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    Query {
        limit,
        newest_state: true,
        ..Query::one("counters", doc! { "_id": { "$in": ids } })
    }
}

pub(super) fn room(room: &RoomName) -> Query {
    Query::one("counters", room_counter(room))
}

pub(super) fn room_counter(room: &RoomName) -> Document {
    doc! { "_id": { "room": room.as_str() } }
}

/// Returns the query for the public rooms. Documents compare by type, then name, then value of
/// their first field, so the rooms end where the users begin.
pub(super) fn rooms(page: &Page<RoomName>) -> Query {
    let after = page.after.as_ref().map_or("", RoomName::as_str);
    let public =
        doc! { "private": false, "_id": { "$gt": { "room": after }, "$lt": { "user": "" } } };
    Query {
        sort: doc! { "_id": 1 },
        projection: doc! { "_id": 1 },
        hint: Some(doc! { "private": 1, "_id": 1 }),
        limit: page.limit,
        ..Query::one("counters", public)
    }
}

/// Returns the query for all rooms, private ones too.
pub(super) fn all_rooms(page: &Page<RoomName>) -> Query {
    let after = page.after.as_ref().map_or("", RoomName::as_str);
    let all = doc! { "_id": { "$gt": { "room": after }, "$lt": { "user": "" } } };
    Query {
        sort: doc! { "_id": 1 },
        projection: doc! { "_id": 1 },
        hint: Some(doc! { "_id": 1 }),
        limit: page.limit,
        ..Query::one("counters", all)
    }
}

/// Returns the query for the private rooms that a user is a member of.
pub(super) fn private_rooms(user: &Username, page: &Page<RoomName>) -> Query {
    let after = page.after.as_ref().map_or("", RoomName::as_str);
    let filter = doc! { "_id.user": user.as_str(), "_id.room": { "$gt": after }, "private": true };
    Query {
        sort: doc! { "_id.room": 1 },
        projection: doc! { "_id": 1 },
        hint: Some(doc! { "private": 1, "_id.user": 1, "_id.room": 1 }),
        limit: page.limit,
        ..Query::one("members", filter)
    }
}

pub(super) fn ban(room: &RoomName, name: &NameKey) -> Document {
    doc! { "_id": { "room": room.as_str(), "user": name.as_str() } }
}

/// Returns the query for the bans of names.
pub(super) fn bans_of(room: &RoomName, names: &[NameKey]) -> Query {
    let ids: Vec<_> = names
        .iter()
        .map(|name| doc! { "room": room.as_str(), "user": name.as_str() })
        .collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    Query {
        limit,
        ..Query::one(
            "bans",
            doc! { "_id": { "$in": ids }, "_id.room": room.as_str() },
        )
    }
}

/// Returns the query for the bans of a room, by name.
pub(super) fn bans(room: &RoomName, page: &Page<Username>) -> Query {
    let after = page.after.as_ref().map_or("", Username::as_str);
    let filter = doc! { "_id.room": room.as_str(), "username": { "$gt": after } };
    Query {
        sort: doc! { "username": 1 },
        limit: page.limit,
        ..Query::one("bans", filter)
    }
}

/// Returns the filter for the ids between two bounds of one room. An `_id` is a document, and
/// documents compare field by field, so the index on `_id` serves ranges within a room; `_id.room`
/// is for the router of a sharded cluster.
fn within(
    room: &RoomName,
    field: &str,
    above: impl Into<Bson>,
    below: impl Into<Bson>,
) -> Document {
    doc! {
        "_id": { "$gt": { "room": room.as_str(), field: above.into() }, "$lt": { "room": room.as_str(), field: below.into() } },
        "_id.room": room.as_str(),
    }
}

/// Returns the query for the first buckets of a range, the newest first for [`Range::Newest`] and
/// [`Range::Before`], up to `bound`.
///
/// [`Range::After`] names the places of the whole page, so it finds every bucket of it. The other
/// ranges find as many as hold the page if all are full, and one that the range begins within.
pub(super) fn messages(room: &RoomName, range: Range, limit: u32, bound: Option<Head>) -> Query {
    let end = bound.map_or(i64::MAX, |head| head.seq.get() + 1);
    let by_place = doc! { "_id": 1 };
    let capacity = u32::try_from(buckets::CAPACITY).unwrap_or(u32::MAX);
    let full_buckets = limit.min(limit.div_ceil(capacity) + 1);

    let (filter, sort, hint) = match range {
        Range::Newest => (
            within(room, "seq", 0_i64, end),
            doc! { "_id": -1 },
            by_place,
        ),
        Range::Before(seq) => (
            within(room, "seq", 0_i64, seq.get().min(end)),
            doc! { "_id": -1 },
            by_place,
        ),
        Range::After(seq) => {
            // The next message may be the last of its bucket, and the page is full that far on.
            let reach = i64::try_from(buckets::CAPACITY).unwrap_or(i64::MAX);
            let below = seq.get().saturating_add(i64::from(limit) + 1).min(end);
            let mut filter = within(room, "seq", seq.get().saturating_sub(reach - 1), below);
            filter.insert("last_seq", doc! { "$gt": seq.get() });
            (filter, doc! { "_id": 1 }, by_place)
        }
        Range::Since(time) => {
            let mut times = doc! { "$gt": time.as_micros() };
            if let Some(head) = bound {
                times.insert("$lte", head.timestamp.as_micros());
            }
            let filter = doc! { "_id.room": room.as_str(), "last_timestamp": times };
            (
                filter,
                doc! { "last_timestamp": 1 },
                doc! { "_id.room": 1, "last_timestamp": 1 },
            )
        }
    };
    let limit = if matches!(range, Range::After(_)) {
        limit
    } else {
        full_buckets
    };

    Query {
        sort,
        limit,
        hint: Some(hint),
        ..Query::one("messages", filter)
    }
}

/// Returns the query for the buckets of a batch's part of a room, of `limit` messages.
pub(super) fn batch_buckets(room: &RoomName, after: Seq, last: Seq, limit: u32) -> Query {
    Query {
        sort: doc! { "_id": 1 },
        limit,
        newest_state: true,
        ..Query::one("messages", places(room, after, last))
    }
}

/// Returns the filter for the buckets above `after`, up to `last`.
pub(super) fn places(room: &RoomName, after: Seq, last: Seq) -> Document {
    within(room, "seq", after.get(), last.get() + 1)
}

/// Returns the query for the batch of the bucket that begins at a place.
pub(super) fn batch_at(room: &RoomName, seq: Seq, newest_state: bool) -> Query {
    let filter =
        doc! { "_id": { "room": room.as_str(), "seq": seq.get() }, "_id.room": room.as_str() };
    Query {
        newest_state,
        projection: doc! { "batch": 1 },
        ..Query::one("messages", filter)
    }
}

/// Returns the query for the tally `slot`, if it has the evidence of a batch.
pub(super) fn evidence(slot: i32, field: &str, newest_state: bool) -> Query {
    let filter = doc! { "_id": { "tally": slot }, field: { "$exists": true } };
    Query {
        newest_state,
        projection: doc! { "_id": 1 },
        ..Query::one("counters", filter)
    }
}

fn rooms_among(places: &[(RoomName, Seq)]) -> Document {
    let mut rooms: Vec<_> = places.iter().map(|(room, _)| room.as_str()).collect();
    rooms.sort_unstable();
    rooms.dedup();
    doc! { "$in": rooms }
}

pub(super) fn limit(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Returns the query for the states of messages that were changed, from the place `first` up to the
/// place `last`.
pub(super) fn changes_between(room: &RoomName, first: Seq, last: Seq) -> Query {
    let (above, below) = (first.get() - 1, last.get() + 1);
    let places = limit(usize::try_from(below - above - 1).unwrap_or(usize::MAX));
    Query {
        sort: doc! { "_id": 1 },
        hint: Some(doc! { "_id": 1 }),
        limit: places,
        ..Query::one("changes", within(room, "seq", above, below))
    }
}

/// Returns the query for the states of messages that were changed, of any rooms.
pub(super) fn changes_at(places: &[(RoomName, Seq)]) -> Query {
    let ids: Vec<_> = places
        .iter()
        .map(|(room, seq)| doc! { "room": room.as_str(), "seq": seq.get() })
        .collect();
    let filter = doc! { "_id": { "$in": ids }, "_id.room": rooms_among(places) };
    Query {
        hint: Some(doc! { "_id": 1 }),
        limit: limit(places.len()),
        ..Query::one("changes", filter)
    }
}

/// Returns the query for the buckets that hold messages, of any rooms; the messages are in order.
/// Where they are close to each other, one range finds all of them, and perhaps a few more.
pub(super) fn buckets_at(places: &[(RoomName, Seq)]) -> Query {
    let capacity = i64::try_from(buckets::CAPACITY).unwrap_or(i64::MAX);
    let is_close = |(a, first): &(RoomName, Seq), (b, second): &(RoomName, Seq)| {
        a == b && second.get() - first.get() <= capacity
    };
    let (mut ranges, mut most) = (Vec::new(), 0);
    for group in places.chunk_by(is_close) {
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
                .saturating_add(places.len()),
        ),
        ..Query::one(
            "messages",
            doc! { "_id.room": rooms_among(places), "$or": ranges },
        )
    }
}

/// Returns the query for the states of messages that changed last after the change `after`, up to
/// `bound`.
pub(super) fn changed(
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

/// Returns the query for the reactions that exist out of these.
pub(super) fn reactions_among(reactions: &[(RoomName, Seq, Emoji, Username)]) -> Query {
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
pub(super) fn first_reactions(room: &RoomName, seq: Seq, emoji: Emoji, limit: u32) -> Query {
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
pub(super) fn reactions_to(room: &RoomName, seq: Seq) -> Document {
    let (room, seq) = (room.as_str(), seq.get());
    doc! {
        "_id": {
            "$gt": { "room": room, "seq": seq },
            "$lt": { "room": room, "seq": seq, "emoji": Bson::MaxKey },
        },
        "_id.room": room,
    }
}

/// Returns the query for the messages before a time that mention a user, newest first.
pub(super) fn mentions(user: &Username, before: Timestamp, limit: u32) -> Query {
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
pub(super) fn by_nonce((room, sender, nonce): &NonceKey) -> Query {
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

/// Returns the query for users' counters, after the users' numbers in `tallies` tallies.
pub(super) fn counts(users: &[Username], tallies: i32) -> Query {
    let mut ids: Vec<_> = (0..tallies).map(|slot| doc! { "tally": slot }).collect();
    ids.extend(users.iter().map(|user| doc! { "user": user.as_str() }));
    let mut projection = doc! { "message_count": 1 };
    if tallies > 0 {
        projection.extend(doc! { "folded": 1, "folds": 1, "deletions": 1 });
        let fields = users
            .iter()
            .map(|user| format!("counts.{}", documents::tally_field(user)));
        projection.extend(fields.map(|field| (field, Bson::Int32(1))));
    }
    Query {
        limit: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        // Documents compare by the name of their first field, so tallies come before users.
        sort: doc! { "_id": 1 },
        projection,
        ..Query::one("counters", doc! { "_id": { "$in": ids } })
    }
}

/// Returns the query for the users out of these who have a counter.
pub(super) fn counters(counts: &[CountChange]) -> Query {
    let users: Vec<_> = counts.iter().map(|count| count.user.clone()).collect();
    Query {
        projection: doc! { "_id": 1 },
        newest_state: true,
        ..self::counts(&users, 0)
    }
}

pub(super) fn members(room: &RoomName, page: &Page<Username>) -> Query {
    let after = page.after.as_ref().map_or("", Username::as_str);
    let filter = within(room, "user", after, Bson::MaxKey);
    Query {
        sort: doc! { "_id": 1 },
        projection: doc! { "_id": 1 },
        limit: page.limit,
        ..Query::one("members", filter)
    }
}

pub(super) fn members_of(room: &RoomName) -> Document {
    within(room, "user", "", Bson::MaxKey)
}

/// Returns the query for the memberships that exist out of these, of any rooms.
pub(super) fn memberships_among(pairs: &[(&RoomName, &Username)]) -> Query {
    let ids: Vec<_> = pairs
        .iter()
        .map(|(room, user)| doc! { "room": room.as_str(), "user": user.as_str() })
        .collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    Query {
        limit,
        projection: doc! { "_id": 1 },
        ..Query::one("members", doc! { "_id": { "$in": ids } })
    }
}

/// Returns the query for the members out of these users.
pub(super) fn members_among(room: &RoomName, users: &[Username]) -> Query {
    let ids: Vec<_> = users
        .iter()
        .map(|user| doc! { "room": room.as_str(), "user": user.as_str() })
        .collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    Query {
        limit,
        ..Query::one(
            "members",
            doc! { "_id": { "$in": ids }, "_id.room": room.as_str() },
        )
    }
}

pub(super) fn member(room: &RoomName, user: &Username) -> Document {
    doc! { "_id": { "room": room.as_str(), "user": user.as_str() } }
}

/// Returns the query for the rooms that a user is a member of, by name.
pub(super) fn memberships(user: &Username, page: &Page<RoomName>) -> Query {
    let after = page.after.as_ref().map_or("", RoomName::as_str);
    let filter = doc! { "_id.user": user.as_str(), "_id.room": { "$gt": after } };
    Query {
        sort: doc! { "_id.room": 1 },
        projection: doc! { "_id": 1 },
        limit: page.limit,
        ..Query::one("members", filter)
    }
}

/// Returns the query for the heads of rooms, as a majority has them.
pub(super) fn ends(rooms: &[RoomName]) -> Query {
    Query {
        newest_state: false,
        ..heads(rooms)
    }
}

/// Returns the query for the read marks of a user in rooms.
pub(super) fn marks(user: &Username, rooms: &[RoomName]) -> Query {
    let ids: Vec<_> = rooms
        .iter()
        .map(|room| doc! { "user": user.as_str(), "room": room.as_str() })
        .collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    Query {
        limit,
        ..Query::one("marks", doc! { "_id": { "$in": ids } })
    }
}

/// Returns the query for the users connected to a room, by process.
pub(super) fn presence(room: &RoomName) -> Query {
    let filter = within(room, "process", Bson::MinKey, Bson::MaxKey);
    Query {
        limit: MAX_NAMES,
        newest_state: true,
        ..Query::one("presence", filter)
    }
}

pub(super) fn presence_at(room: &RoomName, process: ObjectId) -> Document {
    doc! { "_id": { "room": room.as_str(), "process": process } }
}

pub(super) fn presence_of(process: ObjectId) -> Document {
    doc! { "_id.process": process }
}

/// Returns the query for the names, in any case, that have an account.
pub(super) fn accounts(names: &[NameKey]) -> Query {
    let ids: Vec<_> = names.iter().map(NameKey::as_str).collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let filter = doc! { "_id": { "$in": ids }, "account": { "$exists": true } };
    Query {
        limit,
        ..Query::one("names", filter)
    }
}

/// Returns the query for a page of the names that have an account.
pub(super) fn account_page(page: &Page<NameKey>) -> Query {
    let after = page.after.as_ref().map_or("", NameKey::as_str);
    let filter = doc! { "_id": { "$gt": after }, "account": { "$exists": true } };
    Query {
        sort: doc! { "_id": 1 },
        hint: Some(doc! { "_id": 1 }),
        limit: page.limit,
        ..Query::one("names", filter)
    }
}

pub(super) fn name(name: &NameKey) -> Document {
    doc! { "_id": name.as_str() }
}

/// Returns the query for the number of claims that a tally has been told of.
pub(super) fn claims(slot: i32) -> Query {
    let filter = doc! { "_id": { "tally": slot } };
    Query {
        projection: doc! { "claims": 1 },
        newest_state: true,
        ..Query::one("counters", filter)
    }
}

/// Returns the filter for every tally. Documents compare by type, then name, then value of their
/// first field, and those of rooms and users begin with a string.
pub(super) fn tallies() -> Document {
    doc! { "_id": { "$gte": { "tally": 0 }, "$lt": { "tally": documents::TALLIES } } }
}

pub(super) fn guests_of(name: &NameKey) -> Document {
    doc! { "guest": name.as_str() }
}

pub(super) fn token(hash: TokenHash) -> Document {
    doc! { "_id": documents::token(hash) }
}

pub(super) fn session(hash: TokenHash, alive_since: Timestamp) -> Query {
    let mut filter = token(hash);
    filter.insert("last_seen", doc! { "$gte": alive_since.as_micros() });
    Query::one("sessions", filter)
}

pub(super) fn sessions(user: &Username, alive_since: Timestamp) -> Query {
    let filter =
        doc! { "username": user.as_str(), "last_seen": { "$gte": alive_since.as_micros() } };
    Query {
        sort: doc! { "created_at": 1 },
        limit: MAX_NAMES,
        ..Query::one("sessions", filter)
    }
}

pub(super) fn session_of(user: &Username, id: SessionId) -> Document {
    doc! { "username": user.as_str(), "id": id.to_string() }
}

pub(super) fn sessions_of(user: &Username, except: Option<SessionId>) -> Document {
    let except = except.map(|id| id.to_string()).unwrap_or_default();
    doc! { "username": user.as_str(), "id": { "$ne": except } }
}

#[cfg(test)]
mod tests;
