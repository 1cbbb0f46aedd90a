//! Users' counters, moved by a batch.
//!
//! A statement costs the server more than a document does, so all users whose counters move alike
//! share one. It cannot create a counter: a batch first assumes that every counter is there, and
//! creates those that turn out to be missing.

use std::collections::{BTreeMap, HashSet};

use mongodb::ClientSession;
use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, cstr, rawdoc};

use super::connection::Connection;
use super::{documents, find};
use crate::model::CountDelta;
use crate::types::Username;

/// Returns the fields that a delta increments. `deletions` tells a reader who adds slots up that
/// the counter went down meanwhile.
pub(super) fn increments(count: &CountDelta) -> RawDocumentBuf {
    let mut fields = rawdoc! { "message_count": count.sum() };
    if count.removed > 0 {
        fields.append(cstr!("deletions"), count.removed);
    }
    fields
}

/// Adds to the statements of an `update` command: counters that `filter` finds by `_id` are updated
/// as `update` says.
pub(super) fn add_statements(
    statements: &mut RawArrayBuf,
    counts: &[CountDelta],
    filter: impl Fn(RawBson) -> RawDocumentBuf,
    update: impl Fn(&CountDelta) -> RawDocumentBuf,
) {
    let mut alike: BTreeMap<(i64, i64), Vec<&CountDelta>> = BTreeMap::new();
    for count in counts {
        alike
            .entry((count.added, count.removed))
            .or_default()
            .push(count);
    }
    for counts in alike.into_values() {
        let users: RawArrayBuf = counts
            .iter()
            .map(|count| documents::user_id(&count.user))
            .collect();
        let any = RawBson::Document(rawdoc! { "$in": users });
        statements.push(rawdoc! { "q": filter(any), "u": update(counts[0]), "multi": true });
    }
}

/// Creates the counters that are missing, in a transaction whose update was `lacking` that many
/// documents. Returns false if it lacked something else.
pub(super) async fn create_missing(
    connection: &Connection,
    session: &mut ClientSession,
    counts: &[CountDelta],
    lacking: usize,
    document: impl Fn(&CountDelta) -> RawDocumentBuf,
) -> mongodb::error::Result<bool> {
    let present = connection
        .find_in(find::counters(counts), session, documents::counted)
        .await?;
    let present: HashSet<Username> = present.into_iter().collect();
    if counts.len() - present.len() != lacking {
        return Ok(false);
    }

    let missing = counts.iter().filter(|count| !present.contains(&count.user));
    let missing: RawArrayBuf = missing.map(document).collect();
    let made = connection
        .write(
            rawdoc! { "insert": "counters", "documents": missing },
            Some(session),
        )
        .await?;
    Ok(made.duplicate.is_none())
}
