//! Plan of a batch: what a crash must not lose.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};

use crate::backend::mongo::connection::Connection;
use crate::backend::mongo::documents::{change_seq, corrupt, is_there, seq, text};
use crate::backend::mongo::error::error;
use crate::backend::mongo::{commands, documents};
use crate::error::Result;
use crate::model::{Batch, CountDelta, Head, RoomBatch};
use crate::types::{ChangeSeq, RoomName, Seq};

/// Commands in a document of a plan end with the one that brings them to this size.
const FULL_BYTES: usize = 4 * 1024 * 1024;

/// Returns the commands of step 1. The commands of the changes are kept as they are sent: in the
/// plan, and those that make it too large in documents that are written before it.
pub(in crate::backend::mongo) fn commands_of(
    batch: &Batch,
    number: i64,
    changes: &[RawDocumentBuf],
) -> Vec<RawDocumentBuf> {
    let mut chunks = chunks(changes);
    let (first, rest) = (chunks.remove(0), chunks);
    let mut commands = Vec::new();
    for (chunk, number_of_chunk) in rest.into_iter().zip(1_i64..) {
        let document = rawdoc! { "number": number, "changes": chunk };
        let id = rawdoc! { "_id": { "batch": number_of_chunk } };
        commands.push(commands::update(
            "state",
            rawdoc! { "q": id, "u": { "$set": document }, "upsert": true },
        ));
    }

    let has_messages = batch.rooms.iter().any(|room| !room.messages.is_empty());
    let counts = batch
        .counts
        .iter()
        .filter(|_| !changes.is_empty())
        .map(planned_count);
    let plan = rawdoc! {
        "number": number,
        "id": documents::batch_id(batch.id),
        "rooms": batch.rooms.iter().map(planned_room).collect::<RawArrayBuf>(),
        "is_complete": !has_messages,
        "counts": counts.collect::<RawArrayBuf>(),
        "changes": first,
        "more_changes": i64::try_from(commands.len()).unwrap_or(i64::MAX),
    };
    let older = rawdoc! { "_id": "batch", "number": { "$not": { "$gte": number } } };
    commands.push(commands::update(
        "state",
        rawdoc! { "q": older, "u": { "$set": plan }, "upsert": true },
    ));
    commands
}

fn planned_room(room: &RoomBatch) -> RawDocumentBuf {
    let after = room.after.unwrap_or(Head::EMPTY).seq.get();
    let mut planned =
        rawdoc! { "room": room.room.as_str(), "after": after, "last": room.head().seq.get() };
    if let Some(change) = room.changes.last() {
        planned.append(cstr!("change"), change.number().get());
    }
    planned
}

fn planned_count(count: &CountDelta) -> RawDocumentBuf {
    rawdoc! { "user": count.user.as_str(), "added": count.added, "removed": count.removed }
}

/// Splits commands so that each chunk fits into a document. There is at least one chunk.
fn chunks(commands: &[RawDocumentBuf]) -> Vec<RawArrayBuf> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), RawArrayBuf::new(), 0);
    for command in commands {
        if bytes >= FULL_BYTES {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += command.as_bytes().len();
        chunk.push(Binary {
            subtype: BinarySubtype::Generic,
            bytes: command.as_bytes().to_vec(),
        });
    }
    chunks.push(chunk);
    chunks
}

/// Returns the command of step 3.
pub(in crate::backend::mongo) fn complete(number: i64) -> RawDocumentBuf {
    let complete = rawdoc! { "$set": { "is_complete": true } };
    commands::update(
        "state",
        rawdoc! { "q": { "_id": "batch", "number": number }, "u": complete },
    )
}

/// Plan of the last batch, as it was stored.
pub(super) struct Plan {
    pub(super) number: i64,
    pub(super) id: ObjectId,
    pub(super) rooms: Vec<PlannedRoom>,
    /// True if all messages are there and the changes may have been begun.
    pub(super) is_complete: bool,
    pub(super) counts: Vec<CountDelta>,
    pub(super) changes: Vec<RawDocumentBuf>,
    /// Number of documents that hold the rest of the changes.
    pub(super) more_changes: i64,
}

/// The messages and changes of a plan in one room.
pub(super) struct PlannedRoom {
    pub(super) room: RoomName,
    pub(super) after: Seq,
    pub(super) last: Seq,
    pub(super) change: Option<ChangeSeq>,
}

impl Plan {
    pub(super) fn read(plan: &RawDocument) -> Result<Self> {
        Ok(Self {
            number: plan.get_i64("number").map_err(corrupt)?,
            id: plan.get_object_id("id").map_err(corrupt)?,
            rooms: documents_of(plan, "rooms")?
                .into_iter()
                .map(PlannedRoom::read)
                .collect::<Result<_>>()?,
            is_complete: plan.get_bool("is_complete").map_err(corrupt)?,
            counts: documents_of(plan, "counts")?
                .into_iter()
                .map(count)
                .collect::<Result<_>>()?,
            changes: commands_in(plan)?,
            more_changes: plan.get_i64("more_changes").map_err(corrupt)?,
        })
    }
}

impl PlannedRoom {
    fn read(room: &RawDocument) -> Result<Self> {
        Ok(Self {
            room: text(room, "room")?,
            after: seq(room, "after")?,
            last: seq(room, "last")?,
            change: is_there(room, "change")
                .then(|| change_seq(room, "change"))
                .transpose()?,
        })
    }
}

fn documents_of<'a>(document: &'a RawDocument, key: &str) -> Result<Vec<&'a RawDocument>> {
    let read = |value: mongodb::bson::RawBsonRef<'a>| {
        value
            .as_document()
            .ok_or_else(|| corrupt(format!("no document in {key}")))
    };
    let list = document.get_array(key).map_err(corrupt)?;
    list.into_iter()
        .map(|value| read(value.map_err(corrupt)?))
        .collect()
}

fn count(document: &RawDocument) -> Result<CountDelta> {
    Ok(CountDelta {
        user: text(document, "user")?,
        added: document.get_i64("added").map_err(corrupt)?,
        removed: document.get_i64("removed").map_err(corrupt)?,
    })
}

pub(super) fn commands_in(plan: &RawDocument) -> Result<Vec<RawDocumentBuf>> {
    let read = |value: mongodb::bson::RawBsonRef<'_>| {
        let binary = value
            .as_binary()
            .ok_or_else(|| corrupt("a command is no binary"))?;
        RawDocumentBuf::from_bytes(binary.bytes.to_vec()).map_err(corrupt)
    };
    let list = plan.get_array("changes").map_err(corrupt)?;
    list.into_iter()
        .map(|value| read(value.map_err(corrupt)?))
        .collect()
}

/// Notes that the members of a room are about to change, so that they are counted after a crash.
pub(super) fn members_plan(room: &RoomName) -> RawDocumentBuf {
    let plan = rawdoc! { "room": room.as_str() };
    commands::update(
        "state",
        rawdoc! { "q": { "_id": "members" }, "u": { "$set": plan }, "upsert": true },
    )
}

/// Removes that note: the members are written.
pub(super) async fn forget_members_plan(connection: &Connection) -> Result<()> {
    connection
        .collection("state")
        .delete_one(doc! { "_id": "members" })
        .await
        .map(drop)
        .map_err(error)
}
