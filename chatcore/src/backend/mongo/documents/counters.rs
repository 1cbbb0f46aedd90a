//! Counters of users, and slots.

use mongodb::bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::fields::{corrupt, text};
use crate::error::Result;
use crate::types::Username;

/// Number of slots. More processes than that share them, and get in each other's way.
pub(in crate::backend::mongo) const SLOTS: i32 = 32;

/// Returns the `_id` of a user's counter.
pub(in crate::backend::mongo) fn user_id(user: &Username) -> RawDocumentBuf {
    rawdoc! { "user": user.as_str() }
}

/// Returns the `_id` of a slot.
pub(in crate::backend::mongo) fn slot_id(slot: i32) -> RawDocumentBuf {
    rawdoc! { "tally": slot }
}

/// Returns the name of a user's field in a slot. A dot would name a field within a field, and a
/// dollar sign stands for more in an update.
pub(in crate::backend::mongo) fn slot_field(user: &Username) -> String {
    user.as_str()
        .replace('%', "%25")
        .replace('.', "%2E")
        .replace('$', "%24")
}

/// Returns the user of a field in a slot.
pub(in crate::backend::mongo) fn user_of_slot_field(field: &str) -> Result<Username> {
    let name = field
        .replace("%24", "$")
        .replace("%2E", ".")
        .replace("%25", "%");
    name.parse().map_err(corrupt)
}

/// Reads the user of a counter.
pub(in crate::backend::mongo) fn counted(document: &RawDocument) -> Result<Username> {
    text(document.get_document("_id").map_err(corrupt)?, "user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_names_one_user() {
        for (name, expected) in [
            ("ann", "ann"),
            ("a.b", "a%2Eb"),
            ("$x", "%24x"),
            ("a%2Eb", "a%252Eb"),
        ] {
            assert_eq!(slot_field(&name.parse().expect("a name")), expected);
            assert_eq!(user_of_slot_field(expected).expect("a name").as_str(), name);
        }
    }
}
