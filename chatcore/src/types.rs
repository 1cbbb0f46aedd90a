//! The values of the domain. Parsing is the only way to one: a value that exists is valid.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use crate::error::Invalid;
use crate::timestamp::Timestamp;

/// The most characters in a room name or a username.
pub const MAX_NAME_CHARS: usize = 64;
/// The most characters in the text of a message.
pub const MAX_TEXT_CHARS: usize = 4_000;
/// The most characters in a nonce.
pub const MAX_NONCE_CHARS: usize = 64;
/// The most characters in the topic of a room.
pub const MAX_TOPIC_CHARS: usize = 200;
/// The number of a user's newest mentions among which unread ones are counted.
pub const MAX_COUNTED_MENTIONS: u32 = 1_000;
/// The most users that one message mentions.
pub const MAX_MENTIONS: usize = 20;
/// The most different emoji on one message.
pub const MAX_REACTIONS: usize = 20;
/// The most users that are listed with one reaction.
pub const MAX_REACTION_USERS: usize = 10;

/// Declares a cheaply cloned, validated string type.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The value as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let parse: fn(&str) -> Result<Arc<str>, Invalid> = $parse;
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

text_type! {
    /// The name of a room: 1 to 64 characters after Unicode NFC, case-sensitive. No control
    /// characters, no `/`, no white space at either end, not `.` or `..`.
    RoomName, |text| name("room", text)
}

text_type! {
    /// The name of a user: what holds for a [`RoomName`], and no white space at all.
    Username, |text| {
        let name = name("username", text)?;
        if name.chars().any(char::is_whitespace) {
            return Err(Invalid::new("username", "must not contain white space"));
        }
        Ok(name)
    }
}

text_type! {
    /// The text of a message: 1 to 4,000 characters, at least one of them not white space, and no
    /// control character but newline and tab.
    MessageText, |text| {
        length("text", text, MAX_TEXT_CHARS)?;
        if text.chars().all(char::is_whitespace) {
            return Err(Invalid::new("text", "must contain a character that is not white space"));
        }
        if let Some(c) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(Invalid::new("text", format!("must not contain the control character U+{:04X}", u32::from(c))));
        }
        Ok(text.into())
    }
}

text_type! {
    /// What makes a post repeatable: 1 to 64 characters, no control characters. The same sender's
    /// same nonce in the same room yields one message, however often it is sent.
    Nonce, |text| {
        length("nonce", text, MAX_NONCE_CHARS)?;
        no_control("nonce", text)?;
        Ok(text.into())
    }
}

fn name(field: &'static str, text: &str) -> Result<Arc<str>, Invalid> {
    let normal: Arc<str> = if text.is_ascii() {
        text.into()
    } else {
        text.nfc().collect::<String>().into()
    };
    length(field, &normal, MAX_NAME_CHARS)?;
    no_control(field, &normal)?;
    if normal.contains('/') {
        return Err(Invalid::new(field, "must not contain /"));
    }
    if normal.starts_with(char::is_whitespace) || normal.ends_with(char::is_whitespace) {
        return Err(Invalid::new(
            field,
            "must not begin or end with white space",
        ));
    }
    if matches!(&*normal, "." | "..") {
        return Err(Invalid::new(field, "must not be . or .."));
    }
    Ok(normal)
}

fn length(field: &'static str, text: &str, most: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "must not be empty"));
    }
    // A character takes at least one byte, so most texts need no count.
    if text.len() > most && text.chars().count() > most {
        return Err(Invalid::new(
            field,
            format!("must be at most {most} characters"),
        ));
    }
    Ok(())
}

fn no_control(field: &'static str, text: &str) -> Result<(), Invalid> {
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Invalid::new(
            field,
            format!(
                "must not contain the control character U+{:04X}",
                u32::from(c)
            ),
        )),
        None => Ok(()),
    }
}

