//! Reading messages: from the ring of a room where it reaches, else from the store.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{AccessSource, Engine, FOLLOW_LIMIT, Found, Reader};
use crate::access::AccessRequest;
use crate::error::{Error, Result};
use crate::feed::{Generation, RoomFeed};
use crate::shared::SharedMessage;
use crate::types::{Privacy, Range, RoomName, Seq};

impl Engine {
    /// Reads at most `limit` messages, from memory if it reaches; none if `request` is refused.
    pub(crate) async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        request: Option<&AccessRequest>,
    ) -> Result<Vec<SharedMessage>> {
        self.read_as(room, range, limit, request, AccessSource::Store)
            .await
    }

    async fn read_as(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        request: Option<&AccessRequest>,
        source: AccessSource,
    ) -> Result<Vec<SharedMessage>> {
        let Some(request) = request else {
            return match self.feed.read(room, range, limit as usize) {
                Some(found) => Ok(found),
                None => self.read_stored(room, range, limit).await,
            };
        };
        if let Some(found) = self.feed.read_public(room, range, limit as usize) {
            return Ok(found);
        }
        if !request.actor.is_account() && self.feed.privacy(room) == Some(Privacy::Private) {
            return Ok(Vec::new());
        }

        let (found, source) = match self.feed.read(room, range, limit as usize) {
            Some(found) => (found, source),
            None => (
                self.read_stored(room, range, limit).await?,
                AccessSource::Store,
            ),
        };
        // Checked after the read, so that a user who was removed before a post never receives it.
        match self
            .check_access(&self.feed.room(room), request, source)
            .await
        {
            Ok(()) => Ok(found),
            Err(Error::RoomNotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads as [`read`](Self::read) does. Where there is no message yet, waits for some until
    /// `timeout` is over.
    pub(crate) async fn wait_for_messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        timeout: Duration,
        request: Option<&AccessRequest>,
    ) -> Result<Vec<SharedMessage>> {
        let deadline = Instant::now() + timeout;
        let mut wake = self.feed.room(room).subscribe();
        let mut source = AccessSource::Store;
        loop {
            // Before the read, so that whatever comes after it wakes.
            wake.mark_unchanged();
            let found = self.read_as(room, range, limit, request, source).await?;
            source = AccessSource::Cache;
            if !found.is_empty() {
                return Ok(found);
            }
            if !matches!(timeout_at(deadline, wake.changed()).await, Ok(Ok(()))) {
                return Ok(found);
            }
        }
    }

    /// Reads the next messages of a follower.
    pub(crate) async fn next_messages(&self, room: &RoomFeed, after: Seq) -> Result<Found> {
        self.check_open()?;
        let range = Range::After(after);
        if let Some(messages) = room.read(range, FOLLOW_LIMIT as usize) {
            let access = AccessSource::Cache;
            return Ok(Found { messages, access });
        }

        let load = self.load(room, range, FOLLOW_LIMIT, Reader::Follower);
        Ok(Found {
            messages: self.call(load).await?,
            access: AccessSource::Store,
        })
    }

    /// Reads one message, as it is now.
    pub(crate) async fn message(
        &self,
        room: &RoomName,
        seq: Seq,
        request: Option<&AccessRequest>,
    ) -> Result<SharedMessage> {
        let before = Seq::new(seq.get() - 1).ok_or(Error::MessageNotFound)?;
        let found = self.read(room, Range::After(before), 1, request).await?;
        found
            .into_iter()
            .find(|message| message.seq == seq)
            .ok_or(Error::MessageNotFound)
    }

    /// Returns the `seq` of a room's newest message; 0 if it has none, or does not exist.
    pub(crate) async fn last_seq(
        &self,
        room: &RoomName,
        request: Option<&AccessRequest>,
    ) -> Result<Seq> {
        let newest = self.read(room, Range::Newest, 1, request).await?;
        Ok(newest.last().map_or(Seq::ZERO, |message| message.seq))
    }

    /// Reads what the ring does not have.
    async fn read_stored(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        // History needs no ring.
        if matches!(range, Range::Before(_)) {
            return self.call(self.stored(room, range, limit)).await;
        }
        let room = self.feed.room(room);
        self.call(self.load(&room, range, limit, Reader::Poll))
            .await
    }

    /// Reads messages from the store, past all memory.
    pub(crate) async fn stored(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let messages = self.backend.messages(room.clone(), range, limit).await?;
        Ok(messages.into_iter().map(SharedMessage::from).collect())
    }

    /// Reads from the store what the ring lacks, and has the ring take it in. Where many readers
    /// lack the same, one reads and the others wait for it.
    async fn load(
        &self,
        room: &RoomFeed,
        range: Range,
        limit: u32,
        reader: Reader,
    ) -> Result<Vec<SharedMessage>> {
        if reader == Reader::Poll {
            self.feed.renew(room);
        }

        let may_share = reader == Reader::Follower || self.feed.is_fresh(room);
        let _loading = if may_share && room.is_near(range, limit as usize) {
            let loading = room.loading().lock().await;
            let read = || room.read(range, limit as usize);
            if let Some(found) = self.read_memory(room, reader, read) {
                return Ok(found);
            }
            Some(loading)
        } else {
            None
        };

        let asked = room.generation();
        let messages = self.stored(&room.name, range, limit).await?;
        let reaches_end = match range {
            Range::Newest => true,
            Range::After(_) | Range::Since(_) => messages.len() < limit as usize,
            Range::Before(_) => false,
        };
        if messages.is_empty() {
            self.load_end(room, asked, range).await?;
        } else {
            self.feed.load(room, asked, &messages, reaches_end);
        }
        Ok(messages)
    }

    /// Has the ring learn where the room ends, after a read that found nothing up to there.
    async fn load_end(&self, room: &RoomFeed, asked: Generation, range: Range) -> Result<()> {
        if let Range::After(after) = range
            && self.feed.confirm_end(room, asked, after)
        {
            return Ok(());
        }
        if matches!(range, Range::Before(_)) || room.end().is_some() {
            return Ok(());
        }

        let newest = self.stored(&room.name, Range::Newest, 1).await?;
        if newest.is_empty() {
            self.feed.load_empty(room, asked);
        } else {
            self.feed.load(room, asked, &newest, true);
        }
        Ok(())
    }
}
