//! Group commit: one queue, one batch in flight.
//!
//! A durable commit costs the same for one message as for hundreds, so everything that arrives
//! while a commit is under way goes into the next one. There is no timer: a lone post is committed
//! at once.
//!
//! # The path of a batch
//!
//! ```text
//!  post, change          a full queue answers Busy
//!       │
//!  drain, merge          posts with the same nonce become one            request, pending
//!       │
//!  load heads            from memory, else from the store                rooms
//!  reject missing rooms                                                  validation
//!  reject unauthorized   who may post is decided here                    authorization
//!  reject wrong replies  after that, so that they tell nothing           validation
//!  resolve changes       what edits, deletions and reactions lead to     changes, draft, outcomes
//!       │
//!  build_batch           numbers, times, members, counters, guards       build
//!       │
//!  append, confirm       one atomic step of the backend                  append
//!       │
//!       ├─ Committed     advance the heads, publish to the feed, answer  answers
//!       ├─ HeadMoved     reload the heads and try again                  rooms
//!       ├─ NonceTaken    answer repeats, try again with the rest         answers
//!       ├─ NameClaimed   reject guests, try again with the rest          authorization
//!       └─ Unavailable   answer that; readers of the rooms ask the store
//!                        until a task has confirmed the result           append
//! ```
//!
//! [`Worker::commit_once`] is this path in code.
//!
//! # A commit without an answer
//!
//! If the backend does not answer in time, the batch is stored, or not, or will be: an attempt may
//! arrive late. The committer asks [`is_stored`](crate::backend::Commits::is_stored) and repeats
//! the same batch until time is up. The callers are then answered with [`Error::Unavailable`], the
//! rooms are forgotten, and the feed is told that their readers must ask the store
//! ([`Feed::mark_uncertain`]) until a task has found out. Where other processes may show the batch
//! to their readers, polls ask the store after a second without an answer. A caller who repeats the
//! post with its nonce gets the stored message, or stores it once.
//!
//! # Guards
//!
//! A batch is built from remembered facts, and refused if one of them is no longer true. The head
//! of each room ([`Head`](crate::model::Head)) guards them:
//!
//! - `seq` and `change`: no other message and no other change came in between;
//! - `closings`: everyone who was allowed to post still is;
//! - `departures`: everyone who was a member still is, for a batch that does not add its senders
//!   as members again because it assumes that they are.

mod answers;
mod append;
mod authorization;
mod build;
mod calls;
mod changes;
mod draft;
mod outcomes;
mod pending;
mod recent;
mod request;
mod rooms;
mod validation;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use self::answers::{answer_committed, answer_repeats};
use self::append::{append, resolve_later};
use self::authorization::{reject_guests, reject_unauthorized};
use self::build::build_batch;
use self::calls::{Backoff, Calls};
use self::changes::{ChangeResolver, Resolved};
use self::pending::{Pending, fail_room, merge};
use self::recent::Recent;
pub(crate) use self::request::Change;
use self::request::{ChangeRequest, MAX_BATCH, PostRequest, Request, drain};
use self::rooms::RoomCache;
use self::validation::{
    reject_missing_rooms, reject_untimed, reject_wrong_replies, rooms_replied_ahead,
};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::model::{Append, Batch};
use crate::options::Clock;
use crate::stats::Counters;
use crate::timestamp::Timestamp;
use crate::types::{Message, NewMessage, Posted, RoomName, Seq, Username};

/// Bytes of messages in one commit, about. A database refuses a transaction that is too large.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A handle of the committer, which ends when the last handle is gone and the queue is empty.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Request>,
    closing: Arc<Notify>,
    /// Ends when the worker does: its sender is dropped then.
    ended: watch::Receiver<()>,
}

impl Committer {
    /// Starts a committer on the current runtime; `queue` requests may wait in it.
    ///
    /// A call of the backend may take `timeout`, and is repeated while the store is out of reach. A
    /// commit that has no result after half as long again is answered with [`Error::Unavailable`]:
    /// a post may take twice `timeout`, so those that came meanwhile have their turn. However the
    /// committer ends, the feed is closed with it.
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        feed: Arc<Feed>,
        clock: Clock,
        queue: usize,
        timeout: Duration,
        counters: Arc<Counters>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let (running, ended) = watch::channel(());
        let running = Running {
            feed: feed.clone(),
            _ended: running,
        };
        let closing = Arc::new(Notify::new());
        let worker = Worker {
            backend,
            feed,
            clock,
            timeout,
            rooms: RoomCache::default(),
            recent: Recent::default(),
            closing: closing.clone(),
            in_flight: None,
            counters,
            is_out: false,
        };