/// Declares a number that counts from 1 without holes.
macro_rules! dense_number {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);

            /// Returns the number as this type, unless it is negative.
            #[must_use]
            pub const fn new(number: i64) -> Option<Self> {
                if number < 0 { None } else { Some(Self(number)) }
            }

            /// Returns the number.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }

            /// Returns the number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                text.parse()
                    .ok()
                    .and_then(Self::new)
                    .ok_or_else(|| Invalid::new($field, "must be a whole number from 0 up"))
            }
        }
    };
}

dense_number! {
    /// The place of a message in its room: 1, 2, 3, … without holes. 0 stands before the first.
    Seq, "seq"
}

dense_number! {
    /// The number of a change to a message of a room: 1, 2, 3, … without holes. 0 stands before the
    /// first.
    ChangeSeq, "change"
}

/// An emoji: one that Unicode recommends, skin tones and sequences included.
///
/// The text is the fully qualified form, whatever form it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Emoji(&'static str);

impl Emoji {
    /// Returns the emoji as text.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.0
    }
}

impl FromStr for Emoji {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match emojis::get(text) {
            Some(emoji) => Ok(Self(emoji.as_str())),
            None => Err(Invalid::new("emoji", "must be one known emoji")),
        }
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

text_type! {
    /// The topic of a room: at most 200 characters, none of them a control character. An empty one
    /// says nothing.
    Topic, |text| {
        if !text.is_empty() {
            length("topic", text, MAX_TOPIC_CHARS)?;
        }
        no_control("topic", text)?;
        Ok(text.into())
    }
}

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Where it goes. The room is created by its first message, if that may do so.
    pub room: RoomName,
    /// Who writes it. Becomes a member of the room and is counted.
    pub sender: Username,
    /// What it says.
    pub text: MessageText,
    /// Makes a repeat of this post harmless.
    pub nonce: Option<Nonce>,
    /// Whether the sender has proved to be who the name says.
    pub verified: bool,
    /// The earlier message of the same room that it answers.
    pub reply_to: Option<Seq>,
    /// Tells if the post creates its room if need be. Otherwise a post to a room that does not
    /// exist fails with [`Error::RoomNotFound`](crate::Error::RoomNotFound).
    pub may_create_room: bool,
}

impl NewMessage {
    /// A message without a nonce, from a sender who proved nothing, that may create its room.
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

    /// The same message with a nonce.
    #[must_use]
    pub fn with_nonce(self, nonce: Nonce) -> Self {
        Self {
            nonce: Some(nonce),
            ..self
        }
    }

    /// The same message as an answer to an earlier one.
    #[must_use]
    pub fn in_reply_to(self, seq: Seq) -> Self {
        Self {
            reply_to: Some(seq),
            ..self
        }
    }
}

/// A stored message, as it is after the last change to it. Its place and its time never change.
///
/// Written as one flat JSON object: `room`, `seq`, `sender`, `text`, `timestamp`, `verified`, and
/// where they apply `reply_to`, `mentions`, `edited_at`, `reactions` and `change`. Once it is
/// deleted, `sender` and `text` are empty, `verified` is false, and `deleted` is true.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The room it is in.
    pub room: RoomName,
    /// Its place in the room.
    pub seq: Seq,
    /// The time at which it was stored. Strictly increases with `seq` within a room.
    pub timestamp: Timestamp,
    /// The number of the last change to it, if there was one.
    pub change: Option<ChangeSeq>,
    /// Its sender, its text and all that depends on it; `None` once it is deleted.
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
    /// Whether the sender had proved to be who the name says.
    pub verified: bool,
    /// The earlier message of the same room that it answers.
    pub reply_to: Option<Seq>,
    /// The users whom its text names as `@name`, in the order in which it does: at most
    /// [`MAX_MENTIONS`].
    pub mentions: Vec<Username>,
    /// When its text was last replaced.
    pub edited_at: Option<Timestamp>,
    /// Reactions to it, in the order in which each emoji first came: at most [`MAX_REACTIONS`].
    pub reactions: Vec<Reaction>,
}

