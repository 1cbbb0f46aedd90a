//! Users' counters, moved by a batch.
//!
//! A statement costs the server more than a document does, so all users who grow by the same number
//! share one. It cannot create a counter: a batch first assumes that every counter is there, and
//! creates those that turn out to be missing.

use std::collections::{BTreeMap, HashSet};

use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};

use super::documents;
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

/// Documents of the counters that are not among `present`.
pub(super) fn missing(
    counts: &[(Username, i64)],
    present: &HashSet<Username>,
    document: impl Fn(&Username, i64) -> RawDocumentBuf,
) -> RawArrayBuf {
    let missing = counts.iter().filter(|(user, _)| !present.contains(user));
    missing.map(|(user, n)| document(user, *n)).collect()
}
