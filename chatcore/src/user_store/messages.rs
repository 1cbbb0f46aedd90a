//! Reading messages and mentions as one user.

use std::collections::HashMap;
use std::time::Duration;

use super::UserStore;
use crate::access::{AccessRequest, Permission};
use crate::engine::AccessSource;
use crate::error::{Error, Result};
use crate::options::{MAX_MESSAGES, check_limit};
use crate::shared::SharedMessage;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Range, RoomName, Seq};

/// The most pages of mentions that are read for one answer, if most of them are of rooms that may
/// not be read.
const MAX_PAGES: usize = 8;

impl UserStore {
    /// Reads at most `limit` messages of a room, in `seq` order; none if there is no such room, or
    /// the user may not know of it.
    ///
    /// The newest messages of rooms that are read or followed are kept in memory. Reading those of
    /// a public room does not touch the database; for a private room of a shared store the
    /// membership is asked of it each time.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_MESSAGES`], [`Error::Unavailable`].
    pub async fn messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        let request = self.request(Permission::Read);
        self.engine().read(room, range, limit, Some(&request)).await
    }

    /// Returns what [`messages`](Self::messages) gives, if that is in memory and the room is
    /// public. For those who read often: neither the store nor the user's session need be asked.
    #[must_use]
    pub fn messages_in_memory(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Option<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES).ok()?;
        self.engine().feed.read_public(room, range, limit as usize)
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
        let request = self.request(Permission::Read);
        self.engine()
            .wait_for_messages(room, range, limit, timeout, Some(&request))
            .await
    }

    /// Reads one message, as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotFound`], also in a private room that the user is not a member of;
    /// [`Error::Unavailable`].
    pub async fn message(&self, room: &RoomName, seq: Seq) -> Result<SharedMessage> {
        let request = self.request(Permission::Read);
        self.engine().message(room, seq, Some(&request)).await
    }

    /// Returns the `seq` of a room's newest message; 0 if it has none, does not exist, or the user
    /// may not know of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn last_seq(&self, room: &RoomName) -> Result<Seq> {
        let request = self.request(Permission::Read);
        self.engine().last_seq(room, Some(&request)).await
    }

    /// Reads at most `limit` messages of a room that changed after the change `after`, as they are
    /// now, each once, in the order of their last changes. Empty if nothing changed, there is no
    /// such room, or the user may not know of it.
    ///
    /// A caller that asks again with the `change` of the last message that it got misses no edit,
    /// reaction or deletion.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_MESSAGES`], [`Error::ChangesGone`] if
    /// the room has no change of the number `after`, [`Error::Unavailable`].
    pub async fn changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        self.wait_for_changes(room, after, limit, Duration::ZERO)
            .await
    }

    /// Reads changed messages as [`changes`](Self::changes) does. If there is none yet, waits
    /// up to `timeout` for the first; the answer is empty after that.
    ///
    /// # Errors
    ///
    /// Those of [`changes`](Self::changes).
    pub async fn wait_for_changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
        timeout: Duration,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        let request = self.request(Permission::Read);
        self.engine()
            .wait_for_changes(room, after, limit, timeout, Some(&request))
            .await
    }

    /// Returns a message if it mentions the user and the user may take part in its room.
    ///
    /// # Errors
    ///
    /// [`Error::MessageNotFound`], [`Error::RoomNotFound`], [`Error::Banned`],
    /// [`Error::Forbidden`] for an anonymous user, [`Error::Unavailable`].
    pub async fn mention(&self, room: &RoomName, seq: Seq) -> Result<Option<SharedMessage>> {
        let user = self.user()?;
        let message = self.message(room, seq).await?;
        self.participate(room, AccessSource::Store).await?;
        Ok(message.mentions().contains(user).then_some(message))
    }

    /// Lists at most `limit` messages that mention the user, of rooms in which the user may take
    /// part, newest first, from before `before` if that is given.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_MESSAGES`], [`Error::Forbidden`] for
    /// an anonymous user, [`Error::Unavailable`].
    pub async fn mentions(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let user = self.user()?;
        let limit = check_limit(limit, MAX_MESSAGES)? as usize;
        let mut allowed = AllowedRooms::new(self);
        let mut readable: Vec<SharedMessage> = Vec::new();
        let mut before = before;
        for _ in 0..MAX_PAGES {
            let page = self.store.mentions(user, before, MAX_MESSAGES).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.timestamp);
            for message in page {
                if allowed.contains(&message.room).await? {
                    readable.push(message);
                }
                if readable.len() == limit {
                    return Ok(readable);
                }
            }
        }
        Ok(readable)
    }
}

/// Rooms in which a user may take part, each looked up once.
struct AllowedRooms<'a> {
    store: &'a UserStore,
    request: AccessRequest,
    known: HashMap<RoomName, bool>,
}

impl<'a> AllowedRooms<'a> {
    fn new(store: &'a UserStore) -> Self {
        Self {
            request: store.request(Permission::Participate),
            known: HashMap::new(),
            store,
        }
    }

    async fn contains(&mut self, room: &RoomName) -> Result<bool> {
        if let Some(is_allowed) = self.known.get(room) {
            return Ok(*is_allowed);
        }

        let engine = self.store.engine();
        let feed = engine.feed.room(room);
        let is_allowed = match engine
            .check_access(&feed, &self.request, AccessSource::Store)
            .await
        {
            Ok(()) => true,
            Err(Error::RoomNotFound | Error::Banned) => false,
            Err(error) => return Err(error),
        };
        self.known.insert(room.clone(), is_allowed);
        Ok(is_allowed)
    }
}
