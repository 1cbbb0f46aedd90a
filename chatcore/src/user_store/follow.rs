//! Following rooms, typing and read marks, as one user.

use super::UserStore;
use crate::access::Permission;
use crate::engine::AccessSource;
use crate::error::Result;
use crate::follow::{Follower, Gives, RoomReader, RoomWatch, Watcher};
use crate::position::Position;
use crate::types::{Privacy, RoomName, Seq};

impl UserStore {
    /// Follows a room: every message after the `seq` `after`, in `seq` order, each once, for as
    /// long as the user may read the room.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound) for a room that does not exist, and for
    /// a private one that the user is not a member of, so that neither can be told from the other;
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn follow(&self, room: &RoomName, after: Seq) -> Result<Follower> {
        self.check_exists(room).await?;
        let engine = &self.store.engine;
        let request = self.request(Permission::Read);
        let feed = engine.feed.room(room);
        engine
            .check_access(&feed, &request, AccessSource::Store)
            .await?;
        let reader = RoomReader::new(engine.clone(), feed, Some(request));
        Ok(Follower::new(reader, after))
    }

    /// Watches a room: the messages and the changes after a position, the topic, who is present and
    /// who types, for as long as the user may take part in the room. Counts the user as present,
    /// unless anonymous.
    ///
    /// [`last_position`](Self::last_position) is the position of now.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound) for a room that does not exist, and for
    /// a private one that the user is not a member of; [`Error::Banned`](crate::Error::Banned),
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn watch(&self, room: &RoomName, after: Position) -> Result<RoomWatch> {
        self.check_exists(room).await?;
        let request = self.participate(room, AccessSource::Store).await?;
        let user = self.actor.username();
        let presence = user.map(|user| self.store.enter(room, user));

        let engine = &self.store.engine;
        let feed = engine.feed.room(room);
        let reader = RoomReader::new(engine.clone(), feed, Some(request));
        Ok(RoomWatch {
            watcher: Watcher::new(reader, after, Gives::ChangesAndPresence),
            presence,
        })
    }

    /// Returns the `seq` of a room's newest message and the number of its last change:
    /// [`Position::START`] if there is none, or the user may not know of it. The change is of no
    /// message after the `seq`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn last_position(&self, room: &RoomName) -> Result<Position> {
        // A room of which nothing may be read has no message.
        if self.last_seq(room).await? == Seq::ZERO {
            return Ok(Position::START);
        }

        // In this order, so that the change is of no message after the `seq`.
        let change = self.store.last_change(room).await?;
        let seq = self.last_seq(room).await?;
        Ok(Position { seq, change })
    }

    /// Notifies those who watch a room that the user types in it; holds for 5 seconds. A repeat
    /// within a second changes nothing, and an anonymous user is not announced.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound) for a private room that the user is not
    /// a member of, [`Error::Banned`](crate::Error::Banned),
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn type_in(&self, room: &RoomName) -> Result<()> {
        self.participate(room, AccessSource::Cache).await?;
        if let Some(user) = self.actor.username() {
            self.store.type_in(room, user);
        }
        Ok(())
    }

    /// Returns the `seq` up to which the user has read a room; 0 if there is no mark.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound) for a private room that the user is not
    /// a member of, [`Error::Forbidden`](crate::Error::Forbidden) for an anonymous user,
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn read_mark(&self, room: &RoomName) -> Result<Seq> {
        if self.engine().privacy(room).await? == Some(Privacy::Private) {
            self.access(room).await?;
        }
        self.store.read_mark(self.user()?, room).await
    }

    /// Follows a room as [`follow`](Self::follow) does, from the `seq` up to which the user has
    /// read it.
    ///
    /// # Errors
    ///
    /// Those of [`follow`](Self::follow) and [`read_mark`](Self::read_mark).
    pub async fn follow_from_read_mark(&self, room: &RoomName) -> Result<Follower> {
        let read = self.read_mark(room).await?;
        self.follow(room, read).await
    }

    /// Moves the user's read mark in a room forward to `seq`, never back; returns where it is then.
    /// Those who watch the user at this process are notified; other processes learn of it within
    /// about a second, when it is written.
    ///
    /// If the future is dropped, the mark is moved or not.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound),
    /// [`Error::Invalid`](crate::Error::Invalid) for a `seq` after the newest message,
    /// [`Error::Forbidden`](crate::Error::Forbidden) for an anonymous user,
    /// [`Error::Busy`](crate::Error::Busy) if too many marks are to be written,
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn mark_read(&self, room: &RoomName, seq: Seq) -> Result<Seq> {
        // A room that is known to be public needs no question.
        if self.engine().privacy(room).await? == Some(Privacy::Private) {
            self.access(room).await?;
        }
        self.store.mark_read(self.user()?, room, seq).await
    }
}
