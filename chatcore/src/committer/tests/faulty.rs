//! A store whose commits fail by a plan.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::account::{Account, NameKey};
use crate::backend::{AccessControl, Accounts, Backend, Commits, EventSink, History, Rooms};
use crate::error::{Error, Result};
use crate::model::{
    Access, Append, Batch, Head, Joined, MessageChange, NewSession, NonceKey, Page, ProcessId,
    ProcessPresence, ReadMark, ReadState, RoomBatch, Stored, Target,
};
use crate::session::{Session, SessionId, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::{
    ChangeSeq, Message, Privacy, Range, Room, RoomName, Seq, Topic, UserRoom, Username,
};

/// The outcome of one call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It is not done, and the answer is that the store is out of reach.
    Before,
    /// It is done, and the answer is that the store is out of reach.
    After,
    /// It is done in a task that the caller stops waiting for.
    Late,
    /// It is not done, but a late call is, and the answer is that the store is out of reach.
    Overtaken,
    /// It is done, and there is no answer.
    Silent,
    /// It never ends and nothing is done.
    Hangs,
    /// It is refused as if another process had moved the head.
    Moved,
    /// The disk is full.
    Full,
    /// Too many calls wait.
    Busy,
    /// It is done, and then the call panics.
    Panics,
    /// It is passed on.
    None,
}

/// Counters of the calls of one kind: all of them, those under way, and the most at once.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) all: AtomicUsize,
    now: AtomicUsize,
    pub(super) most: AtomicUsize,
}

impl Calls {
    /// Runs a call, which takes a while, so that others may begin meanwhile.
    async fn count<T>(&self, call: impl Future<Output = T>) -> T {
        self.all.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let result = call.await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        result
    }

    pub(super) fn reset(&self) {
        self.all.store(0, Ordering::SeqCst);
        self.most.store(0, Ordering::SeqCst);
    }
}

/// A store that plays one of several processes, and the calls that it gets.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// True while the change stream is live. An epoch begins each time that it becomes so.
    pub(super) is_watching: watch::Sender<bool>,
    pub(super) reads: Calls,
    pub(super) heads: Calls,
    pub(super) presence: Calls,
}

/// An SQLite store whose commits fail by a plan.
pub(super) struct Faulty {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) appends: Mutex<VecDeque<Fault>>,
    pub(super) confirmations: Mutex<VecDeque<Fault>>,
    pub(super) appended: AtomicUsize,
    /// Number of reads of the access to a room.
    pub(super) accesses: AtomicUsize,
    /// Set if the store plays one of several processes.
    pub(super) peer: Option<Peer>,
    /// Releases a late call.
    pub(super) release: Arc<Notify>,
}

fn next(plan: &Mutex<VecDeque<Fault>>) -> Fault {
    plan.lock().unwrap().pop_front().unwrap_or(Fault::None)
}

fn out_of_reach<T>() -> Result<T> {
    Err(Error::Unavailable("by plan".into()))
}

#[async_trait]
impl Commits for Faulty {
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>> {
        match &self.peer {
            Some(peer) => peer.heads.count(self.inner.heads(rooms)).await,
            None => self.inner.heads(rooms).await,
        }
    }

    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.appended.fetch_add(1, Ordering::SeqCst);
        match next(&self.appends) {
            Fault::Before => out_of_reach(),
            Fault::After => {
                self.inner.append(batch).await?;
                out_of_reach()
            }
            Fault::Late => {
                let (inner, release) = (self.inner.clone(), self.release.clone());
                tokio::spawn(async move {
                    release.notified().await;
                    inner.append(batch).await
                });
                out_of_reach()
            }
            Fault::Overtaken => {
                self.release.notify_one();
                let rooms: Vec<_> = batch.rooms.iter().map(|room| room.room.clone()).collect();
                while self
                    .inner
                    .heads(rooms.clone())
                    .await?
                    .iter()
                    .all(|head| matches!(head, Ok(None)))
                {
                    tokio::task::yield_now().await;
                }
                out_of_reach()
            }
            Fault::Silent => {
                self.inner.append(batch).await?;
                std::future::pending().await
            }
            Fault::Hangs => std::future::pending().await,
            Fault::Moved => Ok(Append::HeadMoved),
            Fault::Full => Err(Error::Full),
            Fault::Busy => Err(Error::Busy),
            Fault::Panics => {
                self.inner.append(batch).await?;
                panic!("by plan");
            }
            Fault::None => self.inner.append(batch).await,
        }
    }

    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool> {
        match next(&self.confirmations) {
            Fault::None => self.inner.is_stored(batch).await,
            Fault::Hangs => std::future::pending().await,
            Fault::Full => Err(Error::Full),
            _ => out_of_reach(),
        }
    }

    async fn targets(
        &self,
        targets: Vec<Target>,
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>> {
        self.inner.targets(targets, state).await
    }

    fn locations_of(&self, room_batch: &RoomBatch) -> Vec<i64> {
        self.inner.locations_of(room_batch)
    }

    fn location_after(&self, change: &MessageChange) -> i64 {
        self.inner.location_after(change)
    }

    async fn messages_by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>> {
        self.inner.messages_by_nonce(keys).await
    }
}

