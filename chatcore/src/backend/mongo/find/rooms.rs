//! Rooms and their heads.

use mongodb::bson::{Document, doc};

use super::Query;
use crate::model::Page;
use crate::types::RoomName;

pub(in crate::backend::mongo) fn heads(rooms: &[RoomName]) -> Query {
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

pub(in crate::backend::mongo) fn room(room: &RoomName) -> Query {
    Query::one("counters", room_counter(room))
}

pub(in crate::backend::mongo) fn room_counter(room: &RoomName) -> Document {
    doc! { "_id": { "room": room.as_str() } }
}

/// Returns the query for the public rooms. Documents compare by type, then name, then value of
/// their first field, so the rooms end where the users begin.
pub(in crate::backend::mongo) fn rooms(page: &Page<RoomName>) -> Query {
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
pub(in crate::backend::mongo) fn all_rooms(page: &Page<RoomName>) -> Query {
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

/// Returns the query for the heads of rooms, as a majority has them.
pub(in crate::backend::mongo) fn ends(rooms: &[RoomName]) -> Query {
    Query {
        newest_state: false,
        ..heads(rooms)
    }
}
