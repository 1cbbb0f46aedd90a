//! Messages: to be stored, and stored.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{ChangeSeq, MessageText, Nonce, Reaction, RoomName, Seq, Username};
use crate::error::Invalid;
use crate::timestamp::Timestamp;

/// The most users that one message mentions.
pub const MAX_MENTIONS: usize = 20;

/// A message to be stored.
///
/// ```
/// use chatcore::NewMessage;
///
/// let post = NewMessage::new("general".parse()?, "ann".parse()?, "hello".parse()?)
///     .with_nonce("1f3c".parse()?);
/// assert!(post.may_create_room && !post.verified);
/// # Ok::<(), chatcore::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The room that it goes to. It is created by its first message, if that may do so.
    pub room: RoomName,
    /// The user who writes it, who becomes a member of the room.
    pub sender: Username,
    /// The text.
    pub text: MessageText,
    /// Makes a repeat of this post harmless.
    pub nonce: Option<Nonce>,
    /// True if the sender has proved to own the account of that name.
    pub verified: bool,
    /// The earlier message of the same room that it replies to.
    pub reply_to: Option<Seq>,
    /// True if the post creates its room if need be. Otherwise a post to a room that does not exist
    /// fails with [`Error::RoomNotFound`](crate::Error::RoomNotFound).
    pub may_create_room: bool,
}

impl NewMessage {
    /// Returns a message without a nonce, of a sender who has proved nothing, that may create its
    /// room.
    #[must_use]
    pub fn new(room: RoomName, sender: Username, text: MessageText) -> Self {
        Self {
            room,
            sender,
            text,
            nonce: None,
            verified: false,
            reply_to: None,
            may_create_room: true,
        }
    }

    /// Returns the same message with a nonce.
    #[must_use]
    pub fn with_nonce(self, nonce: Nonce) -> Self {
        Self {
            nonce: Some(nonce),
            ..self
        }
    }

    /// Returns the same message as a reply to an earlier one.
    #[must_use]
    pub fn in_reply_to(self, seq: Seq) -> Self {
        Self {
            reply_to: Some(seq),
            ..self
        }
    }
}

/// A stored message, as it is after the last change to it. Its `seq` and its time never change.
///
/// Written and read as one flat JSON object: `room`, `seq`, `sender`, `text`, `timestamp`,
/// `verified`, and where they apply `reply_to`, `mentions`, `edited_at`, `reactions` and `change`.
/// Once it is deleted, `sender` and `text` are empty, `verified` is false, and `deleted` is true.
///
/// ```
/// let json = r#"{"room":"general","seq":1,"sender":"ann","text":"hello",
///     "timestamp":"2026-11-22T20:07:52.743123Z","verified":true}"#;
/// let message: chatcore::Message = serde_json::from_str(json)?;
/// assert_eq!(message.text(), Some("hello"));
/// assert!(message.is_verified() && !message.is_deleted());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FlatMessage")]
#[non_exhaustive]
pub struct Message {
    /// The room that it is in.
    pub room: RoomName,
    /// The number of the message in its room.
    pub seq: Seq,
    /// The time at which it was stored. Strictly increases with `seq` within a room.
    pub timestamp: Timestamp,
    /// The number of the last change to it, if there was one.
    pub change: Option<ChangeSeq>,
    /// Its sender, its text and everything that depends on them; `None` once it is deleted.
    pub content: Option<Content>,
}

/// The part of a message that goes when it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Content {
    /// The user who wrote it.
    pub sender: Username,
    /// The text.
    pub text: MessageText,
    /// True if the sender had proved to own the account of that name.
    pub verified: bool,
    /// The earlier message of the same room that it replies to.
    pub reply_to: Option<Seq>,
    /// The users whom its text names as `@name`, in the order of the text: at most
    /// [`MAX_MENTIONS`].
    pub mentions: Vec<Username>,
    /// The time at which its text was last replaced.
    pub edited_at: Option<Timestamp>,
    /// Reactions to it, in the order in which each emoji first came: at most
    /// [`MAX_REACTIONS`](crate::MAX_REACTIONS).
    pub reactions: Vec<Reaction>,
}

