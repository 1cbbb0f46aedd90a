//! Read marks.

use mongodb::bson::doc;

use super::Query;
use crate::types::{RoomName, Username};

/// Returns the query for the read marks of a user in rooms.
pub(in crate::backend::mongo) fn marks(user: &Username, rooms: &[RoomName]) -> Query {
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
