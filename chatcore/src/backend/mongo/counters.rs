//! The statements that make users' counters grow.
//!
//! A statement costs the server more than a document does. Users whose counters are known to be
//! there share one statement for all who grow by the same number; only a new user needs an upsert.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};

use super::documents;
use crate::types::Username;

/// Users remembered.
const MOST: usize = 65_536;
/// Refusals in a row that other processes explain. More of them mean that a counter which should be
/// there is not, as after somebody emptied the database.
const REFUSALS: u32 = 8;

#[derive(Default)]
pub(super) struct Counters {
    /// Users whose counter is there. No counter is ever removed.
    known: Mutex<HashSet<Username>>,
    /// Batches refused since the last one that was stored.
    refused: AtomicU32,
}

impl Counters {
    /// Adds to the statements of an `update` command: those that `filter` finds by `_id` grow by
    /// `change`.
    pub(super) fn add_statements(
        &self,
        statements: &mut RawArrayBuf,
        counts: &[(Username, i64)],
        filter: impl Fn(RawBson) -> RawDocumentBuf,
        change: impl Fn(i64) -> RawDocumentBuf,
    ) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut together: BTreeMap<i64, RawArrayBuf> = BTreeMap::new();
        for (user, n) in counts {
            if known.contains(user) {
                together.entry(*n).or_default().push(documents::user_id(user));
            } else {
                statements.push(
                    rawdoc! { "q": filter(documents::user_id(user).into()), "u": change(*n), "upsert": true },
                );
            }
        }
        for (n, users) in together {
            let any = RawBson::Document(rawdoc! { "$in": users });
            statements.push(rawdoc! { "q": filter(any), "u": change(n), "multi": true });
        }
    }

    /// Takes note of counters that are there now.
    pub(super) fn remember(&self, counts: &[(Username, i64)]) {
        self.refused.store(0, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + counts.len() > MOST {
            known.clear();
        }
        for (user, _) in counts {
            if !known.contains(user) {
                known.insert(user.clone());
            }
        }
    }

    /// Looks at every counter as if it might not be there.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes note that a batch found less than it expected, most likely another head.
    pub(super) fn refused(&self) {
        if self.refused.fetch_add(1, Ordering::Relaxed) >= REFUSALS {
            self.forget();
        }
    }
}
