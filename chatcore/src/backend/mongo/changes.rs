//! Messages that were changed: edited, deleted, or reacted to.
//!
//! `changes` holds one document for each message that was ever changed: its newest state, and the
//! number of the last change to it. So the log of a room's changes is an index over these
//! documents, and never grows beyond the messages. The document is always replaced as a whole, so
//! that the change stream tells of all of it:
//!
//! - `change`, and `bucket`, the first `seq` of the message's bucket, and `blank`? if the text is
//!   gone from there;
//! - `timestamp`, and `deleted` of a deleted message;
//! - of any other `sender`, `text`, `verified`, `reply_to`?, `mentions`?, `edited_at`? and
//!   `reactions`?, a list of `emoji`, `count` and the first `users`.
//!
//! A statement costs the server more than a document does, so what is known to be new is inserted,
//! and what goes is deleted by one statement. The commands of a batch may be made in any order, and
//! each may be repeated as long as no later change was made: an insert then meets its own
//! documents.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::raw::CString;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, cstr, rawdoc};

use super::connection::Connection;
use super::documents::{self, change_seq, corrupt, is_there, names, text, time};
use super::{commands, find, reactions};
use crate::error::Result;
use crate::model::{Batch, MessageChange, ReadState, Stored};
use crate::timestamp::Timestamp;
use crate::types::{Content, Message, Reaction, RoomName, Seq, Username};

/// A command ends with the state that brings it to this size.
const FULL_BYTES: usize = 4 * 1024 * 1024;

/// Returns the new state of a message as a document.
fn document(room: &RoomName, change: &MessageChange) -> RawDocumentBuf {
    let (after, location) = (&change.after, Location::of(&change.before));
    let mut document = rawdoc! {
        "_id": documents::message_id(room, after.seq),
        "change": change.number().get(),
        "bucket": location.first,
        "timestamp": after.timestamp.as_micros(),
    };
    if location.is_blank || change.replaces_text() {
        document.append(cstr!("blank"), true);
    }
    let Some(content) = &after.content else {
        document.append(cstr!("deleted"), true);
        return document;
    };

    documents::append_posted(&mut document, content);
    if let Some(edited_at) = content.edited_at {
        document.append(cstr!("edited_at"), edited_at.as_micros());
    }
    if !content.reactions.is_empty() {
        let reactions: RawArrayBuf = content.reactions.iter().map(new_reaction).collect();
        document.append(cstr!("reactions"), reactions);
    }
    document
}

fn new_reaction(
    Reaction {
        emoji,
        count,
        users,
    }: &Reaction,
) -> RawDocumentBuf {
    let count = i64::try_from(*count).unwrap_or(i64::MAX);
    rawdoc! { "emoji": emoji.as_str(), "count": count, "users": documents::new_names(users) }
}

/// Reads the state of a message of a room.
pub(super) fn message(room: &RoomName, document: &RawDocument) -> Result<Message> {
    let (_, seq) = documents::message_key(document)?;
    let content = match documents::posted(document)? {
        Some(content) => {
            let edited_at = is_there(document, "edited_at").then(|| time(document, "edited_at"));
            Some(Content {
                edited_at: edited_at.transpose()?,
                reactions: reactions(document)?,
                ..content
            })
        }
        None => None,
    };
    Ok(Message {
        room: room.clone(),
        seq,
        timestamp: time(document, "timestamp")?,
        change: Some(change_seq(document, "change")?),
        content,
    })
}

/// Reads where the message is in its bucket.
pub(super) fn location(document: &RawDocument) -> Result<i64> {
    let first = document.get_i64("bucket").map_err(corrupt)?;
    let is_blank = document.get_bool("blank").unwrap_or(false);
    Ok(Location { first, is_blank }.number())
}

fn reactions(document: &RawDocument) -> Result<Vec<Reaction>> {
    let Some(list) = document.get("reactions").map_err(corrupt)? else {
        return Ok(Vec::new());
    };
    let list = list
        .as_array()
        .ok_or_else(|| corrupt("reactions are no list"))?;
    let read = |reaction: mongodb::bson::RawBsonRef<'_>| {
        let reaction = reaction
            .as_document()
            .ok_or_else(|| corrupt("a reaction is no document"))?;
        Ok(Reaction {
            emoji: text(reaction, "emoji")?,
            count: reaction
                .get_i64("count")
                .map_err(corrupt)?
                .max(0)
                .unsigned_abs(),
            users: names(reaction, "users")?,
        })
    };
    list.into_iter()
        .map(|reaction| read(reaction.map_err(corrupt)?))
        .collect()
}

