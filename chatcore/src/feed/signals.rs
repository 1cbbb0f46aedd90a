//! Signals of one room: the topic that was set last, and who types. They wake followers and are
//! kept only for them.

use std::time::{Duration, Instant};

use crate::types::{Topic, Username};

/// Time for which a user who typed counts as typing.
const TYPING: Duration = Duration::from_secs(5);
/// The shortest time between two signals that the same user types.
const TYPING_PAUSE: Duration = Duration::from_secs(1);
/// The most users who type at once.
const MAX_TYPING: usize = 100;

/// A user who typed.
struct Typist {
    user: Username,
    at: Instant,
    number: u64,
}

/// Signals of one room. Each is numbered, so that a follower asks for those after the last one it
/// saw.
#[derive(Default)]
pub(super) struct Signals {
    topic: Option<Topic>,
    topic_number: u64,
    typists: Vec<Typist>,
    typing_number: u64,
}

/// A signal, and the number to ask with next time.
pub(crate) struct Numbered<T> {
    pub(crate) number: u64,
    pub(crate) value: T,
}

impl Signals {
    pub(super) fn set_topic(&mut self, topic: Topic) {
        self.topic_number += 1;
        self.topic = Some(topic);
    }

    /// Returns the number of the last topic that was set.
    pub(super) fn topic_number(&self) -> u64 {
        self.topic_number
    }

    /// Returns the topic, if it was set after the one numbered `seen`.
    pub(super) fn topic_after(&self, seen: u64) -> Option<Numbered<Topic>> {
        let value = self.topic.clone().filter(|_| self.topic_number != seen)?;
        Some(Numbered {
            number: self.topic_number,
            value,
        })
    }

    /// Takes note that a user types. Returns true if followers should be notified.
    pub(super) fn add_typing(&mut self, user: &Username, now: Instant) -> bool {
        self.typists.retain(|typist| now - typist.at < TYPING);
        match self.typists.iter().position(|typist| typist.user == *user) {
            Some(at) if now - self.typists[at].at < TYPING_PAUSE => return false,
            Some(at) => drop(self.typists.remove(at)),
            None if self.typists.len() >= MAX_TYPING => return false,
            None => {}
        }

        self.typing_number += 1;
        self.typists.push(Typist {
            user: user.clone(),
            at: now,
            number: self.typing_number,
        });
        true
    }

    /// Returns the users who typed after the signal numbered `seen`, if there was a later one.
    pub(super) fn typing_after(&self, seen: u64, now: Instant) -> Option<Numbered<Vec<Username>>> {
        if self.typing_number == seen {
            return None;
        }

        let is_new = |typist: &&Typist| typist.number > seen && now - typist.at < TYPING;
        let users = self.typists.iter().filter(is_new);
        Some(Numbered {
            number: self.typing_number,
            value: users.map(|typist| typist.user.clone()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Username {
        name.parse().expect(name)
    }

    #[test]
    fn typing_expires_and_is_not_repeated_at_once() {
        let now = Instant::now();
        let mut signals = Signals::default();
        assert!(signals.add_typing(&user("ann"), now));
        assert!(!signals.add_typing(&user("ann"), now));
        assert!(signals.add_typing(&user("ann"), now + TYPING_PAUSE));

        let typing = |signals: &Signals, seen, now| {
            let typing = signals.typing_after(seen, now)?;
            Some((typing.number, typing.value))
        };
        let later = now + TYPING_PAUSE;
        assert_eq!(typing(&signals, 0, later), Some((2, vec![user("ann")])));
        assert_eq!(typing(&signals, 2, later), None);
        assert_eq!(typing(&signals, 0, later + TYPING), Some((2, vec![])));

        let added = (0..1_000).filter(|i| signals.add_typing(&user(&i.to_string()), now + TYPING));
        assert!(added.count() <= MAX_TYPING);
    }

    #[test]
    fn a_topic_is_given_once() {
        let mut signals = Signals::default();
        assert!(signals.topic_after(0).is_none());
        for topic in ["first", "second"] {
            signals.set_topic(topic.parse().expect(topic));
        }
        let topic = signals.topic_after(0).expect("a topic");
        assert_eq!(topic.value.to_string(), "second");
        assert_eq!(topic.number, signals.topic_number());
        assert!(signals.topic_after(topic.number).is_none());
    }
}
