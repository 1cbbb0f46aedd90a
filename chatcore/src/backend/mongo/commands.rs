//! Write commands.

use std::collections::BTreeSet;

use mongodb::bson::raw::CString;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, rawdoc};

/// Write concern of a command that stays through a crash, where there is no transaction.
pub(super) fn journaled() -> RawDocumentBuf {
    rawdoc! { "w": 1, "j": true }
}

fn list(statement: RawDocumentBuf) -> RawArrayBuf {
    let mut statements = RawArrayBuf::new();
    statements.push(statement);
    statements
}

/// Returns a command that inserts one document.
pub(super) fn insert(collection: &str, document: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "insert": collection, "documents": list(document) }
}

/// Returns a command that inserts what is not there, unless there is nothing to insert.
pub(super) fn insert_all(collection: &str, documents: RawArrayBuf) -> Option<RawDocumentBuf> {
    (!documents.is_empty())
        .then(|| rawdoc! { "insert": collection, "documents": documents, "ordered": false })
}

/// Returns a command of one update statement.
pub(super) fn update(collection: &str, statement: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "update": collection, "updates": list(statement) }
}

/// Returns a command of several update statements, unless there are none.
pub(super) fn update_all(collection: &str, statements: RawArrayBuf) -> Option<RawDocumentBuf> {
    (!statements.is_empty()).then(|| rawdoc! { "update": collection, "updates": statements })
}

/// Returns a command that deletes all that matches.
pub(super) fn delete(collection: &str, filter: Document) -> mongodb::error::Result<RawDocumentBuf> {
    let statement = rawdoc! { "q": RawDocumentBuf::try_from(&filter)?, "limit": 0 };
    Ok(rawdoc! { "delete": collection, "deletes": list(statement) })
}

/// Returns a command of several delete statements, unless there are none.
pub(super) fn delete_all(collection: &str, statements: RawArrayBuf) -> Option<RawDocumentBuf> {
    (!statements.is_empty()).then(|| rawdoc! { "delete": collection, "deletes": statements })
}

/// Returns the statement that deletes documents, unless there are none. The first field of their
/// `_id` is `leading`, and tells the router of a sharded cluster where they are.
pub(super) fn delete_by_id(
    leading: &'static str,
    ids: RawArrayBuf,
) -> mongodb::error::Result<Option<RawDocumentBuf>> {
    let mut leaders = BTreeSet::new();
    for id in &ids {
        let field = id?.as_document().and_then(|id| id.iter().next());
        leaders.extend(field.transpose()?.and_then(|(_, leader)| leader.as_str()));
    }
    if leaders.is_empty() {
        return Ok(None);
    }

    let leaders: RawArrayBuf = leaders.into_iter().collect();
    let mut found = rawdoc! { "_id": { "$in": ids.clone() } };
    found.append(
        CString::try_from(leading.to_owned())?,
        rawdoc! { "$in": leaders },
    );
    Ok(Some(rawdoc! { "q": found, "limit": 0, "hint": by_id() }))
}

/// Returns the hint that saves the server the search for the best index.
pub(super) fn by_id() -> RawDocumentBuf {
    rawdoc! { "_id": 1 }
}
