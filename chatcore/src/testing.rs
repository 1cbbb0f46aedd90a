//! Messages and a model of ranges for the unit tests of several modules.

use crate::model::BatchMessage;
use crate::timestamp::Timestamp;
use crate::types::{Content, Message, Range, Seq};

/// Returns the message `seq` of the room "a". Its text is that number, its time ten microseconds
/// after the one before.
pub(crate) fn message(seq: i64) -> Message {
    Message {
        room: "a".parse().expect("a name"),
        seq: Seq::new(seq).expect("a seq"),
        timestamp: time(10 * seq),
        change: None,
        content: Some(content(&seq.to_string())),
    }
}

/// Returns the same message, before it is stored.
pub(crate) fn batch_message(seq: i64) -> BatchMessage {
    let Message { seq, timestamp, .. } = message(seq);
    BatchMessage {
        seq,
        timestamp,
        content: content(&seq.to_string()),
        nonce: None,
    }
}

/// Returns the time so many microseconds after the epoch.
pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("a time")
}

/// Returns a text by the guest "ann".
pub(crate) fn content(text: &str) -> Content {
    Content {
        sender: "ann".parse().expect("a name"),
        text: text.parse().expect("a text"),
        verified: false,
        reply_to: None,
        mentions: Vec::new(),
        edited_at: None,
        reactions: Vec::new(),
    }
}

/// Returns the messages of a range, worked out in the plainest way.
pub(crate) fn model(all: &[Message], range: Range, limit: usize) -> Vec<Message> {
    let (covered, oldest): (Vec<_>, bool) = match range {
        Range::Newest => (all.iter().collect(), false),
        Range::Before(seq) => (all.iter().filter(|m| m.seq < seq).collect(), false),
        Range::After(seq) => (all.iter().filter(|m| m.seq > seq).collect(), true),
        Range::Since(time) => (all.iter().filter(|m| m.timestamp > time).collect(), true),
    };
    let skipped = if oldest {
        0
    } else {
        covered.len().saturating_sub(limit)
    };

    covered
        .into_iter()
        .skip(skipped)
        .take(limit)
        .cloned()
        .collect()
}
