//! Accounts and sessions.

use mongodb::bson::{Document, doc};

use super::Query;
use crate::account::NameKey;
use crate::backend::mongo::documents;
use crate::model::Page;
use crate::options::MAX_NAMES;
use crate::session::{SessionId, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::Username;

/// Returns the query for the names, in any case, that have an account.
pub(in crate::backend::mongo) fn accounts(names: &[NameKey]) -> Query {
    let ids: Vec<_> = names.iter().map(NameKey::as_str).collect();
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let filter = doc! { "_id": { "$in": ids }, "account": { "$exists": true } };
    Query {
        limit,
        ..Query::one("names", filter)
    }
}

/// Returns the query for a page of the names that have an account.
pub(in crate::backend::mongo) fn account_page(page: &Page<NameKey>) -> Query {
    let after = page.after.as_ref().map_or("", NameKey::as_str);
    let filter = doc! { "_id": { "$gt": after }, "account": { "$exists": true } };
    Query {
        sort: doc! { "_id": 1 },
        hint: Some(doc! { "_id": 1 }),
        limit: page.limit,
        ..Query::one("names", filter)
    }
}

pub(in crate::backend::mongo) fn name(name: &NameKey) -> Document {
    doc! { "_id": name.as_str() }
}

pub(in crate::backend::mongo) fn guests_of(name: &NameKey) -> Document {
    doc! { "guest": name.as_str() }
}

pub(in crate::backend::mongo) fn token(hash: TokenHash) -> Document {
    doc! { "_id": documents::token(hash) }
}

pub(in crate::backend::mongo) fn session(hash: TokenHash, alive_since: Timestamp) -> Query {
    let mut filter = token(hash);
    filter.insert("last_seen", doc! { "$gte": alive_since.as_micros() });
    Query::one("sessions", filter)
}

pub(in crate::backend::mongo) fn sessions(user: &Username, alive_since: Timestamp) -> Query {
    let filter =
        doc! { "username": user.as_str(), "last_seen": { "$gte": alive_since.as_micros() } };
    Query {
        sort: doc! { "created_at": 1 },
        limit: MAX_NAMES,
        ..Query::one("sessions", filter)
    }
}

pub(in crate::backend::mongo) fn session_of(user: &Username, id: SessionId) -> Document {
    doc! { "username": user.as_str(), "id": id.to_string() }
}

pub(in crate::backend::mongo) fn sessions_of(
    user: &Username,
    except: Option<SessionId>,
) -> Document {
    let except = except.map(|id| id.to_string()).unwrap_or_default();
    doc! { "username": user.as_str(), "id": { "$ne": except } }
}
