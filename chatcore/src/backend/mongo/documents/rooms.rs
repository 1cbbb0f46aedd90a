//! Counters of rooms.

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};

use super::fields::{change_seq, corrupt, flag, is_there, room_name, seq, text, time};
use crate::error::Result;
use crate::model::{Access, Head, RoomBatch};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Privacy, Room, RoomName, Seq, Topic, Username};

pub(in crate::backend::mongo) fn head(document: &RawDocument) -> Result<(String, Head)> {
    let name = document
        .get_document("_id")
        .and_then(|id| id.get_str("room"))
        .map_err(corrupt)?
        .to_owned();
    let head = Head {
        seq: seq(document, "last_seq")?,
        change: change_seq(document, "last_change")?,
        timestamp: time(document, "last_timestamp")?,
        departures: document.get_i64("departures").map_err(corrupt)?,
        restricted: flag(document, "restricted"),
        closings: document.get_i64("closings").map_err(corrupt)?,
    };
    Ok((name, head))
}

fn room_owner(document: &RawDocument) -> Result<Option<Username>> {
    document
        .get_str("owner")
        .is_ok()
        .then(|| text(document, "owner"))
        .transpose()
}

/// Reads the access of everyone to a room.
pub(in crate::backend::mongo) fn access(document: &RawDocument) -> Result<Access> {
    Ok(Access {
        privacy: if flag(document, "private") {
            Privacy::Private
        } else {
            Privacy::Public
        },
        restricted: flag(document, "restricted"),
        owner: room_owner(document)?,
        member: false,
        banned: false,
    })
}

pub(in crate::backend::mongo) fn room(document: &RawDocument) -> Result<Room> {
    let last_seq = seq(document, "last_seq")?;
    let last_timestamp = time(document, "last_timestamp")?;
    Ok(Room {
        name: room_name(document)?,
        last_seq,
        last_change: change_seq(document, "last_change")?,
        last_timestamp: (last_seq > Seq::ZERO).then_some(last_timestamp),
        created_at: time(document, "created_at")?,
        members: document
            .get_i64("members")
            .unwrap_or(0)
            .max(0)
            .unsigned_abs(),
        private: flag(document, "private"),
        owner: room_owner(document)?,
        topic: topic(document)?,
    })
}

fn topic(document: &RawDocument) -> Result<Option<Topic>> {
    is_there(document, "topic")
        .then(|| text(document, "topic"))
        .transpose()
}

/// Returns the `_id` of a room's counter.
pub(in crate::backend::mongo) fn room_id(room: &RoomName) -> RawDocumentBuf {
    rawdoc! { "room": room.as_str() }
}

pub(in crate::backend::mongo) fn new_room(now: Timestamp) -> Document {
    doc! {
        "last_seq": 0_i64,
        "last_timestamp": 0_i64,
        "last_change": 0_i64,
        "members": 0_i64,
        "departures": 0_i64,
        "closings": 0_i64,
        "created_at": now.as_micros(),
        "private": false,
    }
}

/// Returns the fields of a new room with an owner.
pub(in crate::backend::mongo) fn new_room_of(
    owner: &Username,
    privacy: Privacy,
    now: Timestamp,
) -> Document {
    let mut room = new_room(now);
    room.insert("owner", owner.as_str());
    if privacy == Privacy::Private {
        room.extend(doc! { "private": true, "restricted": true, "members": 1_i64 });
    }
    room
}

/// The head of a room after a batch, as far as the batch moves it.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::backend::mongo) struct HeadMove {
    /// Number and time of the last message, if there are messages.
    pub(in crate::backend::mongo) last: Option<(Seq, Timestamp)>,
    /// Number of the last change, if there are changes.
    pub(in crate::backend::mongo) change: Option<ChangeSeq>,
}

impl From<&RoomBatch> for HeadMove {
    fn from(room_batch: &RoomBatch) -> Self {
        Self {
            last: room_batch
                .messages
                .last()
                .map(|message| (message.seq, message.timestamp)),
            change: room_batch.changes.last().map(|change| change.number()),
        }
    }
}

impl HeadMove {
    /// Returns the fields that it sets.
    pub(in crate::backend::mongo) fn fields(self) -> RawDocumentBuf {
        let mut fields = RawDocumentBuf::new();
        if let Some((seq, timestamp)) = self.last {
            fields.append(cstr!("last_seq"), seq.get());
            fields.append(cstr!("last_timestamp"), timestamp.as_micros());
        }
        if let Some(change) = self.change {
            fields.append(cstr!("last_change"), change.get());
        }
        fields
    }
}

/// Returns the other fields of a room that is created by its first message.
pub(in crate::backend::mongo) fn first_head(created_at: Timestamp) -> RawDocumentBuf {
    rawdoc! {
        "last_change": 0_i64,
        "departures": 0_i64,
        "closings": 0_i64,
        "created_at": created_at.as_micros(),
        "private": false,
    }
}