impl Message {
    /// Returns the user who wrote it; `None` once it is deleted.
    #[must_use]
    pub fn sender(&self) -> Option<&Username> {
        self.content.as_ref().map(|content| &content.sender)
    }

    /// Returns its text; `None` once it is deleted.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.content.as_ref().map(|content| content.text.as_str())
    }

    /// Returns true if its sender had proved to own the account of that name, and it is not
    /// deleted.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.verified)
    }

    /// Returns true once it is deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.content.is_none()
    }

    /// Returns the users whom it mentions.
    #[must_use]
    pub fn mentions(&self) -> &[Username] {
        self.content
            .as_ref()
            .map_or(&[], |content| &content.mentions)
    }

    /// Returns about how many bytes of memory it takes, its JSON included.
    pub(crate) fn weight(&self) -> usize {
        const FIXED: usize = 640;
        const NAME: usize = 64;

        let Some(content) = &self.content else {
            return FIXED;
        };
        let listed: usize = content
            .reactions
            .iter()
            .map(|reaction| 1 + reaction.users.len())
            .sum();
        FIXED + 3 * content.text.as_str().len() + NAME * (content.mentions.len() + listed)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // JSON takes no notice of the number of fields.
        let mut fields = serializer.serialize_struct("Message", 6)?;
        fields.serialize_field("room", &self.room)?;
        fields.serialize_field("seq", &self.seq)?;
        fields.serialize_field("sender", self.sender().map_or("", Username::as_str))?;
        fields.serialize_field("text", self.text().unwrap_or_default())?;
        fields.serialize_field("timestamp", &self.timestamp)?;
        fields.serialize_field("verified", &self.is_verified())?;
        match &self.content {
            Some(content) => serialize_optional::<S>(content, &mut fields)?,
            None => fields.serialize_field("deleted", &true)?,
        }
        if let Some(change) = self.change {
            fields.serialize_field("change", &change)?;
        }
        fields.end()
    }
}

/// Writes the fields of a message that are left out where they do not apply.
fn serialize_optional<S: Serializer>(
    content: &Content,
    fields: &mut S::SerializeStruct,
) -> Result<(), S::Error> {
    if let Some(reply_to) = content.reply_to {
        fields.serialize_field("reply_to", &reply_to)?;
    }
    if !content.mentions.is_empty() {
        fields.serialize_field("mentions", &content.mentions)?;
    }
    if let Some(edited_at) = content.edited_at {
        fields.serialize_field("edited_at", &edited_at)?;
    }
    if !content.reactions.is_empty() {
        fields.serialize_field("reactions", &content.reactions)?;
    }
    Ok(())
}

/// A message as JSON has it.
#[derive(Deserialize)]
struct FlatMessage {
    room: RoomName,
    seq: Seq,
    sender: String,
    text: String,
    timestamp: Timestamp,
    verified: bool,
    reply_to: Option<Seq>,
    #[serde(default)]
    mentions: Vec<Username>,
    edited_at: Option<Timestamp>,
    #[serde(default)]
    reactions: Vec<Reaction>,
    #[serde(default)]
    deleted: bool,
    change: Option<ChangeSeq>,
}

impl TryFrom<FlatMessage> for Message {
    type Error = Invalid;

    fn try_from(flat: FlatMessage) -> Result<Self, Invalid> {
        let content = match flat.deleted {
            true => None,
            false => Some(Content {
                sender: flat.sender.parse()?,
                text: flat.text.parse()?,
                verified: flat.verified,
                reply_to: flat.reply_to,
                mentions: flat.mentions,
                edited_at: flat.edited_at,
                reactions: flat.reactions,
            }),
        };

        Ok(Self {
            room: flat.room,
            seq: flat.seq,
            timestamp: flat.timestamp,
            change: flat.change,
            content,
        })
    }
}

/// The answer to a post.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Posted {
    /// The message as it is stored.
    pub message: Message,
    /// True if it was stored already: an earlier post carried the same nonce.
    pub repeated: bool,
    /// True if this post created the room.
    pub created_room: bool,
}
