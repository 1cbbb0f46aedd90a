//! Identity of the state of a message.

use chatcore::{ChangeSeq, Message, RoomName, Seq, Timestamp};
use sha2::{Digest as _, Sha256};

/// State of a message: two of one message are equal only if nothing changed in it.
///
/// The time is part of it, because a store that was restored from a copy may have another message
/// with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Revision {
    room: RoomName,
    seq: Seq,
    change: Option<ChangeSeq>,
    timestamp: Timestamp,
}

impl Revision {
    pub(crate) fn of(message: &Message) -> Self {
        Self {
            room: message.room.clone(),
            seq: message.seq,
            change: message.change,
            timestamp: message.timestamp,
        }
    }
}

/// Returns a hash of the states of messages, which answers that differ in anything have not in
/// common. It reads a few numbers of each message, so a long answer costs little.
pub(crate) fn hash<'a>(messages: impl IntoIterator<Item = &'a Message>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut room: Option<&RoomName> = None;
    for message in messages {
        // Names have no control characters, and numbers one length, so no two answers are one
        // sequence of bytes.
        if room != Some(&message.room) {
            room = Some(&message.room);
            hash.update(message.room.as_str());
            hash.update([0]);
        }
        let change = message.change.map_or(0, ChangeSeq::get);
        for number in [message.seq.get(), change, message.timestamp.as_micros()] {
            hash.update(number.to_le_bytes());
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(room: &str, seq: i64, change: i64, time: i64) -> Message {
        let room = serde_json::to_string(room).expect("JSON");
        let time = Timestamp::from_micros(time).expect("a time");
        let change = if change > 0 {
            format!(r#","change":{change}"#)
        } else {
            String::new()
        };
        let json = format!(
            r#"{{"room":{room},"seq":{seq},"sender":"","text":"","timestamp":"{time}","verified":false,"deleted":true{change}}}"#
        );
        serde_json::from_str(&json).expect("a message")
    }

    #[test]
    fn whatever_changes_in_a_message_changes_its_revision_and_the_hash_of_an_answer() {
        let all = [
            message("a", 1, 0, 1),
            message("b", 1, 0, 1),
            message("a", 2, 0, 1),
            message("a", 1, 1, 1),
            message("a", 1, 0, 2),
        ];
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert_eq!(Revision::of(one) == Revision::of(other), i == j);
                assert_eq!(hash([one]) == hash([other]), i == j);
                assert_eq!(hash([one, other]) == hash([other, one]), i == j);
            }
        }
        assert_ne!(hash([]), hash([&all[0]]));
    }
}
