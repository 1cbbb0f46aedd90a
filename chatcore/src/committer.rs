//! Group commit: one queue, one batch in flight.
//!
//! A durable commit costs the same for one message as for hundreds, so everything that arrives
//! while a commit is under way goes into the next one. There is no timer: a lone post is committed
//! at once.

mod changes;
mod moderation;
mod pending;
mod recent;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

pub(crate) use self::changes::Change;
use self::changes::Outcomes;
use self::pending::{Pending, PendingChange, Post, Request, answer, merge};
use self::recent::Recent;
use crate::backend::Backend;
use crate::error::{Error, Invalid, Result};
use crate::feed::Feed;
use crate::model::{Append, Batch, BatchId, BatchMessage, CountChange, Head, RoomBatch};
use crate::options::Clock;
use crate::timestamp::Timestamp;
use crate::types::{Content, Message, NewMessage, Posted, RoomName, Seq, Username};

/// Requests in one commit. Bounds the size of a transaction and the wait of the posts behind it.
const MAX_BATCH: usize = 512;
/// Bytes of messages in one commit, about. A database refuses a transaction that is too large.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// The latest time after which there is one for each message of a batch.
const LATEST_START: Timestamp = Timestamp::MAX.minus_micros(MAX_BATCH as u32);
/// Rooms, and members of each, kept in memory.
const MAX_ROOMS: usize = 32_768;
const MAX_MEMBERS: usize = 1_024;
/// Pause after a member left before members of that room are remembered again.
const RELY_AGAIN: Duration = Duration::from_secs(1);
/// The pause before a failed commit is looked into, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The way in. The committer ends when the last of these is gone and the queue is empty.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Request>,
    closing: Arc<Notify>,
    /// Its sender goes with the worker.
    ended: watch::Receiver<()>,
}

impl Committer {
    /// Starts a committer on the current runtime; `queue` posts may wait in it.
    ///
    /// A call of the store may take `timeout`, and is repeated where the store was out of reach. A
    /// commit that has no result after half as long again is answered with [`Error::Unavailable`]:
    /// a post may take twice `timeout`, so those that came meanwhile have their turn. However the
    /// committer ends, the feed is closed with it.
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        feed: Arc<Feed>,
        clock: Clock,
        queue: usize,
        timeout: Duration,
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
            rooms: HashMap::new(),
            recent: Recent::default(),
            closing: closing.clone(),
            under_way: None,
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

    /// Refuses further posts; those in the queue are still committed.
    pub(crate) fn close(&self) {
        self.closing.notify_one();
    }

    /// Waits until the last commit is done.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Stores a message. If the caller goes away it is stored whole or not at all.
    pub(crate) async fn post(
        &self,
        message: NewMessage,
        mentions: Vec<Username>,
    ) -> Result<Posted> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Post(Post {
            message,
            mentions,
            reply,
        }))?;
        answer.await.unwrap_or_else(|_| Err(unanswered()))
    }

    /// Changes a stored message, and returns it as it is then. If the caller goes away it is
    /// changed whole or not at all.
    pub(crate) async fn change(&self, room: RoomName, seq: Seq, change: Change) -> Result<Message> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Change(PendingChange {
            room,
            seq,
            change,
            reply,
        }))?;
        answer.await.unwrap_or_else(|_| Err(unanswered()))
    }

    fn send(&self, request: Request) -> Result<()> {
        self.queue.try_send(request).map_err(refused)
    }
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

fn unanswered() -> Error {
    Error::Unavailable("a call ended without an answer".into())
}

fn refused<T>(e: mpsc::error::TrySendError<T>) -> Error {
    match e {
        mpsc::error::TrySendError::Full(_) => Error::Busy,
        mpsc::error::TrySendError::Closed(_) => Error::Closed,
    }
}

struct Remembered {
    head: Head,
    /// Some of the members, as of `head.departures`.
    members: HashSet<Username>,
    /// No member is remembered before this. Where members leave all the time, a batch that assumes
    /// members would be refused all the time.
    remembers_from: Option<Instant>,
    /// Some of those who may post in a restricted room, as long: by a name that is proved, and by
    /// one that is not.
    admitted: Admitted,
}

