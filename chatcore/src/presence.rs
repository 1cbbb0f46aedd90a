//! Users who are in a room just now.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::types::{RoomName, Username};

/// The most names that a presence lists.
pub const MAX_PRESENT: usize = 1_000;

/// Users who are connected to a room, over all processes on the store, as of some moment: in code
/// point order, each once, the first 1,000 if there are more. A clone is another handle on the same
/// list.
#[derive(Debug, Clone)]
pub struct Presence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: RoomName,
    users: Vec<Username>,
    encoding: OnceLock<Bytes>,
}

impl Presence {
    pub(crate) fn new(room: RoomName, mut users: Vec<Username>) -> Self {
        users.sort_unstable();
        users.dedup();
        users.truncate(MAX_PRESENT);
        Self(Arc::new(Inner {
            room,
            users,
            encoding: OnceLock::new(),
        }))
    }

    /// Returns the room.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.0.room
    }

    /// Returns the users.
    #[must_use]
    pub fn users(&self) -> &[Username] {
        &self.0.users
    }

    /// Returns an encoding of the list for a protocol of the program. It is made once, however many
    /// readers the list has, so there must be one encoding in the whole program.
    pub fn encoding(&self, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.0.encoding.get_or_init(|| encode(self))
    }
}
