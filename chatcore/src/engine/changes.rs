//! Reading changed messages: from the ring of a room where it reaches, else from the store.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{AccessSource, Engine, FOLLOW_LIMIT, Found, Reader};
use crate::access::AccessRequest;
use crate::error::{Error, Result};
use crate::feed::RoomFeed;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, RoomName};

/// Changes that come next.
pub(crate) enum NextChanges {
    /// Nothing changed.
    None,
    /// Messages, at least one.
    Some(Found),
    /// The room has no such change; its last one is this.
    Gone(ChangeSeq),
}

impl NextChanges {
    fn new(messages: Vec<SharedMessage>, access: AccessSource) -> Self {
        if messages.is_empty() {
            Self::None
        } else {
            Self::Some(Found { messages, access })
        }
    }
}

impl Engine {
    /// Reads at most `limit` messages that changed after `after`. Where there are none yet, waits
    /// for some until `timeout` is over. To an actor whose `request` is refused the room is as if
    /// it did not exist.
    pub(crate) async fn wait_for_changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
        timeout: Duration,
        request: Option<&AccessRequest>,
    ) -> Result<Vec<SharedMessage>> {
        self.check_open()?;
        let deadline = Instant::now() + timeout;
        let room = self.feed.room(room);
        let mut wake = room.subscribe();
        let mut source = AccessSource::Store;
        loop {
            // Before the read, so that whatever comes after it wakes.
            wake.mark_unchanged();
            let mut found = self.read_changes(&room, after, limit, Reader::Poll).await?;
            if let Some(request) = request {
                found = self
                    .check_changes(&room, after, found, request, source)
                    .await?;
                source = AccessSource::Cache;
            }

            match found {
                NextChanges::Some(found) => return Ok(found.messages),
                NextChanges::Gone(_) => return Err(Error::ChangesGone),
                NextChanges::None => {}
            }
            if !matches!(timeout_at(deadline, wake.changed()).await, Ok(Ok(()))) {
                return Ok(Vec::new());
            }
        }
    }

    /// Returns what a request may see of changes after `after`. Checked after the read, so that a
    /// user who was removed before a change never receives it.
    async fn check_changes(
        &self,
        room: &RoomFeed,
        after: ChangeSeq,
        found: NextChanges,
        request: &AccessRequest,
        source: AccessSource,
    ) -> Result<NextChanges> {
        let source = match &found {
            NextChanges::Some(found) if found.access == AccessSource::Store => found.access,
            _ => source,
        };
        match self.check_access(room, request, source).await {
            Ok(()) => Ok(found),
            // The same answer as for a room that does not exist.
            Err(Error::RoomNotFound) if after == ChangeSeq::ZERO => Ok(NextChanges::None),
            Err(Error::RoomNotFound) => Ok(NextChanges::Gone(ChangeSeq::ZERO)),
            Err(error) => Err(error),
        }
    }

    /// Reads the next changes of a follower.
    pub(crate) async fn next_changes(
        &self,
        room: &RoomFeed,
        after: ChangeSeq,
    ) -> Result<NextChanges> {
        self.check_open()?;
        self.read_changes(room, after, FOLLOW_LIMIT, Reader::Follower)
            .await
    }

    /// Reads changed messages from memory if it reaches, else from the store.
    async fn read_changes(
        &self,
        room: &RoomFeed,
        after: ChangeSeq,
        limit: u32,
        reader: Reader,
    ) -> Result<NextChanges> {
        let read = || room.read_changes(after, limit as usize);
        if let Some(changed) = self.read_memory(room, reader, read) {
            return Ok(NextChanges::new(changed, AccessSource::Cache));
        }

        let changed = self
            .backend
            .changed_messages(room.name.clone(), after, limit);
        let changed = self.call(changed).await?;
        if changed.is_empty() {
            // The end, or beyond it. Memory does not tell which: another process may have been
            // faster.
            let last = self.stored_last_change(room).await?;
            return Ok(if after > last {
                NextChanges::Gone(last)
            } else {
                NextChanges::None
            });
        }
        let changed = changed.into_iter().map(SharedMessage::from).collect();
        Ok(NextChanges::new(changed, AccessSource::Store))
    }

    /// Returns the number of the last change of a room, as of a moment of this call.
    pub(crate) async fn last_change(&self, room: &RoomFeed) -> Result<ChangeSeq> {
        self.check_open()?;
        self.feed.renew(room);
        match self.feed.read_if_fresh(room, || room.last_change()) {
            Some(known) => Ok(known),
            None => self.stored_last_change(room).await,
        }
    }

    /// Reads the number of the last change from the store, and has the ring take it in.
    async fn stored_last_change(&self, room: &RoomFeed) -> Result<ChangeSeq> {
        let asked = room.generation();
        let stored = self.call(self.backend.room(room.name.clone())).await?;
        let last = stored.map_or(ChangeSeq::ZERO, |stored| stored.last_change);
        self.feed.learn_last_change(room, asked, last);
        Ok(last)
    }
}
