//! Who is in a room just now.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use crate::types::{RoomName, Username};

/// The most names that a presence lists.
pub const MAX_PRESENT: usize = 1_000;

/// The users who are connected to a room, over all processes on the store, as of some moment: in
/// code point order, each once, the first 1,000 if there are more. A clone is another handle on
/// the same list.
#[derive(Debug, Clone)]
pub struct Presence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: RoomName,
    users: Vec<Username>,
    tagged: OnceLock<Bytes>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "presence")]
struct Tagged<'a> {
    room: &'a RoomName,
    users: &'a [Username],
}

impl Presence {
    pub(crate) fn new(room: RoomName, mut users: Vec<Username>) -> Self {
        users.sort_unstable();
        users.dedup();
        users.truncate(MAX_PRESENT);
        Self(Arc::new(Inner {
            room,
            users,
            tagged: OnceLock::new(),
        }))
    }

    /// The room.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.0.room
    }

    /// The users.
    #[must_use]
    pub fn users(&self) -> &[Username] {
        &self.0.users
    }

    /// `{"type": "presence", "room", "users"}`, written as JSON once, however many readers it has.
    #[must_use]
    pub fn tagged_json(&self) -> &Bytes {
        self.0.tagged.get_or_init(|| {
            // Made of strings, which JSON always takes.
            serde_json::to_vec(&Tagged {
                room: &self.0.room,
                users: &self.0.users,
            })
            .unwrap_or_default()
            .into()
        })
    }
}