#[async_trait]
impl History for Faulty {
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        match &self.peer {
            Some(peer) => {
                peer.reads
                    .count(self.inner.messages(room, range, limit))
                    .await
            }
            None => self.inner.messages(room, range, limit).await,
        }
    }

    async fn changed_messages(
        &self,
        room: RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<Message>> {
        match &self.peer {
            Some(peer) => {
                peer.reads
                    .count(self.inner.changed_messages(room, after, limit))
                    .await
            }
            None => self.inner.changed_messages(room, after, limit).await,
        }
    }

    async fn message_count(&self, user: Username) -> Result<u64> {
        self.inner.message_count(user).await
    }

    async fn mentions(
        &self,
        user: Username,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.inner.mentions(user, before, limit).await
    }

    async fn newest_mentions(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>> {
        self.inner.newest_mentions(user, limit).await
    }
}

#[async_trait]
impl Rooms for Faulty {
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.inner.create_room(room, now).await
    }

    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool> {
        self.inner.create_room_for(room, owner, privacy, now).await
    }

    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.inner.rooms(page).await
    }

    async fn all_rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.inner.all_rooms(page).await
    }

    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.inner.private_rooms(user, page).await
    }

    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>> {
        self.inner.rooms_of(user, page).await
    }

    async fn room(&self, room: RoomName) -> Result<Option<Room>> {
        self.inner.room(room).await
    }

    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool> {
        self.inner.set_topic(room, topic).await
    }

    async fn members(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.inner.members(room, page).await
    }

    async fn join(
        &self,
        room: RoomName,
        user: Username,
        invited: bool,
        now: Timestamp,
    ) -> Result<Joined> {
        self.inner.join(room, user, invited, now).await
    }

    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.inner.leave(room, user).await
    }

    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq> {
        self.inner.read_mark(user, room).await
    }

    async fn store_read_marks(&self, marks: Vec<ReadMark>) -> Result<()> {
        self.inner.store_read_marks(marks).await
    }
}

#[async_trait]
impl AccessControl for Faulty {
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        self.accesses.fetch_add(1, Ordering::SeqCst);
        self.inner.access(room, users).await
    }

    async fn newest_access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>> {
        self.accesses.fetch_add(1, Ordering::SeqCst);
        self.inner.newest_access(room, users).await
    }

    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.inner.ban(room, user, now).await
    }

    async fn unban(&self, room: RoomName, user: Username) -> Result<bool> {
        self.inner.unban(room, user).await
    }

    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>> {
        self.inner.bans(room, page).await
    }
}

#[async_trait]
impl Accounts for Faulty {
    async fn account(&self, name: NameKey) -> Result<Option<Account>> {
        self.inner.account(name).await
    }

    async fn accounts(&self, page: Page<NameKey>) -> Result<Vec<Username>> {
        self.inner.accounts(page).await
    }

    async fn account_names(&self, names: Vec<NameKey>) -> Result<Vec<Option<Username>>> {
        self.inner.account_names(names).await
    }

    async fn create_account(&self, account: Account, first: NewSession) -> Result<bool> {
        self.inner.create_account(account, first).await
    }

    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool> {
        self.inner.change_password(account, keep).await
    }

    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()> {
        self.inner.upgrade_hash(account, old).await
    }

    async fn add_guest_session(&self, new: NewSession) -> Result<bool> {
        self.inner.add_guest_session(new).await
    }

    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool> {
        self.inner.add_session(new, version).await
    }

    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>> {
        self.inner.session(token, alive_since).await
    }

    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.inner.touch_session(token, now).await
    }

    async fn renew_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.inner.renew_session(token, now).await
    }

    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>> {
        self.inner.end_session(token).await
    }

    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>> {
        self.inner.sessions(user, alive_since).await
    }

    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool> {
        self.inner.end_session_of(user, id).await
    }

    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64> {
        self.inner.end_sessions_of(user, except).await
    }
}

#[async_trait]
impl Backend for Faulty {
    fn is_shared(&self) -> bool {
        self.peer.is_some()
    }

    async fn watch(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        let Some(peer) = &self.peer else {
            return self.inner.watch(sink).await;
        };
        let mut is_watching = peer.is_watching.subscribe();
        is_watching
            .wait_for(|is_watching| *is_watching)
            .await
            .unwrap();
        sink.begin_epoch();
        is_watching
            .wait_for(|is_watching| !*is_watching)
            .await
            .unwrap();
        out_of_reach()
    }

    async fn publish_presence(&self, room: RoomName, attendance: ProcessPresence) -> Result<()> {
        match &self.peer {
            Some(peer) => {
                peer.presence
                    .count(self.inner.publish_presence(room, attendance))
                    .await
            }
            None => self.inner.publish_presence(room, attendance).await,
        }
    }

    async fn presence(&self, room: RoomName) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        match &self.peer {
            Some(peer) => peer.presence.count(self.inner.presence(room)).await,
            None => self.inner.presence(room).await,
        }
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
