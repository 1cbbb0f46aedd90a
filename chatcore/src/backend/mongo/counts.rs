//! Users' counts: each is the sum of a counter and of the pending counts in every slot.

use std::collections::HashMap;

use mongodb::bson::RawDocument;

use super::documents::{SLOTS, corrupt, slot_field};
use super::find;
use super::store::Store;
use crate::error::{Error, Result};
use crate::types::Username;

/// Reads of a count that a flush may come between. One flush is rare; as many as this are none.
const MAX_READS: u32 = 16;

impl Store {
    /// Counts the messages of each of these users, in the same order.
    pub(super) async fn message_counts(&self, users: &[Username]) -> Result<Vec<u64>> {
        let slots = if self.deployment.reads_slots() {
            SLOTS
        } else {
            0
        };
        let mut counts = vec![None; users.len()];
        // Terms only grow, so their sum was true at some moment of the read, as long as the counter
        // did not go down meanwhile.
        let mut deletions = vec![0; users.len()];
        for _ in 0..MAX_READS {
            let mut terms = Terms::of(users);
            self.connection
                .find(find::counts(users, slots), |document| terms.add(document))
                .await?;
            for (at, terms) in terms.of_each().enumerate() {
                let before = std::mem::replace(&mut deletions[at], count_deletions(terms));
                let is_steady = deletions[at] == before || slots == 0;
                counts[at] = counts[at].or_else(|| sum(terms).filter(|_| is_steady));
            }
            if let Some(counts) = counts.iter().copied().collect() {
                return Ok(counts);
            }
        }
        Err(Error::Unavailable(
            "a counter holds more of a slot than the slot says".into(),
        ))
    }
}

/// One term of a user's count.
enum Term {
    Pending {
        slot: i32,
        folds: i64,
        n: i64,
    },
    Counter {
        n: i64,
        folded: HashMap<String, i64>,
        deletions: i64,
    },
}

/// The terms of several users' counts, as one read finds them.
struct Terms<'a> {
    users: HashMap<&'a str, usize>,
    fields: HashMap<String, usize>,
    found: Vec<Vec<Term>>,
}

impl<'a> Terms<'a> {
    fn of(users: &'a [Username]) -> Self {
        let numbered = || users.iter().zip(0..);
        Self {
            users: numbered().map(|(user, at)| (user.as_str(), at)).collect(),
            fields: numbered()
                .map(|(user, at)| (slot_field(user), at))
                .collect(),
            found: users.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Reads a document that [`find::counts`] finds for these users.
    fn add(&mut self, document: &RawDocument) -> Result<()> {
        let id = document.get_document("_id").map_err(corrupt)?;
        if let Ok(slot) = id.get_i32("tally") {
            let folds = document.get_i64("folds").unwrap_or(0);
            let mut counts = vec![0; self.found.len()];
            for entry in document.get_document("counts").into_iter().flatten() {
                let (field, n) = entry.map_err(corrupt)?;
                if let Some(at) = self.fields.get(field.as_str()) {
                    counts[*at] = n.as_i64().unwrap_or(0);
                }
            }
            for (terms, n) in self.found.iter_mut().zip(counts) {
                terms.push(Term::Pending { slot, folds, n });
            }
            return Ok(());
        }
        let user = id.get_str("user").map_err(corrupt)?;
        let mut folded = HashMap::new();
        for entry in document.get_document("folded").into_iter().flatten() {
            let (slot, number) = entry.map_err(corrupt)?;
            folded.insert(slot.as_str().to_owned(), number.as_i64().unwrap_or(0));
        }
        let n = document.get_i64("message_count").map_err(corrupt)?;
        let deletions = document.get_i64("deletions").unwrap_or(0);
        if let Some(at) = self.users.get(user) {
            self.found[*at].push(Term::Counter {
                n,
                folded,
                deletions,
            });
        }
        Ok(())
    }

    /// Returns the terms of each user's count.
    fn of_each(&self) -> impl Iterator<Item = &[Term]> {
        self.found.iter().map(Vec::as_slice)
    }
}

/// Returns how often the counter went down.
fn count_deletions(terms: &[Term]) -> i64 {
    let of = |term: &Term| {
        if let Term::Counter { deletions, .. } = term {
            *deletions
        } else {
            0
        }
    };
    terms.iter().map(of).sum()
}

/// Returns the count, unless a flush came between the terms.
fn sum(terms: &[Term]) -> Option<u64> {
    let mut total = 0;
    let mut folds = HashMap::new();
    for term in terms {
        match term {
            Term::Pending {
                slot,
                folds: number,
                n,
            } => {
                folds.insert(slot.to_string(), *number);
                total += n;
            }
            Term::Counter { n, folded, .. } => {
                if folded
                    .iter()
                    .any(|(slot, number)| folds.get(slot).is_none_or(|seen| seen < number))
                {
                    return None;
                }
                total += n;
            }
        }
    }
    Some(total.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_between_the_parts_is_noticed() {
        let pending = |slot, folds, n| Term::Pending { slot, folds, n };
        let counter = |n, folded: &[(&str, i64)]| {
            let folded = folded
                .iter()
                .map(|(slot, number)| ((*slot).to_owned(), *number))
                .collect();
            Term::Counter {
                n,
                folded,
                deletions: 0,
            }
        };
        assert_eq!(sum(&[]), Some(0));
        assert_eq!(sum(&[pending(0, 3, 2)]), Some(2));
        assert_eq!(
            sum(&[pending(0, 3, 2), pending(7, 0, 1), counter(5, &[("0", 3)])]),
            Some(8)
        );
        assert_eq!(sum(&[pending(0, 3, 2), counter(7, &[("0", 4)])]), None);
        assert_eq!(sum(&[counter(7, &[("0", 4)])]), None);
    }
}
