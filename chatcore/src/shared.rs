//! A message as its readers hold it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::types::Message;

/// Number of encodings that a program may keep with a message, see [`SharedMessage::encoding`].
pub const MAX_ENCODINGS: usize = 4;

/// A stored message, shared by all who read it: a clone is another handle on the same one.
///
/// It reads like a [`Message`], and is written as JSON once, however many readers it has.
#[derive(Clone)]
pub struct SharedMessage(Arc<Inner>);

struct Inner {
    message: Message,
    json: OnceLock<Bytes>,
    encodings: [OnceLock<Bytes>; MAX_ENCODINGS],
}

impl SharedMessage {
    /// Returns the message as a JSON object with the fields of [`Message`].
    #[must_use]
    pub fn json(&self) -> &Bytes {
        self.0.json.get_or_init(|| {
            // A message is made of strings, numbers and booleans, which JSON always takes.
            serde_json::to_vec(&self.0.message)
                .unwrap_or_default()
                .into()
        })
    }

    /// Returns an encoding of the message for a protocol of the program, for instance a frame with
    /// an envelope. It is made once for each `SLOT`, below [`MAX_ENCODINGS`], however many readers
    /// the message has, so one slot must stand for one encoding in the whole program.
    ///
    /// ```
    /// use chatcore::{ChatStore, NewMessage};
    ///
    /// const SHOUTED: usize = 0;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let room = "general".parse()?;
    /// let post = NewMessage::new("general".parse()?, "ann".parse()?, "hello".parse()?);
    /// let posted = store.post(post).await?.message;
    /// let message = store.message(&room, posted.seq).await?;
    /// let shouted = message.encoding::<SHOUTED>(|message| {
    ///     message.text().unwrap_or_default().to_uppercase().into()
    /// });
    /// assert_eq!(shouted, "HELLO");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn encoding<const SLOT: usize>(&self, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        const { assert!(SLOT < MAX_ENCODINGS, "there are MAX_ENCODINGS slots") };
        self.0.encodings[SLOT].get_or_init(|| encode(self))
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
            encodings: Default::default(),
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

    #[test]
    fn each_encoding_is_made_once() {
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
        let encoded =
            |text: &'static str| shared.encoding::<1>(|_| Bytes::from_static(text.as_bytes()));
        assert_eq!(
            (encoded("first"), encoded("second")),
            (&Bytes::from("first"), &Bytes::from("first"))
        );
        assert_eq!(shared.json().as_ptr(), shared.clone().json().as_ptr());
    }
}
