//! Following one room.

use std::fmt;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;

use crate::error::Result;
use crate::feed::RoomFeed;
use crate::shared::SharedMessage;
use crate::store::ChatStore;
use crate::types::{RoomName, Seq};

/// The messages of one room from a place on: in `seq` order, none left out, none twice.
///
/// Made by [`ChatStore::follow`]. It holds a place in the room and no messages, so a follower that
/// is slow, or stops for a while, costs nothing: what it has not taken yet is read from memory, or
/// from the store, when it does.
pub struct Follower {
    store: ChatStore,
    room: Arc<RoomFeed>,
    wake: watch::Receiver<()>,
    after: Seq,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("room", self.room())
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) fn new(store: ChatStore, room: Arc<RoomFeed>, after: Seq) -> Self {
        let wake = room.listen();
        Self { store, room, wake, after }
    }

    /// The room that is followed.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.room.name
    }

    /// The place of the last message that was given.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.after
    }

    /// Waits until there are messages after the last one that was given, and gives those that are
    /// ready: at least one, at most 64.
    ///
    /// The future may be dropped at any time; nothing is skipped by it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable); calling again goes on where it was.
    pub async fn next(&mut self) -> Result<Vec<SharedMessage>> {
        loop {
            // Before the look, so that whatever comes after it wakes.
            self.wake.mark_unchanged();
            let messages = self.store.next_of(&self.room, self.after).await?;
            if let Some(last) = messages.last() {
                self.after = last.seq;
                return Ok(messages);
            }
            // The sender lives as long as `room`.
            let _ = self.wake.changed().await;
        }
    }

    /// The same as a stream of single messages. After an error it goes on where it was.
    pub fn into_stream(self) -> impl Stream<Item = Result<SharedMessage>> {
        let batches = stream::unfold(self, |mut follower| async move {
            let batch = follower.next().await;
            Some((batch, follower))
        });
        batches.map_ok(|batch| stream::iter(batch).map(Ok)).try_flatten()
    }
}
