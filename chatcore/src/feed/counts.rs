//! The counters that were asked for lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::types::Username;

/// Users whose counters are kept. Beyond it all are forgotten, and asked for again.
const MAX_USERS: usize = 10_000;

/// A read of one counter that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading(u64);

#[derive(Debug)]
enum Count {
    Known(u64),
    /// Being read. What changes meanwhile forgets the user, and then the answer is not kept.
    Read(Reading),
}

/// Counters as the store has them. One that changes is forgotten, not counted up, so that it does
/// not matter how often, or in which order, a change is heard of.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    users: HashMap<Username, Count>,
    readings: u64,
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

    /// To be called before a counter is read.
    pub(super) fn begin(&self, user: &Username) -> Reading {
        let mut known = self.lock();
        if known.users.len() >= MAX_USERS {
            known.users.clear();
        }
        known.readings += 1;
        let reading = Reading(known.readings);
        known.users.insert(user.clone(), Count::Read(reading));
        reading
    }

    /// Keeps what was read, unless it changed since the reading began.
    pub(super) fn end(&self, user: &Username, reading: Reading, count: u64) {
        if let Some(kept) = self.lock().users.get_mut(user)
            && matches!(kept, Count::Read(latest) if *latest == reading)
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
        let early = counts.begin(&ann);
        counts.forget([&ann]);
        counts.end(&ann, early, 1);
        assert_eq!(counts.get(&ann), None);
        let (early, late) = (counts.begin(&ann), counts.begin(&ann));
        counts.end(&ann, early, 1);
        assert_eq!(counts.get(&ann), None);
        counts.end(&ann, late, 2);
        assert_eq!(counts.get(&ann), Some(2));
        counts.forget([&ann]);
        assert_eq!(counts.get(&ann), None);
    }

    #[test]
    fn counters_of_a_bounded_number_of_users_are_kept() {
        let counts = Counts::default();
        for i in 0..3 * MAX_USERS {
            let user = i.to_string().parse().expect("a name");
            let reading = counts.begin(&user);
            counts.end(&user, reading, 1);
        }
        assert!(counts.lock().users.len() <= MAX_USERS);
    }
}
