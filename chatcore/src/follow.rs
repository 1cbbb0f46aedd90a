//! Following rooms and users.
//!
//! - [`follower`]: the messages of one room
//! - [`watcher`]: its changed messages, its topic, who is present and who types besides
//! - [`user_watcher`]: updates of one user
//! - [`presence_guard`]: being present in a room
//! - [`room_reader`]: reads that check the access of the actor who follows

mod follower;
mod presence_guard;
mod room_reader;
mod user_watcher;
mod watcher;

pub use self::follower::Follower;
pub use self::presence_guard::PresenceGuard;
pub(crate) use self::room_reader::RoomReader;
pub use self::user_watcher::UserWatcher;
pub(crate) use self::watcher::Gives;
pub use self::watcher::{RoomWatch, Update, Watcher};
