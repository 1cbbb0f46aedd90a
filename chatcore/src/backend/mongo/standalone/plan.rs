//! Plan of a batch: what a crash must not lose.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};

use crate::backend::mongo::connection::Connection;
use crate::backend::mongo::documents::{change_seq, corrupt, is_there, seq, text};
use crate::backend::mongo::error::error;
use crate::backend::mongo::{commands, documents};
use crate::error::Result;
use crate::model::{Batch, CountChange, Head, RoomBatch};
use crate::types::{ChangeSeq, RoomName, Seq};

/// Commands in a document of a plan end with the one that brings them to this size.
const FULL_BYTES: usize = 4 * 1024 * 1024;

/// Returns the commands of step 1. The commands of the changes are kept as they are sent: in the plan, and those that make
/// it too large in documents that are written before it.
pub(in crate::backend::mongo) fn commands_of(
    batch: &Batch,
    number: i64,
    changes: &[RawDocumentBuf],
) -> Vec<RawDocumentBuf> {
    let place = |part: &RoomBatch| {
        let after = part.after.unwrap_or(Head::EMPTY).seq.get();
        let mut place =
            rawdoc! { "room": part.room.as_str(), "after": after, "last": part.head().seq.get() };
        if let Some(change) = part.changes.last() {
            place.append(cstr!("change"), change.number().get());
        }
        place
    };
    let count = |CountChange {
                     user,
                     added,
                     removed,
                 }: &CountChange| {
        rawdoc! { "user": user.as_str(), "added": *added, "removed": *removed }
    };

    let mut parts = parts(changes);
    let (first, parts) = (parts.remove(0), parts);
    let mut commands = Vec::new();
    for (commands_of_part, at) in parts.into_iter().zip(1_i64..) {
        let part = rawdoc! { "number": number, "changes": commands_of_part };
        let place = rawdoc! { "_id": { "batch": at } };
        commands.push(commands::update(
            "state",
            rawdoc! { "q": place, "u": { "$set": part }, "upsert": true },
        ));
    }

    let has_messages = batch.rooms.iter().any(|part| !part.messages.is_empty());
    let counts = batch
        .counts
        .iter()
        .filter(|_| !changes.is_empty())
        .map(count);
    let plan = rawdoc! {
        "number": number,
        "id": documents::batch_id(batch.id),
        "rooms": batch.rooms.iter().map(place).collect::<RawArrayBuf>(),
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

/// Splits commands so that each part fits into a document. There is at least one part.
fn parts(commands: &[RawDocumentBuf]) -> Vec<RawArrayBuf> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), RawArrayBuf::new(), 0);
    for command in commands {
        if bytes >= FULL_BYTES {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += command.as_bytes().len();
        part.push(Binary {
            subtype: BinarySubtype::Generic,
            bytes: command.as_bytes().to_vec(),
        });
    }
    parts.push(part);
    parts
}

/// Returns the command of step 3.
pub(in crate::backend::mongo) fn complete(number: i64) -> RawDocumentBuf {
    let mark = rawdoc! { "$set": { "is_complete": true } };
    commands::update(
        "state",
        rawdoc! { "q": { "_id": "batch", "number": number }, "u": mark },
    )
}

/// Plan of the last batch, as it was stored.
pub(super) struct Plan {
    pub(super) number: i64,
    pub(super) id: ObjectId,
    pub(super) rooms: Vec<Part>,
    /// True if all messages are there and the changes may have been begun.
    pub(super) is_complete: bool,
    pub(super) counts: Vec<CountChange>,
    pub(super) changes: Vec<RawDocumentBuf>,
    /// Number of documents that hold the rest of the changes.
    pub(super) more_changes: i64,
}

/// A plan's part of a room.
pub(super) struct Part {
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
                .map(Part::read)
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

impl Part {
    fn read(part: &RawDocument) -> Result<Self> {
        Ok(Self {
            room: text(part, "room")?,
            after: seq(part, "after")?,
            last: seq(part, "last")?,
            change: is_there(part, "change")
                .then(|| change_seq(part, "change"))
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

fn count(document: &RawDocument) -> Result<CountChange> {
    Ok(CountChange {
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

/// Forgets the last such note: the change is done.
pub(super) async fn forget_members_plan(connection: &Connection) -> Result<()> {
    connection
        .collection("state")
        .delete_one(doc! { "_id": "members" })
        .await
        .map(drop)
        .map_err(error)
}