        tokio::spawn(async move {
            let _running = running;
            worker.run(receiver).await;
        });
        Self {
            queue: sender,
            closing,
            ended,
        }
    }

    /// Returns the number of requests that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Refuses further requests; those in the queue are still committed.
    pub(crate) fn close(&self) {
        self.closing.notify_one();
    }

    /// Waits until the last commit is done.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Stores a message. If the caller goes away, it is stored whole or not at all.
    pub(crate) async fn post(
        &self,
        message: NewMessage,
        mentions: Vec<Username>,
    ) -> Result<Posted> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Post(PostRequest {
            message,
            mentions,
            reply,
        });

        self.send(request)?;
        answer.await.unwrap_or_else(|_| Err(unanswered()))
    }

    /// Changes a stored message, and returns it as it is then. If the caller goes away, it is
    /// changed whole or not at all.
    pub(crate) async fn change(&self, room: RoomName, seq: Seq, change: Change) -> Result<Message> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Change(ChangeRequest {
            room,
            seq,
            change,
            reply,
        });

        self.send(request)?;
        answer.await.unwrap_or_else(|_| Err(unanswered()))
    }

    fn send(&self, request: Request) -> Result<()> {
        self.queue.try_send(request).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })
    }
}

fn unanswered() -> Error {
    Error::Unavailable("a call ended without an answer".into())
}

/// Closes the feed when the worker ends, in whatever way.
struct Running {
    feed: Arc<Feed>,
    _ended: watch::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.feed.close();
    }
}

/// The task that commits.
struct Worker {
    backend: Arc<dyn Backend>,
    /// Every batch is published here before its callers are answered.
    feed: Arc<Feed>,
    clock: Clock,
    timeout: Duration,
    rooms: RoomCache,
    recent: Recent,
    closing: Arc<Notify>,
    /// The last batch that was built, until its callers are answered. A panic leaves it here.
    in_flight: Option<Arc<Batch>>,
    counters: Arc<Counters>,
    /// True from a commit that the store did not answer until one succeeds.
    is_out: bool,
}

