//! Being present in a room.

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::feed::RoomFeed;
use crate::types::Username;

/// A user's presence in a room; ends when it is dropped. Made by
/// [`ChatStore::enter`](crate::ChatStore::enter).
#[must_use = "the presence ends when this is dropped"]
pub struct PresenceGuard {
    engine: Arc<Engine>,
    room: Arc<RoomFeed>,
    user: Username,
}

impl PresenceGuard {
    pub(crate) fn new(engine: Arc<Engine>, room: Arc<RoomFeed>, user: Username) -> Self {
        engine.feed.enter(&room, &user);
        Self { engine, room, user }
    }
}

impl fmt::Debug for PresenceGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceGuard")
            .field("room", &self.room.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        self.engine.feed.leave(&self.room, &self.user);
    }
}
