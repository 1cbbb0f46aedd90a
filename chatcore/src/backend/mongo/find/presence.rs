//! Presence in rooms.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use super::{Query, within};
use crate::options::MAX_NAMES;
use crate::types::RoomName;

/// Returns the query for the users connected to a room, by process.
pub(in crate::backend::mongo) fn presence(room: &RoomName) -> Query {
    let filter = within(room, "process", Bson::MinKey, Bson::MaxKey);
    Query {
        limit: MAX_NAMES,
        newest_state: true,
        ..Query::one("presence", filter)
    }
}

pub(in crate::backend::mongo) fn presence_at(room: &RoomName, process: ObjectId) -> Document {
    doc! { "_id": { "room": room.as_str(), "process": process } }
}

pub(in crate::backend::mongo) fn presence_of(process: ObjectId) -> Document {
    doc! { "_id.process": process }
}
