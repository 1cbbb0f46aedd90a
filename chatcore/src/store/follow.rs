//! Following rooms and users, presence and typing.

use super::ChatStore;
use crate::feed::LiveCounts;
use crate::follow::{Follower, Gives, PresenceGuard, RoomReader, UserWatcher, Watcher};
use crate::model::Signal;
use crate::position::Position;
use crate::types::{RoomName, Seq, Username};

impl ChatStore {
    /// Follows a room: every message after the `seq` `after`, in `seq` order, each once, from
    /// history through the present, whoever posts it. The room need not exist yet.
    ///
    /// ```
    /// # use chatcore::{ChatStore, NewMessage, Seq};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let mut follower = store.follow(&"general".parse()?, Seq::ZERO);
    /// store.post(NewMessage::new("general".parse()?, "ann".parse()?, "hello".parse()?)).await?;
    /// for message in follower.next().await? {
    ///     println!("{}: {}", message.seq, message.text().unwrap_or("deleted"));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn follow(&self, room: &RoomName, after: Seq) -> Follower {
        Follower::new(self.reader(room), after)
    }

    /// Follows a room as [`follow`](Self::follow) does, and besides gives the messages that change,
    /// the topic, who is present and who types. It gives the messages and the changes after a
    /// position; [`last_position`](Self::last_position) is that of now.
    #[must_use]
    pub fn watch(&self, room: &RoomName, after: Position) -> Watcher {
        Watcher::new(self.reader(room), after, Gives::ChangesAndPresence)
    }

    fn reader(&self, room: &RoomName) -> RoomReader {
        let feed = self.engine.feed.room(room);
        RoomReader::new(self.engine.clone(), feed, None)
    }

    /// Watches a user: read marks, mentions, and sessions that ended.
    #[must_use]
    pub fn watch_user(&self, user: &Username) -> UserWatcher {
        UserWatcher::new(self.engine.clone(), user.clone())
    }

    /// Counts a user as present in a room until the returned value is dropped.
    pub fn enter(&self, room: &RoomName, user: &Username) -> PresenceGuard {
        let feed = self.engine.feed.room(room);
        PresenceGuard::new(self.engine.clone(), feed, user.clone())
    }

    /// Notifies those who watch a room that a user types in it; holds for 5 seconds. A repeat
    /// within a second changes nothing.
    ///
    /// # Panics
    ///
    /// On a store that is shared, outside of a Tokio runtime.
    pub fn type_in(&self, room: &RoomName, user: &Username) {
        if self.engine.feed.add_typing(room, user) {
            self.engine
                .publish_signal(Signal::Typing(room.clone(), user.clone()));
        }
    }

    /// Returns the numbers of the rooms and readers that are in memory.
    #[must_use]
    pub fn live_counts(&self) -> LiveCounts {
        self.engine.feed.live_counts()
    }
}