/// Returns true if the batch has changes.
pub(super) fn has_changes(batch: &Batch) -> bool {
    batch
        .rooms
        .iter()
        .any(|room_batch| !room_batch.changes.is_empty())
}

/// Returns the commands that make the changes of a batch, in any order.
pub(super) fn commands_of(batch: &Batch) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
    let is_first = |change: &MessageChange| change.before.message.change.is_none();
    let first = each(batch).filter(|(_, change)| is_first(change));
    let later = each(batch).filter(|(_, change)| !is_first(change));

    let (mut mentions, mut no_mentions) = (RawArrayBuf::new(), RawArrayBuf::new());
    for (room, change) in each(batch) {
        let (seq, timestamp) = (change.after.seq, change.after.timestamp);
        change
            .new_mentions()
            .for_each(|user| mentions.push(mention(user, room, seq, timestamp)));
        change
            .lost_mentions()
            .for_each(|user| no_mentions.push(mention_id(user, room, seq)));
    }

    let first = in_chunks(first.map(|(room, change)| document(room, change)));
    let mut all: Vec<_> = first
        .into_iter()
        .filter_map(|states| commands::insert_all("changes", states))
        .collect();
    let later = in_chunks(later.map(|(room, change)| replacement(room, change)));
    all.extend(
        later
            .into_iter()
            .filter_map(|states| commands::update_all("changes", states)),
    );
    all.extend(commands::update_all("messages", bucket_updates(batch)?));
    all.extend(reactions::commands_of(each(batch))?);

    all.extend(commands::insert_all("mentions", mentions));
    all.extend(commands::delete_all(
        "mentions",
        commands::delete_by_id("_id.user", no_mentions)?
            .into_iter()
            .collect(),
    ));
    Ok(all)
}

/// Splits statements so that a command of each part can be kept in a document.
fn in_chunks(statements: impl Iterator<Item = RawDocumentBuf>) -> Vec<RawArrayBuf> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), RawArrayBuf::new(), 0);
    for statement in statements {
        if bytes >= FULL_BYTES {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += statement.as_bytes().len();
        chunk.push(statement);
    }
    chunks.push(chunk);
    chunks
}

fn each(batch: &Batch) -> impl Iterator<Item = (&RoomName, &MessageChange)> {
    batch.rooms.iter().flat_map(|room_batch| {
        room_batch
            .changes
            .iter()
            .map(move |change| (&room_batch.room, change))
    })
}

fn replacement(room: &RoomName, change: &MessageChange) -> RawDocumentBuf {
    let id = documents::message_id(room, change.after.seq);
    rawdoc! { "q": { "_id": id }, "u": document(room, change) }
}

/// Returns the statements that flag the buckets of changed messages and take old texts out of them,
/// where that was not done before. Buckets that lose their messages at the same offsets share one.
fn bucket_updates(batch: &Batch) -> mongodb::error::Result<RawArrayBuf> {
    let mut offsets: BTreeMap<(&RoomName, i64), BTreeSet<i64>> = BTreeMap::new();
    for (room, change) in each(batch) {
        let (Location { first, is_blank }, message) =
            (Location::of(&change.before), &change.before.message);
        let loses_text = change.replaces_text() && !is_blank;
        if loses_text || message.change.is_none() {
            let offset = loses_text.then_some(message.seq.get() - first);
            offsets.entry((room, first)).or_default().extend(offset);
        }
    }

    let mut alike: BTreeMap<BTreeSet<i64>, BTreeSet<(&RoomName, i64)>> = BTreeMap::new();
    for (bucket, offsets) in offsets {
        alike.entry(offsets).or_default().insert(bucket);
    }

    let mut statements = RawArrayBuf::new();
    for (offsets, buckets) in alike {
        let mut update = rawdoc! { "$set": { "changed": true } };
        if !offsets.is_empty() {
            update.append(cstr!("$unset"), posted_at(&offsets)?);
        }
        statements.push(update_buckets(&buckets, update));
    }
    Ok(statements)
}

