//! Read marks of users, and what they have not read.

use std::collections::HashMap;

use super::ChatStore;
use crate::error::{Invalid, Result};
use crate::follow::Follower;
use crate::model::Page;
use crate::options::{MAX_NAMES, check_limit};
use crate::types::{MAX_COUNTED_MENTIONS, Range, RoomName, Seq, UserRoom, Username};

impl ChatStore {
    /// Moves a user's read mark in a room forward to `seq`, never back; returns where it is then.
    /// Those who watch the user at this process are notified.
    ///
    /// It is written within about a second, together with other marks, and other processes learn of
    /// it then. [`close`](Self::close) writes it too. If the process dies before, it is lost. If
    /// the future is dropped, the mark is moved or not.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound),
    /// [`Error::Invalid`](crate::Error::Invalid) for a `seq` after the newest message,
    /// [`Error::Busy`](crate::Error::Busy) if too many marks are to be written,
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn mark_read(&self, user: &Username, room: &RoomName, seq: Seq) -> Result<Seq> {
        self.check_exists(room, seq).await?;
        let feed = &self.engine.feed;
        if let Some(read) = feed.mark_read(user, room, seq, None)? {
            return Ok(read);
        }

        let stored = self.stored_read_mark(user, room).await?;
        let read = feed.mark_read(user, room, seq, Some(stored))?;
        Ok(read.unwrap_or(stored))
    }

    /// Fails unless a room has a message at a `seq`, or exists if that is 0.
    async fn check_exists(&self, room: &RoomName, seq: Seq) -> Result<()> {
        let engine = &self.engine;
        let mut last = engine.last_seq(room, None).await?;
        if seq > last {
            // Another process's message may not have been published here yet.
            let newest = engine.call(engine.stored(room, Range::Newest, 1)).await?;
            last = newest.last().map_or(Seq::ZERO, |message| message.seq);
        }
        if last == Seq::ZERO {
            self.room(room).await?;
        }

        if seq > last {
            let reason = format!("must be at most {last}, the newest message");
            return Err(Invalid::new("seq", reason).into());
        }
        Ok(())
    }

    async fn stored_read_mark(&self, user: &Username, room: &RoomName) -> Result<Seq> {
        let mark = self.engine.backend.read_mark(user.clone(), room.clone());
        self.engine.call(mark).await
    }

    /// Returns the `seq` up to which a user has read a room; 0 if there is no mark.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn read_mark(&self, user: &Username, room: &RoomName) -> Result<Seq> {
        self.engine.check_open()?;
        match self.engine.feed.read_marks.get(user, room) {
            Some(read) => Ok(read),
            None => self.stored_read_mark(user, room).await,
        }
    }

    /// Follows a room as [`follow`](Self::follow) does, from the `seq` up to which a user has read
    /// it.
    ///
    /// ```
    /// # use chatcore::{ChatStore, NewMessage, RoomName, Username};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let (room, bob): (RoomName, Username) = ("general".parse()?, "bob".parse()?);
    /// for text in ["read", "new"] {
    ///     store.post(NewMessage::new(room.clone(), "ann".parse()?, text.parse()?)).await?;
    /// }
    /// store.mark_read(&bob, &room, "1".parse()?).await?;
    ///
    /// let mut unread = store.follow_from_read_mark(&room, &bob).await?;
    /// assert_eq!(unread.next().await?[0].text(), Some("new"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn follow_from_read_mark(
        &self,
        room: &RoomName,
        user: &Username,
    ) -> Result<Follower> {
        let read = self.read_mark(user, room).await?;
        Ok(self.follow(room, read))
    }

    /// Lists at most `limit` rooms that a user is a member of, private ones too, with what the user
    /// has not read, in code point order of their names, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a `limit` outside 1 to [`MAX_NAMES`],
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn rooms_of(
        &self,
        user: &Username,
        after: Option<&RoomName>,
        limit: u32,
    ) -> Result<Vec<UserRoom>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        let engine = &self.engine;
        // Before the rooms are read, so that no mark lies after the end that is shown with it.
        let marks = engine.feed.read_marks.of(user);
        let rooms = engine.backend.rooms_of(user.clone(), page);
        let mut rooms = engine.call(rooms).await?;

        let mentions = engine
            .backend
            .newest_mentions(user.clone(), MAX_COUNTED_MENTIONS);
        let mut mentioned_at: HashMap<RoomName, Vec<Seq>> = HashMap::new();
        for (room, seq) in engine.call(mentions).await? {
            mentioned_at.entry(room).or_default().push(seq);
        }

        for room in &mut rooms {
            let read = marks.get(&room.room).copied();
            room.read_seq = room.read_seq.max(read.unwrap_or(Seq::ZERO));
            let mentions = mentioned_at.get(&room.room).into_iter().flatten();
            room.mentions = mentions.filter(|seq| **seq > room.read_seq).count() as u64;
        }
        Ok(rooms)
    }
}