impl Worker {
    /// Runs until the queue is closed and empty.
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut requests = Vec::with_capacity(MAX_BATCH);
        loop {
            tokio::select! {
                taken = queue.recv_many(&mut requests, MAX_BATCH) => if taken == 0 { break },
                () = self.closing.notified() => queue.close(),
            }
            drain(&mut queue, &mut requests).await;

            let mut pending = merge(requests.drain(..));
            if let Err(error) = self.commit_catching_panics(&mut pending).await {
                self.report_failure(&error, pending.len());
                pending.into_iter().for_each(|p| p.fail(&error));
            }
        }
    }

    /// Logs a batch that was not committed: as a warning, but once for each outage.
    fn report_failure(&mut self, error: &Error, requests: usize) {
        let is_outage = matches!(error, Error::Unavailable(_));
        if is_outage && std::mem::replace(&mut self.is_out, true) {
            tracing::debug!(requests, %error, "a batch was not committed");
        } else {
            tracing::warn!(requests, %error, "a batch was not committed");
        }
    }

    /// Commits, and makes a panic an error: it costs these callers their answer, not all later
    /// ones.
    async fn commit_catching_panics(&mut self, pending: &mut Vec<Pending>) -> Result<()> {
        let committed = AssertUnwindSafe(self.commit(pending)).catch_unwind().await;
        let in_flight = self.in_flight.take();

        committed.unwrap_or_else(|_| {
            self.rooms.clear();
            if let Some(batch) = in_flight {
                // It may be stored.
                resolve_later(batch, &self.backend, &self.feed, self.timeout);
            }
            Err(Error::Unavailable("a commit panicked".into()))
        })
    }

    /// Stores what is pending and answers it. After an error, the requests that are left in
    /// `pending` are not answered.
    async fn commit(&mut self, pending: &mut Vec<Pending>) -> Result<()> {
        let deadline = Instant::now() + self.timeout * 3 / 2;
        let calls = Calls::new(self.backend.clone(), self.timeout, deadline);
        let mut backoff = Backoff::default();
        let mut later = Vec::new();

        loop {
            if pending.is_empty() {
                pending.append(&mut later);
            }
            if pending.is_empty() {
                return Ok(());
            }

            let committed = self
                .commit_once(pending, &mut later, &calls, &mut backoff)
                .await;
            if committed.is_err() {
                pending.append(&mut later);
                return committed;
            }
        }
    }

    /// Commits what is pending, or removes a reason for which it cannot be committed yet. Requests
    /// that would make the batch too large are moved to `later`.
    async fn commit_once(
        &mut self,
        pending: &mut Vec<Pending>,
        later: &mut Vec<Pending>,
        calls: &Calls,
        backoff: &mut Backoff,
    ) -> Result<()> {
        let now = self.reject_invalid(pending, calls).await?;

        let mut outcomes = match self.resolver(calls, now).resolve(pending).await? {
            Resolved::Ready(outcomes) => outcomes,
            Resolved::NotDurable => return calls.wait(backoff).await,
        };
        if pending.len() > 1 && outcomes.bytes() > MAX_BATCH_BYTES {
            let mut second_half = pending.split_off(pending.len() / 2);
            second_half.append(later);
            *later = second_half;
            return Ok(());
        }
        if pending.is_empty() {
            return Ok(());
        }

        let batch = build_batch(pending, &mut outcomes, &self.rooms, now)?;
        self.in_flight = Some(batch.clone());
        let began = Instant::now();
        let (appended, _late) = append(calls, &batch, &self.feed).await;
        match appended {
            Ok(Append::Committed) => {
                self.count(&batch, began.elapsed());
                self.publish(&batch);
                answer_committed(pending, &batch, &outcomes);
                Ok(())
            }
            Ok(Append::HeadMoved) => self.reload_heads(&batch, calls, backoff).await,
            Ok(Append::NonceTaken) => answer_repeats(pending, calls).await,
            Ok(Append::NameClaimed) => reject_guests(pending, calls).await,
            Err(error) => {
                if matches!(error, Error::Unavailable(_)) {
                    self.rooms.forget(&batch);
                    resolve_later(batch, &self.backend, &self.feed, self.timeout);
                }
                Err(error)
            }
        }
    }

    fn resolver<'a>(&'a self, calls: &'a Calls, now: Timestamp) -> ChangeResolver<'a> {
        ChangeResolver {
            calls,
            rooms: &self.rooms,
            recent: &self.recent,
            now,
        }
    }

    /// Fails and removes the requests that their rooms cannot take or that their actors may not
    /// make. Returns the time of the batch.
    async fn reject_invalid(
        &mut self,
        pending: &mut Vec<Pending>,
        calls: &Calls,
    ) -> Result<Timestamp> {
        let rooms = pending.iter().map(Pending::room);
        for (room, error) in self.rooms.load(calls, rooms).await? {
            fail_room(pending, &room, &error);
        }
        reject_missing_rooms(pending, &self.rooms);

        // All heads are read before the access that they guard: a head that was read later would
        // hide a loss of rights in between.
        let ahead = rooms_replied_ahead(pending, &self.rooms);
        if !ahead.is_empty() {
            self.rooms.refresh(calls, ahead).await?;
        }
        reject_unauthorized(pending, &mut self.rooms, calls).await?;

        let now = (self.clock)();
        reject_untimed(pending, &self.rooms, now);
        reject_wrong_replies(pending, &self.rooms);
        Ok(now)
    }

    /// Counts and logs a committed batch.
    fn count(&mut self, batch: &Batch, time: Duration) {
        self.counters.count_batch(time);
        let messages: usize = batch
            .rooms
            .iter()
            .map(|room_batch| room_batch.messages.len())
            .sum();
        let changes: usize = batch
            .rooms
            .iter()
            .map(|room_batch| room_batch.changes.len())
            .sum();
        let rooms = batch.rooms.len();
        tracing::debug!(rooms, messages, changes, ?time, "a batch is committed");
        if std::mem::take(&mut self.is_out) {
            tracing::info!("batches are committed again");
        }
    }

    /// Remembers a stored batch, and publishes it to readers and followers.
    fn publish(&mut self, batch: &Batch) {
        self.recent.keep(batch, &*self.backend);
        self.rooms.advance(batch);
        self.feed.publish_batch(batch);
    }

    /// Reads the heads of a refused batch again. Waits if none has moved: whatever refused the
    /// batch may go on for a while.
    async fn reload_heads(
        &mut self,
        batch: &Batch,
        calls: &Calls,
        backoff: &mut Backoff,
    ) -> Result<()> {
        calls.check_deadline()?;

        let rooms = batch
            .rooms
            .iter()
            .map(|room_batch| room_batch.room.clone())
            .collect();
        let has_moved = self.rooms.refresh(calls, rooms).await?;
        if has_moved {
            return Ok(());
        }
        calls.wait(backoff).await
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;
