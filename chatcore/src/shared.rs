//! A message as its readers hold it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::types::Message;

/// Beginnings of the two tagged forms of a message.
const NEW: &[u8] = br#"{"type":"message","#;
const CHANGED: &[u8] = br#"{"type":"changed","#;

/// Bytes of a digest: enough of a hash that nobody finds two messages that share it.
const DIGEST: usize = 16;

/// A stored message, shared by all who read it: a clone is another handle on the same one.
///
/// It reads like a [`Message`], and is written as JSON once, however many readers it has.
#[derive(Clone)]
pub struct SharedMessage(Arc<Inner>);

struct Inner {
    message: Message,
    json: OnceLock<Bytes>,
    tagged: OnceLock<Bytes>,
    tagged_as_changed: OnceLock<Bytes>,
    digest: OnceLock<[u8; DIGEST]>,
}

impl SharedMessage {
    /// The message as a JSON object with the fields of [`Message`].
    #[must_use]
    pub fn json(&self) -> &Bytes {
        self.0.json.get_or_init(|| {
            // A message is made of strings, numbers and booleans, which JSON always takes.
            serde_json::to_vec(&self.0.message)
                .unwrap_or_default()
                .into()
        })
    }

    /// The same object with `"type": "message"` before its fields, for channels that carry more
    /// than messages.
    #[must_use]
    pub fn tagged_json(&self) -> &Bytes {
        self.0.tagged.get_or_init(|| self.tagged_with(NEW))
    }

    /// The same object with `"type": "changed"` before its fields, for a message that was given
    /// before.
    #[must_use]
    pub fn tagged_json_as_changed(&self) -> &Bytes {
        self.0
            .tagged_as_changed
            .get_or_init(|| self.tagged_with(CHANGED))
    }

    fn tagged_with(&self, tag: &[u8]) -> Bytes {
        [tag, self.json().get(1..).unwrap_or_default()]
            .concat()
            .into()
    }

    /// A digest of [`json`](Self::json): two messages that differ in anything have two digests.
    #[must_use]
    pub fn digest(&self) -> &[u8; DIGEST] {
        self.0.digest.get_or_init(|| {
            let mut digest = [0; DIGEST];
            digest.copy_from_slice(&Sha256::digest(self.json())[..DIGEST]);
            digest
        })
    }

    /// About how many bytes of memory the message takes, its JSON included.
    pub(crate) fn weight(&self) -> usize {
        self.0.message.weight()
    }
}

impl From<Message> for SharedMessage {
    fn from(message: Message) -> Self {
        Self(Arc::new(Inner {
            message,
            json: OnceLock::new(),
            tagged: OnceLock::new(),
            tagged_as_changed: OnceLock::new(),
            digest: OnceLock::new(),
        }))
    }
}

impl Deref for SharedMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.0.message
    }
}

impl fmt::Debug for SharedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.message.fmt(f)
    }
}

impl PartialEq for SharedMessage {
    fn eq(&self, other: &Self) -> bool {
        self.0.message == other.0.message
    }
}

impl Eq for SharedMessage {}

impl PartialEq<Message> for SharedMessage {
    fn eq(&self, other: &Message) -> bool {
        self.0.message == *other
    }
}

impl PartialEq<SharedMessage> for Message {
    fn eq(&self, other: &SharedMessage) -> bool {
        *self == other.0.message
    }
}

impl Serialize for SharedMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.message.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::types::Content;

    #[test]
    fn both_forms_are_json_and_written_once() {
        let (room, content) = (
            "a \"b\"".parse().expect("a name"),
            Some(testing::content("x\n</script>")),
        );
        let message = Message {
            room,
            content,
            ..testing::message(1)
        };
        let shared = SharedMessage::from(message.clone());
        let json: serde_json::Value = serde_json::from_slice(shared.json()).expect("JSON");
        assert_eq!(json, serde_json::to_value(&message).expect("JSON"));
        let mut tagged: serde_json::Value =
            serde_json::from_slice(shared.tagged_json()).expect("JSON");
        let tag = tagged
            .as_object_mut()
            .and_then(|fields| fields.remove("type"));
        assert_eq!((tag, tagged), (Some("message".into()), json));
        assert_eq!(shared.json().as_ptr(), shared.clone().json().as_ptr());
    }

    #[test]
    fn whatever_changes_in_a_message_changes_its_digest() {
        let message = testing::message(1);
        let content = testing::content("1");
        let digest = |message: Message| *SharedMessage::from(message).digest();
        let mut all = vec![
            digest(message.clone()),
            digest(Message {
                room: "b".parse().expect("a name"),
                ..message.clone()
            }),
            digest(Message {
                seq: message.seq.next(),
                ..message.clone()
            }),
            digest(Message {
                timestamp: testing::time(1),
                ..message.clone()
            }),
            digest(Message {
                content: None,
                ..message.clone()
            }),
            digest(Message {
                change: crate::types::ChangeSeq::new(1),
                ..message.clone()
            }),
        ];
        let contents = [
            Content {
                sender: "bob".parse().expect("a name"),
                ..content.clone()
            },
            Content {
                text: "y".parse().expect("a text"),
                ..content.clone()
            },
            Content {
                verified: true,
                ..content
            },
        ];
        all.extend(contents.map(|content| {
            digest(Message {
                content: Some(content),
                ..message.clone()
            })
        }));
        assert_eq!(digest(message.clone()), all[0]);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
    }
}
