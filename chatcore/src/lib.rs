#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

#[cfg(not(any(feature = "sqlite", feature = "mongodb")))]
compile_error!("chatcore needs a database: enable the feature \"sqlite\" or \"mongodb\"");

mod access;
mod account;
mod actor;
mod backend;
mod background;
mod committer;
mod engine;
mod error;
mod feed;
mod follow;
mod mentions;
mod model;
mod options;
mod position;
mod presence;
mod read_marks;
mod session;
mod shared;
mod stats;
mod store;
#[cfg(test)]
mod testing;
mod timestamp;
mod types;
mod user_store;
mod value;

pub use account::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS, Password};
pub use actor::Actor;
pub use error::{Error, Invalid, Reason, Result};
pub use feed::{LiveCounts, UserUpdate};
pub use follow::{Follower, PresenceGuard, RoomWatch, Update, UserWatcher, Watcher};
pub use mentions::mentions_in;
pub use options::{Clock, MAX_MESSAGES, MAX_NAMES, Options};
pub use position::Position;
pub use presence::{MAX_PRESENT, Presence};
pub use session::{SESSION_IDLE, Session, SessionId, SessionToken};
pub use shared::{MAX_ENCODINGS, SharedMessage};
pub use stats::Stats;
pub use store::ChatStore;
pub use timestamp::Timestamp;
pub use types::{
    ChangeSeq, Content, Emoji, MAX_COUNTED_MENTIONS, MAX_MENTIONS, MAX_NAME_CHARS, MAX_NONCE_CHARS,
    MAX_REACTION_USERS, MAX_REACTIONS, MAX_TEXT_CHARS, MAX_TOPIC_CHARS, Message, MessageText,
    NewMessage, Nonce, Posted, Privacy, Range, Reaction, Room, RoomName, Seq, Topic, UserRoom,
    Username,
};
pub use user_store::UserStore;
