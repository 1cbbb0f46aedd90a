//! Progress in the rooms that are followed, which decides what of the server's answers is new.

use std::collections::{BTreeMap, HashMap};

use super::subscription::{Position, Subscription};
use crate::wire::Message;

/// Messages of a room that are remembered because they came with changes that are still to be told.
/// Where there are more, a change may be told although the message came with it.
const MAX_AHEAD: usize = 10_000;

/// Progress in one room.
#[derive(Debug)]
pub(super) struct Progress {
    after: Option<i64>,
    changes_after: Option<i64>,
    /// Messages that were given in a state that changes after `changes_after` made: their last
    /// change by their `seq`. Those changes are not given again.
    ahead: HashMap<i64, i64>,
}

/// Result of the arrival of a message or a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is to be given.
    New,
    /// It was given before, or its effect was.
    Known,
    /// Something before it is missing.
    Gap,
}

impl Progress {
    /// The `seq` to begin after; `None` to begin with what comes next.
    pub(super) fn after(&self) -> Option<i64> {
        self.after
    }

    /// The change to begin after; `None` to begin with what changes next.
    pub(super) fn changes_after(&self) -> Option<i64> {
        self.changes_after
    }

    /// Begins where the server says that it begins, unless the position is known already.
    pub(super) fn begin(&mut self, last_seq: i64, last_change: i64) -> Position {
        Position {
            seq: *self.after.get_or_insert(last_seq),
            change: *self.changes_after.get_or_insert(last_change),
        }
    }

    pub(super) fn message(&mut self, message: &Message) -> Arrival {
        let expected = self.after.unwrap_or_default() + 1;
        if message.seq < expected {
            return Arrival::Known;
        }
        if message.seq > expected {
            return Arrival::Gap;
        }

        self.after = Some(message.seq);
        let change = message.change.unwrap_or_default();
        if change > self.changes_after.unwrap_or_default() && self.ahead.len() < MAX_AHEAD {
            self.ahead.insert(message.seq, change);
        }
        Arrival::New
    }

    pub(super) fn changed(&mut self, message: &Message) -> Arrival {
        let change = message.change.unwrap_or_default();
        if change <= self.changes_after.unwrap_or_default() {
            return Arrival::Known;
        }
        if message.seq > self.after.unwrap_or_default() {
            return Arrival::Gap;
        }

        self.changes_after = Some(change);
        let is_given = self
            .ahead
            .get(&message.seq)
            .is_some_and(|given| *given >= change);
        self.ahead.retain(|_, given| *given > change);
        if is_given {
            Arrival::Known
        } else {
            Arrival::New
        }
    }

    pub(super) fn resync(&mut self, last_change: i64) {
        self.changes_after = Some(last_change);
        self.ahead.retain(|_, given| *given > last_change);
    }
}

impl From<&Subscription> for Progress {
    fn from(subscription: &Subscription) -> Self {
        Self {
            after: subscription.after,
            changes_after: subscription.changes_after,
            ahead: HashMap::new(),
        }
    }
}

/// The rooms that are followed, by name.
pub(super) type Rooms = BTreeMap<String, Progress>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(seq: i64, change: Option<i64>) -> Message {
        let mut message = json!({
            "room": "a", "seq": seq, "sender": "ann", "text": "x",
            "timestamp": "2026-11-22T20:07:52.743123Z", "verified": true,
        });
        if let Some(change) = change {
            message["change"] = change.into();
        }
        serde_json::from_value(message).expect("a message")
    }

    fn progress(seq: i64, change: i64) -> Progress {
        Progress::from(&Subscription::resume("a", Position { seq, change }))
    }

    #[test]
    fn each_message_is_new_once_and_in_order() {
        let mut progress = progress(4, 0);
        assert_eq!(progress.message(&message(4, None)), Arrival::Known);
        assert_eq!(progress.message(&message(6, None)), Arrival::Gap);
        let fifth = message(5, None);
        assert_eq!(progress.message(&fifth), Arrival::New);
        assert_eq!(progress.message(&fifth), Arrival::Known);
    }

    #[test]
    fn a_change_is_not_given_after_a_message_that_came_with_it() {
        let mut progress = progress(4, 2);
        assert!(matches!(
            progress.message(&message(5, Some(6))),
            Arrival::New
        ));
        // An older state must not replace the newer one, and the same one is given already.
        assert_eq!(progress.changed(&message(5, Some(3))), Arrival::Known);
        assert!(matches!(
            progress.changed(&message(4, Some(4))),
            Arrival::New
        ));
        assert_eq!(progress.changed(&message(5, Some(6))), Arrival::Known);
        assert!(matches!(
            progress.changed(&message(5, Some(7))),
            Arrival::New
        ));
        assert!(progress.ahead.is_empty());
        assert_eq!(progress.changes_after(), Some(7));
    }

    #[test]
    fn a_change_waits_for_its_message() {
        let mut progress = progress(4, 2);
        assert_eq!(progress.changed(&message(5, Some(3))), Arrival::Gap);
        assert_eq!(progress.changes_after(), Some(2));
        assert!(matches!(
            progress.message(&message(5, Some(3))),
            Arrival::New
        ));
        assert_eq!(progress.changed(&message(5, Some(3))), Arrival::Known);
        assert_eq!(progress.changes_after(), Some(3));
    }

    #[test]
    fn a_room_begins_where_the_server_says_unless_the_position_is_known() {
        let mut now = Progress::from(&Subscription::from_now("a"));
        assert_eq!(now.begin(7, 3), Position { seq: 7, change: 3 });
        let mut after = Progress::from(&Subscription::after("a", 5));
        assert_eq!(after.begin(7, 3), Position { seq: 5, change: 3 });
        assert_eq!(after.begin(9, 9), Position { seq: 5, change: 3 });
    }
}
