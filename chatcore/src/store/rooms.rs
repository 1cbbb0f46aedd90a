//! Creating and listing rooms, and their topics.

use super::ChatStore;
use crate::error::{Error, Result};
use crate::model::{Page, Signal};
use crate::options::{MAX_NAMES, check_limit};
use crate::types::{Privacy, Room, RoomName, Topic, Username};

impl ChatStore {
    /// Creates a public room that nobody owns. Returns false if there was a room of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Full`].
    pub async fn create_room(&self, room: &RoomName) -> Result<bool> {
        let engine = &self.engine;
        engine
            .call(engine.backend.create_room(room.clone(), engine.now()))
            .await
    }

    /// Creates a room that `owner` owns. Returns false if there was a room of that name. The owner
    /// of a private room is its first member.
    ///
    /// # Errors
    ///
    /// [`Error::AccountNotFound`]: only an account can own a room, because anyone can use another
    /// name. [`Error::Unavailable`], [`Error::Full`].
    pub async fn create_room_for(
        &self,
        room: &RoomName,
        owner: &Username,
        privacy: Privacy,
    ) -> Result<bool> {
        self.check_account(owner).await?;
        let engine = &self.engine;
        let created =
            engine
                .backend
                .create_room_for(room.clone(), owner.clone(), privacy, engine.now());
        let created = engine.call(created).await;

        // A follower of a name that had no room yet may not follow a private room. Followers of
        // a room that was there are not looked up again for it.
        if privacy == Privacy::Private && !matches!(created, Ok(false)) {
            engine.feed.forget_access(room);
        }
        created
    }

    /// Lists at most `limit` public rooms in code point order, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::Unavailable`].
    pub async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<Vec<RoomName>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        self.engine.call(self.engine.backend.rooms(page)).await
    }

    /// Returns the description of a room.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn room(&self, room: &RoomName) -> Result<Room> {
        self.engine
            .call(self.engine.backend.room(room.clone()))
            .await?
            .ok_or(Error::RoomNotFound)
    }

    /// Returns the privacy of a room; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn privacy(&self, room: &RoomName) -> Result<Option<Privacy>> {
        self.engine.privacy(room).await
    }

    /// Sets the topic of a room, and returns the room. Those who watch the room are notified.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn set_topic(&self, room: &RoomName, topic: Topic) -> Result<Room> {
        let engine = &self.engine;
        let is_set = engine.backend.set_topic(room.clone(), topic.clone());
        if !engine.call(is_set).await? {
            return Err(Error::RoomNotFound);
        }

        engine.feed.set_topic(room, &topic);
        engine.publish_signal(Signal::TopicSet(room.clone(), topic));
        self.room(room).await
    }
}
