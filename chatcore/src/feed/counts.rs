//! Message counts of users that were asked for lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::freshness::Generation;
use crate::types::Username;

/// The most users whose counts are kept. Beyond it all are forgotten, and asked for again.
const MAX_USERS: usize = 10_000;

#[derive(Debug)]
enum Count {
    Known(u64),
    /// Read by a question of a generation. A change meanwhile forgets the user, and then the answer
    /// is dropped.
    Asked(Generation),
}

/// Counts as the store has them. One that changes is forgotten, not moved, so that it does not
/// matter how often, or in which order, a change is published.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    users: HashMap<Username, Count>,
    generation: Generation,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, user: &Username) -> Option<u64> {
        match self.lock().users.get(user) {
            Some(Count::Known(count)) => Some(*count),
            _ => None,
        }
    }

    /// Begins a question to the store for the count of a user.
    pub(super) fn begin_question(&self, user: &Username) -> Generation {
        let mut known = self.lock();
        if known.users.len() >= MAX_USERS {
            known.users.clear();
        }
        let asked = known.generation.advance();
        known.users.insert(user.clone(), Count::Asked(asked));
        asked
    }

    /// Takes in the answer, unless the count changed since the question began.
    pub(super) fn learn(&self, user: &Username, asked: Generation, count: u64) {
        if let Some(kept) = self.lock().users.get_mut(user)
            && matches!(kept, Count::Asked(latest) if *latest == asked)
        {
            *kept = Count::Known(count);
        }
    }

    pub(super) fn forget<'a>(&self, users: impl IntoIterator<Item = &'a Username>) {
        let mut known = self.lock();
        if !known.users.is_empty() {
            for user in users {
                known.users.remove(user);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.lock().users.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_while_it_is_read_is_not_kept() {
        let counts = Counts::default();
        let ann = "ann".parse().expect("a name");
        let early = counts.begin_question(&ann);
        counts.forget([&ann]);
        counts.learn(&ann, early, 1);
        assert_eq!(counts.get(&ann), None);
        let (early, late) = (counts.begin_question(&ann), counts.begin_question(&ann));
        counts.learn(&ann, early, 1);
        assert_eq!(counts.get(&ann), None);
        counts.learn(&ann, late, 2);
        assert_eq!(counts.get(&ann), Some(2));
        counts.forget([&ann]);
        assert_eq!(counts.get(&ann), None);
    }

    #[test]
    fn counters_of_a_bounded_number_of_users_are_kept() {
        let counts = Counts::default();
        for i in 0..3 * MAX_USERS {
            let user = i.to_string().parse().expect("a name");
            let asked = counts.begin_question(&user);
            counts.learn(&user, asked, 1);
        }
        assert!(counts.lock().users.len() <= MAX_USERS);
    }
}