/// Returns the fields of a bucket that hold what was posted at some offsets.
fn posted_at(offsets: &BTreeSet<i64>) -> mongodb::error::Result<RawDocumentBuf> {
    let mut fields = RawDocumentBuf::new();
    for offset in offsets {
        for field in documents::POSTED {
            let path = format!("messages.{offset}.{field}");
            fields.append(CString::try_from(path)?, true);
        }
    }
    Ok(fields)
}

fn update_buckets(buckets: &BTreeSet<(&RoomName, i64)>, update: RawDocumentBuf) -> RawDocumentBuf {
    let ids: RawArrayBuf = buckets
        .iter()
        .map(|(room, first)| rawdoc! { "room": room.as_str(), "seq": *first })
        .collect();
    let rooms: BTreeSet<_> = buckets.iter().map(|(room, _)| room.as_str()).collect();
    let rooms: RawArrayBuf = rooms.into_iter().collect();
    let found = rawdoc! { "_id": { "$in": ids }, "_id.room": { "$in": rooms } };
    rawdoc! { "q": found, "u": update, "multi": true, "hint": commands::by_id() }
}

/// The bucket that a message is kept in.
struct Location {
    /// First `seq` of the bucket.
    first: i64,
    /// True if the text is gone from the bucket.
    is_blank: bool,
}

impl Location {
    fn of(stored: &Stored) -> Self {
        Self {
            first: stored.location.abs(),
            is_blank: stored.location < 0,
        }
    }

    /// Returns the location as one number. No bucket begins before 1.
    fn number(&self) -> i64 {
        if self.is_blank {
            -self.first
        } else {
            self.first
        }
    }
}

/// Returns where a message is kept once this change of it is stored.
pub(super) fn location_after(change: &MessageChange) -> i64 {
    let Location { first, is_blank } = Location::of(&change.before);
    Location {
        first,
        is_blank: is_blank || change.replaces_text(),
    }
    .number()
}

fn mention_id(user: &Username, room: &RoomName, seq: Seq) -> RawDocumentBuf {
    rawdoc! { "user": user.as_str(), "room": room.as_str(), "seq": seq.get() }
}

fn mention(user: &Username, room: &RoomName, seq: Seq, timestamp: Timestamp) -> RawDocumentBuf {
    rawdoc! { "_id": mention_id(user, room, seq), "timestamp": timestamp.as_micros() }
}

/// Returns the command that stores the mentions of new messages, unless there are none.
pub(super) fn new_mentions<'a>(
    messages: impl Iterator<Item = (&'a RoomName, Seq, Timestamp, &'a [Username])>,
) -> Option<RawDocumentBuf> {
    let of_message =
        |(room, seq, timestamp, users): (&'a RoomName, Seq, Timestamp, &'a [Username])| {
            users
                .iter()
                .map(move |user| mention(user, room, seq, timestamp))
        };
    commands::insert_all("mentions", messages.flat_map(of_message).collect())
}

/// Returns the command that stores the mentions of a batch's new messages, unless there are none.
pub(super) fn mentions_of_posts(batch: &Batch) -> Option<RawDocumentBuf> {
    let posts = batch.rooms.iter().flat_map(|room_batch| {
        room_batch
            .messages
            .iter()
            .map(|message| (&room_batch.room, message))
    });
    new_mentions(posts.map(|(room, message)| {
        (
            room,
            message.seq,
            message.timestamp,
            message.content.mentions.as_slice(),
        )
    }))
}

/// Puts the newest states of messages of one room, which are in `seq` order, over those from
/// their buckets.
pub(super) async fn overlay(
    connection: &Connection,
    room: &RoomName,
    messages: &mut [Message],
    state: ReadState,
) -> Result<()> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return Ok(());
    };
    let query = find::changes_between(room, first.seq, last.seq).of(state);
    let changed = connection
        .find(query, |document| message(room, document))
        .await?;
    for message in changed {
        if let Ok(at) = messages.binary_search_by_key(&message.seq, |message| message.seq) {
            messages[at] = message;
        }
    }

    // Later than its bucket was read, so the new state of a message is there if the old one is
    // not.
    match messages
        .iter()
        .find(|message| message.change.is_none() && message.is_deleted())
    {
        Some(lost) => Err(corrupt(format!(
            "message {} of {room} has no text and no change",
            lost.seq
        ))),
        None => Ok(()),
    }
}
