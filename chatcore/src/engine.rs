//! Parts that all handles of one store share, and the reads that go through memory.
//!
//! - [`access`]: whether an actor may enter a room
//! - [`messages`]: reading messages, from memory where it reaches, else from the store
//! - [`changes`]: reading changed messages in the same way
//! - [`commits`]: posts and changes, on their way to the committer

mod access;
mod changes;
mod commits;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub(crate) use self::changes::NextChanges;
use crate::account::Hasher;
use crate::backend::Backend;
use crate::committer::Committer;
use crate::error::{Error, Result};
use crate::feed::{Feed, PresenceUpdate, RoomFeed, UserUpdate};
use crate::model::Signal;
use crate::options::Options;
use crate::session::expired_before;
use crate::shared::SharedMessage;
use crate::stats::Counters;
use crate::timestamp::Timestamp;
use crate::types::Username;

/// The most messages that a follower takes at once.
pub(crate) const FOLLOW_LIMIT: u32 = 64;

/// Parts of a store. Dropping it ends the tasks that work on its behalf.
pub(crate) struct Engine {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) committer: Committer,
    pub(crate) hasher: Hasher,
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    /// True once the store is closed to the end. Held while that is done.
    ended: Mutex<bool>,
}

/// Kind of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Gets what the store holds now.
    Poll,
    /// Gets what is in memory, even where it may not be fresh: it is woken for what is lacking.
    Follower,
}

/// Source of the answer whether an actor may enter a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessSource {
    /// The cached answer, while the change stream is live.
    Cache,
    /// The store, if another process may have removed the actor.
    Store,
}

/// Messages that were found for a reader.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) messages: Vec<SharedMessage>,
    /// The store, if they were read from it: it may have messages that are not published here yet,
    /// which were posted after the reader was removed.
    pub(crate) access: AccessSource,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.feed.close();
    }
}

impl Engine {
    /// Returns the parts of a store, and a receiver of the updates of presence that they ask for.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        options: Options,
    ) -> (Self, tokio::sync::mpsc::UnboundedReceiver<PresenceUpdate>) {
        let (feed, presence_updates) = Feed::new(!backend.is_shared());
        let feed = Arc::new(feed);
        let counters = Arc::new(Counters::default());
        let committer = Committer::start(
            backend.clone(),
            feed.clone(),
            options.clock.clone(),
            options.queue,
            options.timeout,
            counters.clone(),
        );
        let engine = Self {
            backend,
            feed,
            committer,
            hasher: Hasher::default(),
            options,
            counters,
            ended: Mutex::new(false),
        };
        (engine, presence_updates)
    }

    /// Commits what is queued, refuses what comes after, and closes the backend. Goes on if the
    /// future is dropped.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<()> {
        // First, so that nothing more is given to the committer.
        self.feed.close();
        self.committer.close();

        let engine = self.clone();
        let ending = tokio::spawn(async move { engine.end().await });
        let cut_off = |e| {
            Err(Error::Unavailable(
                format!("closing was cut off: {e}").into(),
            ))
        };
        ending.await.unwrap_or_else(cut_off)
    }

    /// Waits for the last commit, writes the last read marks and closes the backend, once.
    async fn end(&self) -> Result<()> {
        let mut ended = self.ended.lock().await;
        if *ended {
            return Ok(());
        }

        self.committer.ended().await;
        let read_marks = &self.feed.read_marks;
        read_marks.close();
        let write = |marks| within(self.options.timeout, self.backend.store_read_marks(marks));
        let written = read_marks.flush(write).await;

        // Read marks that cannot be written must not keep the store from other processes.
        within(self.options.timeout, self.backend.close()).await?;
        *ended = true;
        tracing::info!("the store is closed");
        written
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.feed.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// Waits for a call of the backend, within the time limit.
    pub(crate) async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.check_open()?;
        within(self.options.timeout, call).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    /// Returns the time before which the last use of a session lies if it has expired by `now`.
    pub(crate) fn alive_since(&self, now: Timestamp) -> Timestamp {
        expired_before(now, self.options.session_idle)
    }

    /// Publishes a signal to other processes, in the background: nobody waits for it.
    pub(crate) fn publish_signal(self: &Arc<Self>, signal: Signal) {
        if !self.backend.is_shared() {
            return;
        }

        let engine = self.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.call(engine.backend.publish_signal(signal)).await {
                tracing::debug!(%error, "a signal could not be published to other processes");
            }
        });
    }

    /// Notifies those who watch a user, in any case of the name and at every process, that some of
    /// the user's sessions ended.
    pub(crate) fn notify_sessions_ended(self: &Arc<Self>, user: &Username) {
        self.feed.users.notify_sessions_ended(user);
        self.publish_signal(Signal::SessionsEnded(user.clone()));
    }

    /// Notifies those who watch a user, at every process, that the list of the user's rooms has
    /// changed.
    pub(crate) fn notify_rooms_changed(self: &Arc<Self>, user: &Username) {
        self.feed.users.notify(user, UserUpdate::RoomsChanged);
        self.publish_signal(Signal::RoomsChanged(user.clone()));
    }

    /// Reads memory of a room, as far as it may answer a kind of reader.
    fn read_memory<T>(
        &self,
        room: &RoomFeed,
        reader: Reader,
        read: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        match reader {
            Reader::Poll => self.feed.read_if_fresh(room, read),
            Reader::Follower => read(),
        }
    }
}

/// Waits for a call, but not longer than `timeout`.
pub(crate) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = |_| Err(Error::Unavailable("it did not answer in time".into()));
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(late)
}
