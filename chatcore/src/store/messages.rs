//! Posting and reading messages.

use std::time::Duration;

use super::ChatStore;
use crate::error::Result;
use crate::options::{MAX_MESSAGES, check_limit};
use crate::shared::SharedMessage;
use crate::timestamp::Timestamp;
use crate::types::{NewMessage, Posted, Range, RoomName, Seq, Username};

impl ChatStore {
    /// Stores a message, and returns it as stored.
    ///
    /// When this returns `Ok` the message is durable, visible to every reader, and counted; the
    /// room exists and the sender is a member of it. With a nonce that the sender used before in
    /// the room, nothing is stored and the earlier message comes back as
    /// [`repeated`](Posted::repeated).
    ///
    /// If the future is dropped, the message is stored once or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it is to answer a message that the room does
    /// not have.
    ///
    /// [`Error::NameClaimed`](crate::Error::NameClaimed) and
    /// [`Error::NameReserved`](crate::Error::NameReserved) for a message that is not
    /// [`verified`](NewMessage::verified), if the sender's name, in any case, has an account: this
    /// is decided by the commit itself, so that once [`register`](Self::register) has returned, in
    /// any process, no such message is stored. In the same way,
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound) if the room is private and the sender no
    /// member, or if it does not exist and the post [may not create
    /// it](NewMessage::may_create_room), and [`Error::Banned`](crate::Error::Banned); that holds
    /// for a repeat of an earlier post too, which is stored as it was.
    /// [`Error::NonceConflict`](crate::Error::NonceConflict), [`Error::Busy`](crate::Error::Busy)
    /// and [`Error::Full`](crate::Error::Full). After all of these nothing was stored.
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable): stored once or not at all; a repeat with
    /// the same nonce is safe.
    pub async fn post(&self, message: NewMessage) -> Result<Posted> {
        self.engine.post(message).await
    }

    /// Reads at most `limit` messages of a room, in `seq` order; none if there is no such room.
    ///
    /// The newest messages of rooms that are read or followed are kept in memory, and reading them
    /// does not touch the database. A message of this process is there at once; one of another
    /// process as soon as the database has reported it, which takes milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a `limit` outside 1 to [`MAX_MESSAGES`],
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        self.engine.read(room, range, limit, None).await
    }

    /// Reads messages as [`messages`](Self::messages) does. If there is none yet, waits
    /// up to `timeout` for the first; the answer is empty after that.
    ///
    /// # Errors
    ///
    /// Those of [`messages`](Self::messages).
    pub async fn wait_for_messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        timeout: Duration,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        self.engine
            .wait_for_messages(room, range, limit, timeout, None)
            .await
    }

    /// Reads one message, as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotFound`](crate::Error::MessageNotFound),
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn message(&self, room: &RoomName, seq: Seq) -> Result<SharedMessage> {
        self.engine.message(room, seq, None).await
    }

    /// Returns the `seq` of a room's newest message; 0 if it has none, or does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn last_seq(&self, room: &RoomName) -> Result<Seq> {
        self.engine.last_seq(room, None).await
    }

    /// Returns the number of messages that a user has stored; 0 for a name never seen.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn message_count(&self, user: &Username) -> Result<u64> {
        let engine = &self.engine;
        engine.check_open()?;
        let stored = || engine.call(engine.backend.message_count(user.clone()));
        // The change stream brings the commits of other processes too late for an exact number.
        if engine.backend.is_shared() {
            return stored().await;
        }
        if let Some(known) = engine.feed.count(user) {
            return Ok(known);
        }

        let asked = engine.feed.begin_count(user);
        let count = stored().await?;
        engine.feed.learn_count(user, asked, count);
        Ok(count)
    }

    /// Lists at most `limit` messages that mention a user, newest first, from before `before` if
    /// that is given. Those of rooms that the user may not read are among them: see
    /// [`UserStore::mentions`](crate::UserStore::mentions).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a `limit` outside 1 to [`MAX_MESSAGES`],
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn mentions(
        &self,
        user: &Username,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        let before = before.unwrap_or(Timestamp::MAX);
        let found = self.engine.backend.mentions(user.clone(), before, limit);
        let found = self.engine.call(found).await?;
        Ok(found.into_iter().map(SharedMessage::from).collect())
    }
}
