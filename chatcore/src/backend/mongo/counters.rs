//! Users' counters, moved by a batch.
//!
//! A statement costs the server more than a document does, so all users who grow by the same number
//! share one. It cannot create a counter: a batch first assumes that every counter is there, and
//! creates those that turn out to be missing.

use std::collections::{BTreeMap, HashSet};

use mongodb::ClientSession;
use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};

use super::{Inner, documents, find};
use crate::types::Username;

/// Adds to the statements of an `update` command: counters that `filter` finds by `_id` grow by
/// `change`.
pub(super) fn add_statements(
    statements: &mut RawArrayBuf,
    counts: &[(Username, i64)],
    filter: impl Fn(RawBson) -> RawDocumentBuf,
    change: impl Fn(i64) -> RawDocumentBuf,
) {
    let mut together: BTreeMap<i64, RawArrayBuf> = BTreeMap::new();
    for (user, n) in counts {
        together.entry(*n).or_default().push(documents::user_id(user));
    }
    for (n, users) in together {
        let any = RawBson::Document(rawdoc! { "$in": users });
        statements.push(rawdoc! { "q": filter(any), "u": change(n), "multi": true });
    }
}

/// Creates the counters that are missing, in a transaction whose update was `lacking` that many
/// documents. Returns false if it lacked something else.
pub(super) async fn create_missing(
    mongo: &Inner,
    session: &mut ClientSession,
    counts: &[(Username, i64)],
    lacking: usize,
    document: impl Fn(&Username, i64) -> RawDocumentBuf,
) -> mongodb::error::Result<bool> {
    let present = mongo.find_in(find::counters(counts), session, documents::counted).await?;
    let present: HashSet<Username> = present.into_iter().collect();
    if counts.len() - present.len() != lacking {
        return Ok(false);
    }

    let missing = counts.iter().filter(|(user, _)| !present.contains(user));
    let missing: RawArrayBuf = missing.map(|(user, n)| document(user, *n)).collect();
    let made = mongo.write(rawdoc! { "insert": "counters", "documents": missing }, Some(session)).await?;
    Ok(made.duplicate.is_none())
}
