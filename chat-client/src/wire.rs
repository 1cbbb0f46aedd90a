//! The types that client and server exchange, each defined once. They need no HTTP stack.
//!
//! Names are what a client sends and shows, so they are plain strings here: the server checks them.
//! The number of a message (`seq`) and the number of a change are counted from 1 in each room; 0
//! stands for the one before the first. A time is RFC 3339 in UTC with six fractional digits, so
//! that times sort as text: `2026-11-22T20:07:52.743123Z`.
//!
//! A field that the server may add later is ignored, and a frame of a new type is read as
//! [`ServerFrame::Unknown`].

mod account;
mod frames;
mod message;
mod problem;
mod room;
#[cfg(feature = "schema")]
pub mod schema;

pub use account::{Credentials, Me, MessageCount, NewPassword, Registration, Session};
pub use frames::{ClientFrame, ServerFrame};
pub use message::{Message, MessageText, NewMessage, Posted, Reaction, Reactions};
pub use problem::{Problem, Status, StatusOk};
pub use room::{NewRoom, NewTopic, ReadMark, Room, StoredReadMark, UserRoom};

/// Returns true where a flag is not written because it is not set.
fn is_false(flag: &bool) -> bool {
    !flag
}
