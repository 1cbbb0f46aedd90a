//! Users' counts: each is the sum of a counter and of the user's number in every tally.

use std::collections::HashMap;

use mongodb::bson::RawDocument;

use super::documents::{TALLIES, corrupt, tally_field};
use super::find;
use super::store::Store;
use crate::error::{Error, Result};
use crate::types::Username;

/// Reads of a count that a flush may come between. One flush is rare; as many as this are none.
const MAX_READS: u32 = 16;

impl Store {
    /// Counts the messages of each of these users, in the same order.
    pub(super) async fn message_counts(&self, users: &[Username]) -> Result<Vec<u64>> {
        let tallies = if self.deployment.reads_tallies() {
            TALLIES
        } else {
            0
        };
        let mut counts = vec![None; users.len()];
        // Parts only grow, so their sum was true at some moment of the read, as long as the counter
        // did not go down meanwhile.
        let mut deletions = vec![0; users.len()];
        for _ in 0..MAX_READS {
            let mut parts = Parts::of(users);
            self.connection
                .find(find::counts(users, tallies), |document| parts.add(document))
                .await?;
            for (at, parts) in parts.of_each().enumerate() {
                let before = std::mem::replace(&mut deletions[at], count_deletions(parts));
                let is_steady = deletions[at] == before || tallies == 0;
                counts[at] = counts[at].or_else(|| sum(parts).filter(|_| is_steady));
            }
            if let Some(counts) = counts.iter().copied().collect() {
                return Ok(counts);
            }
        }
        Err(Error::Unavailable(
            "a counter holds more of a tally than the tally says".into(),
        ))
    }
}

/// Part of a user's count.
enum Part {
    Tally {
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

/// The parts of several users' counts, as one read finds them.
struct Parts<'a> {
    users: HashMap<&'a str, usize>,
    fields: HashMap<String, usize>,
    found: Vec<Vec<Part>>,
}

impl<'a> Parts<'a> {
    fn of(users: &'a [Username]) -> Self {
        let numbered = || users.iter().zip(0..);
        Self {
            users: numbered().map(|(user, at)| (user.as_str(), at)).collect(),
            fields: numbered()
                .map(|(user, at)| (tally_field(user), at))
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
            for (parts, n) in self.found.iter_mut().zip(counts) {
                parts.push(Part::Tally { slot, folds, n });
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
            self.found[*at].push(Part::Counter {
                n,
                folded,
                deletions,
            });
        }
        Ok(())
    }

    /// Returns the parts of each user's count.
    fn of_each(&self) -> impl Iterator<Item = &[Part]> {
        self.found.iter().map(Vec::as_slice)
    }
}

/// Returns how often the counter went down.
fn count_deletions(parts: &[Part]) -> i64 {
    let of = |part: &Part| {
        if let Part::Counter { deletions, .. } = part {
            *deletions
        } else {
            0
        }
    };
    parts.iter().map(of).sum()
}

/// Returns the count, unless a flush came between the parts.
fn sum(parts: &[Part]) -> Option<u64> {
    let mut total = 0;
    let mut folds = HashMap::new();
    for part in parts {
        match part {
            Part::Tally {
                slot,
                folds: number,
                n,
            } => {
                folds.insert(slot.to_string(), *number);
                total += n;
            }
            Part::Counter { n, folded, .. } => {
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
        let tally = |slot, folds, n| Part::Tally { slot, folds, n };
        let counter = |n, folded: &[(&str, i64)]| {
            let folded = folded
                .iter()
                .map(|(slot, number)| ((*slot).to_owned(), *number))
                .collect();
            Part::Counter {
                n,
                folded,
                deletions: 0,
            }
        };
        assert_eq!(sum(&[]), Some(0));
        assert_eq!(sum(&[tally(0, 3, 2)]), Some(2));
        assert_eq!(
            sum(&[tally(0, 3, 2), tally(7, 0, 1), counter(5, &[("0", 3)])]),
            Some(8)
        );
        assert_eq!(sum(&[tally(0, 3, 2), counter(7, &[("0", 4)])]), None);
        assert_eq!(sum(&[counter(7, &[("0", 4)])]), None);
    }
}
