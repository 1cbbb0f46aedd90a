//! Members of rooms, and bans.

use mongodb::bson::{Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};

use super::fields::{corrupt, room_name, text};
use crate::error::Result;
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Username};

pub(in crate::backend::mongo) fn new_member(privacy: Privacy, now: Timestamp) -> Document {
    let mut member = doc! { "joined_at": now.as_micros() };
    if privacy == Privacy::Private {
        member.insert("private", true);
    }
    member
}

/// Reads the name as it was banned.
pub(in crate::backend::mongo) fn banned(document: &RawDocument) -> Result<Username> {
    text(document, "username")
}

/// Returns the document of a new member of a public room.
pub(in crate::backend::mongo) fn member_of_public(
    room: &RoomName,
    user: &Username,
    at: Timestamp,
) -> RawDocumentBuf {
    rawdoc! { "_id": { "room": room.as_str(), "user": user.as_str() }, "joined_at": at.as_micros() }
}

/// Reads the room and the user of a membership.
pub(in crate::backend::mongo) fn membership(
    document: &RawDocument,
) -> Result<(RoomName, Username)> {
    Ok((room_name(document)?, member(document)?))
}

pub(in crate::backend::mongo) fn member(document: &RawDocument) -> Result<Username> {
    text(document.get_document("_id").map_err(corrupt)?, "user")
}

/// Returns the upserts that make a batch's senders members.
pub(in crate::backend::mongo) fn new_members<'a>(
    rooms: impl Iterator<Item = (&'a RoomName, &'a [Username], Timestamp)>,
) -> RawArrayBuf {
    let mut updates = RawArrayBuf::new();
    for (room, users, at) in rooms {
        for user in users {
            updates.push(rawdoc! {
                "q": { "_id": { "room": room.as_str(), "user": user.as_str() } },
                "u": { "$setOnInsert": { "joined_at": at.as_micros() } },
                "upsert": true,
            });
        }
    }
    updates
}
