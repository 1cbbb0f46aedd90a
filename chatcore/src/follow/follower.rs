//! Following the messages of one room.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::watch;

use super::room_reader::RoomReader;
use super::watcher::{Gives, Watcher};
use crate::error::{Error, Result};
use crate::position::Position;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, RoomName, Seq};

/// Messages of one room from a `seq` on: in `seq` order, none left out, none twice.
///
/// Made by [`ChatStore::follow`](crate::ChatStore::follow) and
/// [`UserStore::follow`](crate::UserStore::follow). It holds a `seq` of the room and no messages,
/// so a follower that is slow, or stops for a while, costs nothing: what it has not taken yet is
/// read from memory, or from the store, when it does. It keeps the store open.
///
/// It is also a [`Stream`] of single messages. After an error the stream goes on where it was; it
/// ends once the store is closed.
///
/// ```
/// use chatcore::{ChatStore, NewMessage, Seq};
/// use futures_util::TryStreamExt as _;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
/// let room = "general".parse()?;
/// for text in ["hello", "again"] {
///     store.post(NewMessage::new("general".parse()?, "ann".parse()?, text.parse()?)).await?;
/// }
///
/// let mut follower = store.follow(&room, Seq::ZERO);
/// let messages = follower.next().await?; // those that are ready
/// assert_eq!(messages.len(), 2);
///
/// store.close().await?;
/// assert!(follower.try_next().await?.is_none()); // the stream has ended
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Follower {
    room: RoomReader,
    wake: watch::Receiver<()>,
    /// `seq` of the last message that was given.
    after: Seq,
    /// Messages that the stream has read and not given yet.
    ready: VecDeque<SharedMessage>,
    /// A read that the stream has begun. Never locked: the mutex makes the follower `Sync`.
    reading: Mutex<Option<Reading>>,
}

type Reading = Pin<Box<dyn Future<Output = Result<Vec<SharedMessage>>> + Send>>;

impl Follower {
    pub(crate) fn new(room: RoomReader, after: Seq) -> Self {
        Self {
            wake: room.feed.subscribe(),
            room,
            after,
            ready: VecDeque::new(),
            reading: Mutex::default(),
        }
    }

    /// Returns the room that is followed.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.room.feed.name
    }

    /// Returns the `seq` of the last message that was given.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.after
    }

    /// Waits until there are messages after the last one that was given, and gives those that are
    /// ready: at least one, at most 64.
    ///
    /// # Cancellation
    ///
    /// The future may be dropped at any time: no message is skipped or given twice.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; calling again goes on where it was. [`Error::Closed`]: there will be
    /// nothing more. [`Error::RoomNotFound`] if the room is private and the user who follows is
    /// not, or no longer, a member.
    pub async fn next(&mut self) -> Result<Vec<SharedMessage>> {
        self.reading = Mutex::default();
        let messages = if self.ready.is_empty() {
            self.room.next_after(self.after, &mut self.wake).await?
        } else {
            std::mem::take(&mut self.ready).into()
        };
        if let Some(last) = messages.last() {
            self.after = last.seq;
        }
        Ok(messages)
    }

    /// Goes on as a [`Watcher`] that gives changed messages too, from after the change `after` on;
    /// but not who is present.
    #[must_use]
    pub fn with_changes(self, after: ChangeSeq) -> Watcher {
        let position = Position::new(self.after, after);
        Watcher::new(self.room, position, Gives::Changes)
    }
}

impl Stream for Follower {
    type Item = Result<SharedMessage>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let follower = self.get_mut();
        loop {
            if let Some(message) = follower.ready.pop_front() {
                follower.after = message.seq;
                return Poll::Ready(Some(Ok(message)));
            }

            let reading = follower
                .reading
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            let begun = reading.get_or_insert_with(|| {
                let (room, after) = (follower.room.clone(), follower.after);
                let mut wake = follower.wake.clone();
                Box::pin(async move { room.next_after(after, &mut wake).await })
            });
            let read = ready!(begun.as_mut().poll(context));
            *reading = None;
            match read {
                Ok(messages) => follower.ready = messages.into(),
                Err(Error::Closed) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("room", self.room())
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}
