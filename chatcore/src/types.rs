//! Values of the domain. Parsing is the only way to one: a value that exists is valid.

mod message;
mod number;
mod range;
mod reaction;
mod room;
mod text;

pub use self::message::{Content, MAX_MENTIONS, Message, NewMessage, Posted};
pub use self::number::{ChangeSeq, Seq};
pub use self::range::Range;
pub use self::reaction::{Emoji, MAX_REACTION_USERS, MAX_REACTIONS, Reaction};
pub use self::room::{MAX_COUNTED_MENTIONS, Privacy, Room, UserRoom};
pub use self::text::{
    MAX_NAME_CHARS, MAX_NONCE_CHARS, MAX_TEXT_CHARS, MAX_TOPIC_CHARS, MessageText, Nonce, RoomName,
    Topic, Username,
};

#[cfg(test)]
mod tests;
