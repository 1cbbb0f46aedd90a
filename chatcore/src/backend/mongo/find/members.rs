//! Members of rooms, and bans.

use mongodb::bson::{Bson, Document, doc};

use super::{Query, within};
use crate::account::NameKey;
use crate::model::Page;
use crate::types::{RoomName, Username};

/// Returns the query for the private rooms that a user is a member of.
pub(in crate::backend::mongo) fn private_rooms(user: &Username, page: &Page<RoomName>) -> Query {
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

pub(in crate::backend::mongo) fn ban(room: &RoomName, name: &NameKey) -> Document {
    doc! { "_id": { "room": room.as_str(), "user": name.as_str() } }
}

/// Returns the query for the bans of names.
pub(in crate::backend::mongo) fn bans_of(room: &RoomName, names: &[NameKey]) -> Query {
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
pub(in crate::backend::mongo) fn bans(room: &RoomName, page: &Page<Username>) -> Query {
    let after = page.after.as_ref().map_or("", Username::as_str);
    let filter = doc! { "_id.room": room.as_str(), "username": { "$gt": after } };
    Query {
        sort: doc! { "username": 1 },
        limit: page.limit,
        ..Query::one("bans", filter)
    }
}

pub(in crate::backend::mongo) fn members(room: &RoomName, page: &Page<Username>) -> Query {
    let after = page.after.as_ref().map_or("", Username::as_str);
    let filter = within(room, "user", after, Bson::MaxKey);
    Query {
        sort: doc! { "_id": 1 },
        projection: doc! { "_id": 1 },
        limit: page.limit,
        ..Query::one("members", filter)
    }
}

pub(in crate::backend::mongo) fn members_of(room: &RoomName) -> Document {
    within(room, "user", "", Bson::MaxKey)
}

/// Returns the query for the memberships that exist out of these, of any rooms.
pub(in crate::backend::mongo) fn memberships_among(pairs: &[(&RoomName, &Username)]) -> Query {
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
pub(in crate::backend::mongo) fn members_among(room: &RoomName, users: &[Username]) -> Query {
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

pub(in crate::backend::mongo) fn member(room: &RoomName, user: &Username) -> Document {
    doc! { "_id": { "room": room.as_str(), "user": user.as_str() } }
}

/// Returns the query for the rooms that a user is a member of, by name.
pub(in crate::backend::mongo) fn memberships(user: &Username, page: &Page<RoomName>) -> Query {
    let after = page.after.as_ref().map_or("", RoomName::as_str);
    let filter = doc! { "_id.user": user.as_str(), "_id.room": { "$gt": after } };
    Query {
        sort: doc! { "_id.room": 1 },
        projection: doc! { "_id": 1 },
        limit: page.limit,
        ..Query::one("members", filter)
    }
}