/// Names that may post without, and with, a proof.
type Admitted = [HashSet<Username>; 2];

impl From<Head> for Remembered {
    fn from(head: Head) -> Self {
        Self {
            head,
            members: HashSet::new(),
            remembers_from: None,
            admitted: Admitted::default(),
        }
    }
}

impl Remembered {
    /// Takes in what the store says of the head now. What rested on another head is forgotten.
    fn refresh(&mut self, head: Head) {
        if head.departures != self.head.departures {
            self.members.clear();
            self.remembers_from = Some(Instant::now() + RELY_AGAIN);
        }
        if head.closings != self.head.closings || head.restricted != self.head.restricted {
            self.admitted = Admitted::default();
        }
        self.head = head;
    }

    /// Takes in that a batch with these new members was stored after the remembered head.
    fn advance(&mut self, head: Head, members: &[Username]) {
        self.head = head;

        if self
            .remembers_from
            .is_some_and(|from| Instant::now() < from)
        {
            return;
        }
        if self.members.len() > MAX_MEMBERS {
            self.members.clear();
        }
        self.members.extend(members.iter().cloned());
    }
}

struct Worker {
    backend: Arc<dyn Backend>,
    /// Hears of every batch before those who posted it do.
    feed: Arc<Feed>,
    clock: Clock,
    timeout: Duration,
    /// What is remembered of rooms as of the last commit that is known to have succeeded. Another
    /// process may have moved a head; the backend's guard notices.
    rooms: HashMap<RoomName, Remembered>,
    /// Messages that were stored or changed last.
    recent: Recent,
    closing: Arc<Notify>,
    /// The last batch that was begun, until the posts with it are answered.
    under_way: Option<Arc<Batch>>,
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
            gather(&mut queue, &mut requests).await;
            let mut pending = merge(requests.drain(..));
            if let Err(error) = self.commit_catching_panics(&mut pending).await {
                tracing::warn!(requests = pending.len(), %error, "a batch was not committed");
                pending.into_iter().for_each(|p| p.fail(&error));
            }
        }
    }

    /// Commits, and makes a panic an error: it costs these posts their answer, not all later ones.
    async fn commit_catching_panics(&mut self, pending: &mut Vec<Pending>) -> Result<()> {
        let committed = AssertUnwindSafe(self.commit(pending)).catch_unwind().await;
        let batch = self.under_way.take();
        committed.unwrap_or_else(|_| {
            self.rooms.clear();
            // It may be stored.
            batch
                .into_iter()
                .for_each(|batch| self.mark_uncertain(batch));
            Err(Error::Unavailable("a commit panicked".into()))
        })
    }

    /// Stores what is pending and answers it. What is left in `pending` after an error was not
    /// answered.
    async fn commit(&mut self, pending: &mut Vec<Pending>) -> Result<()> {
        let deadline = Instant::now() + self.timeout * 3 / 2;
        let mut pause = FIRST_PAUSE;
        let mut later = Vec::new();
        while !pending.is_empty() || !later.is_empty() {
            if pending.is_empty() {
                pending.append(&mut later);
            }
            if let Err(error) = self
                .commit_some(pending, &mut later, deadline, &mut pause)
                .await
            {
                pending.append(&mut later);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Commits what is pending, or finds out why not. What would make the batch too large is moved
    /// to `later`.
    async fn commit_some(
        &mut self,
        pending: &mut Vec<Pending>,
        later: &mut Vec<Pending>,
        deadline: Instant,
        pause: &mut Duration,
    ) -> Result<()> {
        self.load_heads(pending, deadline).await?;
        self.refuse_missing_rooms(pending);
        // Before anyone is let in: a head that was read later would guard the batch by what came
        // after.
        self.read_heads_for_replies(pending, deadline).await?;
        self.reject_unauthorized(pending, deadline).await?;
        let now = (self.clock)();
        self.refuse_untimed(pending, now);
        self.refuse_wrong_replies(pending);

        let Some(mut outcomes) = self.resolve_changes(pending, now, deadline).await? else {
            return wait(deadline, pause).await;
        };
        if pending.len() > 1 && outcomes.bytes() > MAX_BATCH_BYTES {
            let mut rest = pending.split_off(pending.len() / 2);
            rest.append(later);
            *later = rest;
            return Ok(());
        }
        if pending.is_empty() {
            return Ok(());
        }

        let batch = self.plan(pending, &mut outcomes, now)?;
        self.under_way = Some(batch.clone());
        match self.append(&batch, deadline).await {
            Ok(Append::Committed) => {
                self.remember(&batch);
                self.feed.publish_batch(&batch);
                answer(pending, &batch, &outcomes);
                Ok(())
            }
            Ok(Append::HeadMoved) => match self.reload_heads(&batch, deadline).await? {
                true => Ok(()),
                // Whatever refused it may go on for a while.
                false => wait(deadline, pause).await,
            },
            Ok(Append::NonceTaken) => self.answer_repeats(pending, deadline).await,
            Ok(Append::NameClaimed) => self.refuse_guests(pending, deadline).await,
            Err(error) => {
                if matches!(error, Error::Unavailable(_)) {
                    self.forget(&batch);
                    self.mark_uncertain(batch);
                }
                Err(error)
            }
        }
    }

    /// Keeps readers of the batch's rooms from trusting the feed until the store says what became
    /// of the batch.
    fn mark_uncertain(&self, batch: Arc<Batch>) {
        self.feed.mark_uncertain(&batch);
        let (backend, feed, timeout) = (
            Arc::downgrade(&self.backend),
            self.feed.clone(),
            self.timeout,
        );
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while let Some(backend) = backend.upgrade() {
                let found =
                    within(Instant::now() + timeout, backend.is_stored(batch.clone())).await;
                if matches!(found, Ok(_) | Err(Error::Closed)) {
                    break;
                }
                drop(backend);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            feed.resolve(&batch);
        });
    }

    fn remember(&mut self, batch: &Batch) {
        self.recent.keep(batch, &*self.backend);
        for room in &batch.rooms {
            let head = room.head();
            let known = self
                .rooms
                .entry(room.room.clone())
                .or_insert_with(|| head.into());
            known.advance(head, &room.members);
        }
    }

    fn forget(&mut self, batch: &Batch) {
        for room in &batch.rooms {
            self.rooms.remove(&room.room);
        }
    }

    /// Fails and removes the posts for which no timestamp is left: those to a room whose newest
    /// message has one of the last, and all of them while the clock shows one of the last, so that
    /// no room comes to that by a wrong clock.
    fn refuse_untimed(&self, pending: &mut Vec<Pending>, now: Timestamp) {
        let last = |room: &RoomName| {
            self.rooms
                .get(room)
                .map_or(now, |known| known.head.timestamp.max(now))
        };
        let rooms = pending
            .iter()
            .filter_map(Pending::as_post)
            .map(|post| &post.message.room);
        let untimed: Vec<_> = rooms
            .filter(|room| last(room) > LATEST_START)
            .cloned()
            .collect();
        for room in untimed {
            let error = Error::Corrupt(format!("no timestamp is left for a message in {room}"));
            fail_room(pending, &room, &error);
        }
    }

    /// Reads the heads of rooms in which a post answers a message that is not known: another
    /// process may have stored it.
    async fn read_heads_for_replies(
        &mut self,
        pending: &[Pending],
        deadline: Instant,
    ) -> Result<()> {
        let ahead = self.wrong_replies(pending);
        if !ahead.is_empty() {
            self.read_heads(ahead.into_iter().collect(), deadline)
                .await?;
        }
        Ok(())
    }

    /// Fails and removes the posts that answer a message which does not exist.
    fn refuse_wrong_replies(&self, pending: &mut Vec<Pending>) {
        let is_wrong = |request: &mut Pending| {
            request
                .as_post()
                .is_some_and(|post| self.is_wrong_reply(&post.message))
        };
        let error = Error::from(Invalid::new(
            "reply_to",
            "must be an earlier message of the room",
        ));
        pending
            .extract_if(.., is_wrong)
            .for_each(|request| request.fail(&error));
    }

    /// Returns the rooms in which a post answers a message after the remembered head.
    fn wrong_replies(&self, pending: &[Pending]) -> HashSet<RoomName> {
        let posts = pending
            .iter()
            .filter_map(Pending::as_post)
            .map(|post| &post.message);
        posts
            .filter(|message| self.is_wrong_reply(message))
            .map(|message| message.room.clone())
            .collect()
    }

    fn is_wrong_reply(&self, message: &NewMessage) -> bool {
        let last = self
            .rooms
            .get(&message.room)
            .map_or(Seq::ZERO, |known| known.head.seq);
        message
            .reply_to
            .is_some_and(|seq| seq == Seq::ZERO || seq > last)
    }

    /// Numbers the messages and the changes after the heads of their rooms, and times the messages.
    fn plan(
        &self,
        pending: &[Pending],
        outcomes: &mut Outcomes,
        now: Timestamp,
    ) -> Result<Arc<Batch>> {
        let mut rooms: Vec<RoomBatch> = Vec::new();
        let mut room_index: HashMap<RoomName, usize> = HashMap::new();
        let mut counts: HashMap<&Username, (i64, i64)> = HashMap::new();
        let changed: Vec<_> = outcomes.rooms().cloned().collect();
        for room in pending
            .iter()
            .filter_map(Pending::as_post)
            .map(|post| &post.message.room)
            .chain(&changed)
        {
            room_index.entry(room.clone()).or_insert_with(|| {
                rooms.push(RoomBatch {
                    room: room.clone(),
                    after: self.rooms.get(room).map(|known| known.head),
                    messages: Vec::new(),
                    changes: Vec::new(),
                    members: Vec::new(),
                    assumes_members: false,
                });
                rooms.len() - 1
            });
        }

        for post in pending.iter().filter_map(Pending::as_post) {
            let Some(room) = room_index
                .get(&post.message.room)
                .and_then(|at| rooms.get_mut(*at))
            else {
                continue;
            };
            let head = room.head();
            room.messages
                .push(place(&post.message, &post.mentions, head, now));
            counts.entry(&post.message.sender).or_default().0 += 1;
        }
        let head = |room: &RoomName| self.rooms.get(room).map_or(Head::EMPTY, |known| known.head);
        let mut changes = outcomes.number(head);
        for room in &mut rooms {
            room.changes = changes.remove(&room.room).unwrap_or_default();

            let known = self.rooms.get(&room.room).map(|known| &known.members);
            let mut senders: Vec<_> = room
                .messages
                .iter()
                .map(|message| &message.content.sender)
                .collect();
            senders.sort_unstable();
            senders.dedup();

            let all = senders.len();
            senders.retain(|sender| known.is_none_or(|known| !known.contains(*sender)));
            room.assumes_members = senders.len() < all;
            room.members = senders.into_iter().cloned().collect();
        }
        // A fixed order keeps two processes from locking the same documents crosswise.
        rooms.sort_unstable_by(|a, b| a.room.cmp(&b.room));

        for sender in outcomes.deleted() {
            counts.entry(sender).or_default().1 += 1;
        }
        let counts = counts.into_iter();
        let mut counts: Vec<_> = counts
            .map(|(user, (added, removed))| CountChange {
                user: user.clone(),
                added,
                removed,
            })
            .collect();
        counts.sort_unstable();

        let actors = pending.iter().filter_map(Pending::actor);
        let mut guests: Vec<_> = actors
            .filter(|(_, verified)| !verified)
            .map(|(actor, _)| actor.clone())
            .collect();
        guests.sort_unstable();
        guests.dedup();
        Ok(Arc::new(Batch {
            id: BatchId(crate::session::random()?),
            rooms,
            counts,
            guests,
        }))
    }

    /// Loads the heads of rooms that are not remembered. Posts to a room whose head cannot be read
    /// fail, and are removed.
    async fn load_heads(&mut self, pending: &mut Vec<Pending>, deadline: Instant) -> Result<()> {
        if self.rooms.len() > MAX_ROOMS {
            self.rooms.clear();
        }
        let mut unknown: Vec<_> = pending.iter().map(Pending::room).collect();
        unknown.retain(|room| !self.rooms.contains_key(*room));
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }

        let rooms: Vec<_> = unknown.into_iter().cloned().collect();
        let heads = self
            .persist(deadline, || self.backend.heads(rooms.clone()))
            .await?;
        for (room, head) in rooms.into_iter().zip(heads) {
            match head {
                Ok(Some(head)) => drop(self.rooms.insert(room, head.into())),
                Ok(None) => {}
                Err(error) => fail_room(pending, &room, &error),
            }
        }
        Ok(())
    }

    /// Looks at the heads of a batch that was refused, and forgets what they contradict. The other
    /// rooms of the batch stay remembered. Returns false if no head was other than expected.
    async fn reload_heads(&mut self, batch: &Batch, deadline: Instant) -> Result<bool> {
        if Instant::now() >= deadline {
            return Err(out_of_time());
        }
        self.read_heads(
            batch.rooms.iter().map(|part| part.room.clone()).collect(),
            deadline,
        )
        .await
    }

    /// Reads the heads of rooms, and forgets what they contradict. Returns false if none of them
    /// was other than remembered.
    async fn read_heads(&mut self, rooms: Vec<RoomName>, deadline: Instant) -> Result<bool> {
        let mut has_moved = false;
        let heads = self
            .persist(deadline, || self.backend.heads(rooms.clone()))
            .await?;
        for (room, head) in rooms.into_iter().zip(heads) {
            let known = self.rooms.get(&room).map(|known| known.head);
            has_moved |= head.as_ref().ok() != Some(&known);
            match (head, self.rooms.entry(room)) {
                (Ok(Some(head)), Entry::Occupied(known)) => known.into_mut().refresh(head),
                (Ok(Some(head)), Entry::Vacant(place)) => drop(place.insert(head.into())),
                (_, Entry::Occupied(known)) => drop(known.remove()),
                (_, Entry::Vacant(_)) => {}
            }
        }
        Ok(has_moved)
    }

    /// Fails and removes the posts to rooms that do not exist, which they may not create. The heads
    /// of all rooms are loaded.
    fn refuse_missing_rooms(&self, pending: &mut Vec<Pending>) {
        let is_refused = |request: &mut Pending| {
            let may_create_room = request.as_post().is_some_and(|post| {
                // There is nothing to answer in a room that does not exist.
                post.message.may_create_room && post.message.reply_to.is_none()
            });
            !may_create_room && !self.rooms.contains_key(request.room())
        };
        pending
            .extract_if(.., is_refused)
            .for_each(|request| request.fail(&Error::RoomNotFound));
    }

    /// Stores a batch, and where the result is unknown finds out what it was.
    ///
    /// The batch is only ever repeated as it is: the heads that it expects let at most one attempt
    /// through, however late the others arrive.
    async fn append(&self, batch: &Arc<Batch>, deadline: Instant) -> Result<Append> {
        let mut unknown = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let refused =
                match within(self.limit(deadline), self.backend.append(batch.clone())).await {
                    Err(error @ Error::Unavailable(_)) => {
                        unknown = true;
                        tracing::debug!(%error, "the result of a commit is unknown");
                        None
                    }
                    result @ Ok(Append::Committed) => return result,
                    result if !unknown => return result,
                    // This attempt was refused. The earlier one may be what moved the head, took
                    // the nonce or filled the disk.
                    result => Some(result),
                };
            if self.look(batch, deadline, &mut pause).await? {
                return Ok(Append::Committed);
            }
            if let Some(refused) = refused {
                return refused;
            }
            wait(deadline, &mut pause).await?;
        }
    }

    /// Returns true if a batch is stored. Asks until there is an answer: as long as there is none,
    /// no error may claim that nothing was stored.
    async fn look(
        &self,
        batch: &Arc<Batch>,
        deadline: Instant,
        pause: &mut Duration,
    ) -> Result<bool> {
        loop {
            match within(self.limit(deadline), self.backend.is_stored(batch.clone())).await {
                Ok(is_stored) => return Ok(is_stored),
                Err(error) => tracing::debug!(%error, "it is not known whether a batch is stored"),
            }
            wait(deadline, pause).await?;
        }
    }

    /// Asks the store until it is in reach and answers.
    async fn persist<T, F>(&self, deadline: Instant, question: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match within(self.limit(deadline), question()).await {
                Err(Error::Unavailable(_)) => wait(deadline, &mut pause).await?,
                answer => return answer,
            }
        }
    }

    /// Until when one call may take, if all of them may take until `deadline`.
    fn limit(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.timeout)
    }

    /// Answers and removes the posts whose nonce belongs to a stored message.
    async fn answer_repeats(&self, pending: &mut Vec<Pending>, deadline: Instant) -> Result<()> {
        if Instant::now() >= deadline {
            return Err(out_of_time());
        }
        let keys: Vec<_> = pending
            .iter()
            .filter_map(|request| request.as_post()?.key())
            .collect();
        let mut stored = self
            .persist(deadline, || self.backend.messages_by_nonce(keys.clone()))
            .await?
            .into_iter();

        for request in std::mem::take(pending) {
            let post = match request {
                Pending::Post(post) if post.message.nonce.is_some() => post,
                other => {
                    pending.push(other);
                    continue;
                }
            };
            match stored.next() {
                Some(Ok(Some(message))) => {
                    post.answer(Posted {
                        message,
                        repeated: true,
                        created_room: false,
                    });
                }
                Some(Err(error)) => Pending::Post(post).fail(&error),
                Some(Ok(None)) | None => pending.push(Pending::Post(post)),
            }
        }
        Ok(())
    }
}

