//! Counters of users, and slots.

use mongodb::bson::{Bson, Document, doc};

use super::Query;
use crate::backend::mongo::documents;
use crate::model::CountDelta;
use crate::types::Username;

/// Returns the query for slot number `slot`, if it has the evidence of a batch.
pub(in crate::backend::mongo) fn evidence(slot: i32, field: &str, newest_state: bool) -> Query {
    let filter = doc! { "_id": { "tally": slot }, field: { "$exists": true } };
    Query {
        newest_state,
        projection: doc! { "_id": 1 },
        ..Query::one("counters", filter)
    }
}

/// Returns the query for users' counters, after the users' numbers in `slots` slots.
pub(in crate::backend::mongo) fn counts(users: &[Username], slots: i32) -> Query {
    let mut ids: Vec<_> = (0..slots).map(|slot| doc! { "tally": slot }).collect();
    ids.extend(users.iter().map(|user| doc! { "user": user.as_str() }));
    let mut projection = doc! { "message_count": 1 };
    if slots > 0 {
        projection.extend(doc! { "folded": 1, "folds": 1, "deletions": 1 });
        let fields = users
            .iter()
            .map(|user| format!("counts.{}", documents::slot_field(user)));
        projection.extend(fields.map(|field| (field, Bson::Int32(1))));
    }
    Query {
        limit: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        // Documents compare by the name of their first field, so slots come before users.
        sort: doc! { "_id": 1 },
        projection,
        ..Query::one("counters", doc! { "_id": { "$in": ids } })
    }
}

/// Returns the query for the users out of these who have a counter.
pub(in crate::backend::mongo) fn counters(counts: &[CountDelta]) -> Query {
    let users: Vec<_> = counts.iter().map(|count| count.user.clone()).collect();
    Query {
        projection: doc! { "_id": 1 },
        newest_state: true,
        ..self::counts(&users, 0)
    }
}

/// Returns the query for the number of claims that a slot has been told of.
pub(in crate::backend::mongo) fn claims(slot: i32) -> Query {
    let filter = doc! { "_id": { "tally": slot } };
    Query {
        projection: doc! { "claims": 1 },
        newest_state: true,
        ..Query::one("counters", filter)
    }
}

/// Returns the filter for every slot. Documents compare by type, then name, then value of their
/// first field, and those of rooms and users begin with a string.
pub(in crate::backend::mongo) fn slots() -> Document {
    doc! { "_id": { "$gte": { "tally": 0 }, "$lt": { "tally": documents::SLOTS } } }
}