/// All reactions to a message with the same emoji.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reaction {
    /// The emoji.
    pub emoji: Emoji,
    /// The number of users who reacted with it.
    pub count: u64,
    /// The first of these users, at most [`MAX_REACTION_USERS`].
    pub users: Vec<Username>,
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

    /// Returns true if its sender had proved to be who the name says, and it is not deleted.
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

    /// Returns the users whom it mentions.
    #[must_use]
    pub fn mentions(&self) -> &[Username] {
        self.content
            .as_ref()
            .map_or(&[], |content| &content.mentions)
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
        if let Some(Content {
            reply_to,
            mentions,
            edited_at,
            reactions,
            ..
        }) = &self.content
        {
            if let Some(reply_to) = reply_to {
                fields.serialize_field("reply_to", reply_to)?;
            }
            if !mentions.is_empty() {
                fields.serialize_field("mentions", mentions)?;
            }
            if let Some(edited_at) = edited_at {
                fields.serialize_field("edited_at", edited_at)?;
            }
            if !reactions.is_empty() {
                fields.serialize_field("reactions", reactions)?;
            }
        } else {
            fields.serialize_field("deleted", &true)?;
        }
        if let Some(change) = self.change {
            fields.serialize_field("change", &change)?;
        }
        fields.end()
    }
}

/// The answer to a post.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Posted {
    /// The message as it is stored.
    pub message: Message,
    /// Whether it was already there: an earlier post carried the same nonce.
    pub repeated: bool,
    /// Tells if this post created the room.
    pub created_room: bool,
}

/// What is known of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Room {
    /// Its name.
    #[serde(rename = "room")]
    pub name: RoomName,
    /// The newest message's place; 0 in a room without messages.
    pub last_seq: Seq,
    /// The number of the last change to a message; 0 if there was none.
    pub last_change: ChangeSeq,
    /// The newest message's time.
    pub last_timestamp: Option<Timestamp>,
    /// When the room was created.
    pub created_at: Timestamp,
    /// How many users are members.
    pub users: u64,
    /// Whether only members may know of it. Decided when the room is created. Not written as JSON
    /// unless it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Who made it, and may delete messages, ban users, and invite and remove members of a private
    /// room. A room that came to be by a post or a join has no owner, and then none is written as
    /// JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Username>,
    /// What it is about, as its owner says. Not written as JSON unless there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
}

/// Who may know of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Privacy {
    /// Everyone.
    Public,
    /// Its members.
    Private,
}

/// A room as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRoom {
    /// Its name.
    pub room: RoomName,
    /// The newest message's place; 0 in a room without messages.
    pub last_seq: Seq,
    /// The place up to which the user has read; 0 if nothing.
    pub read_seq: Seq,
    /// The number of messages that mention the user and that the user has not read, of the user's
    /// newest [`MAX_COUNTED_MENTIONS`].
    pub mentions: u64,
}

impl UserRoom {
    /// How many messages the user has not read.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.last_seq
            .get()
            .saturating_sub(self.read_seq.get())
            .max(0)
            .unsigned_abs()
    }
}

impl Serialize for UserRoom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("UserRoom", 5)?;
        fields.serialize_field("room", &self.room)?;
        fields.serialize_field("last_seq", &self.last_seq)?;
        fields.serialize_field("read_seq", &self.read_seq)?;
        fields.serialize_field("unread", &self.unread())?;
        fields.serialize_field("mentions", &self.mentions)?;
        fields.end()
    }
}

/// Which messages of a room to read.
///
/// `Since` and `After` give the **oldest** of what they cover, so that a reader who asks again
/// with the last message it got never skips one. `Newest` and `Before` give the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The end of the room.
    Newest,
    /// Strictly newer than a time.
    Since(Timestamp),
    /// Above a place.
    After(Seq),
    /// Below a place.
    Before(Seq),
}

#[cfg(test)]
mod tests;