/// Fails and removes the requests that concern one room.
fn fail_room(pending: &mut Vec<Pending>, room: &RoomName, error: &Error) {
    tracing::error!(%room, %error, "posts to a room, and changes in it, fail");
    pending
        .extract_if(.., |request| request.room() == room)
        .for_each(|request| request.fail(error));
}

/// Lets the tasks that are ready to run post first, so that those who were answered together post
/// together again. Waits for nobody: it ends with the first turn that brings no post.
async fn gather(queue: &mut mpsc::Receiver<Request>, jobs: &mut Vec<Request>) {
    while jobs.len() < MAX_BATCH {
        tokio::task::yield_now().await;
        let before = jobs.len();
        while jobs.len() < MAX_BATCH
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        if jobs.len() == before {
            break;
        }
    }
}

/// Returns the message that follows `head`.
fn place(new: &NewMessage, mentions: &[Username], head: Head, now: Timestamp) -> BatchMessage {
    let earliest = head.timestamp.plus_micros(1);
    let NewMessage {
        sender,
        text,
        nonce,
        verified,
        reply_to,
        ..
    } = new.clone();
    let content = Content {
        sender,
        text,
        verified,
        reply_to,
        mentions: mentions.to_vec(),
        edited_at: None,
        reactions: Vec::new(),
    };
    BatchMessage {
        seq: head.seq.next(),
        timestamp: now.max(earliest),
        content,
        nonce,
    }
}

async fn within<T>(deadline: Instant, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout_at(deadline, call)
        .await
        .unwrap_or_else(|_| Err(out_of_time()))
}

/// Waits before the next try, a little longer each time.
async fn wait(deadline: Instant, pause: &mut Duration) -> Result<()> {
    if Instant::now() + *pause >= deadline {
        return Err(out_of_time());
    }
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
    Ok(())
}

fn out_of_time() -> Error {
    Error::Unavailable("it did not answer in time".into())
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;
