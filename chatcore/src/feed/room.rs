//! One room in memory: its newest messages, who is present, who may enter, and the wake-up of its
//! followers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::access_cache::AccessCache;
use super::freshness::{Generation, RoomFreshness};
use super::ring::Ring;
use super::room_presence::RoomPresence;
use super::signals::{Numbered, Signals};
use crate::access::AccessRequest;
use crate::error::Result;
use crate::model::{Access, Head, ProcessId, ProcessPresence};
use crate::presence::Presence;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, Privacy, Range, RoomName, Seq, Topic, Username};

/// A room that is followed or read. No two of its locks are held at once, except that the ring is
/// locked first while the room is renewed.
pub(crate) struct RoomFeed {
    pub(crate) name: RoomName,
    /// Facts that decide whether memory may answer.
    pub(super) freshness: RoomFreshness,
    /// Newest messages and changes.
    ring: Mutex<Ring>,
    /// Users who are present, here and at other processes.
    presence: Mutex<RoomPresence>,
    /// Latest topic, and users who type: what followers get besides messages.
    signals: Mutex<Signals>,
    /// Users who may enter.
    access: Mutex<AccessCache>,
    /// True if `access` knows that the room is public. A copy, so that readers take no lock.
    is_public: AtomicBool,
    /// True if `access` knows that everyone may read the room and take part in it. A copy, too.
    is_open: AtomicBool,
    /// Wakes the followers. A room with a receiver of it is followed.
    wake: watch::Sender<()>,
    /// Watchers who are given the presence.
    watchers: AtomicUsize,
    /// Time of the last use, in seconds since the feed began.
    pub(super) used: AtomicU64,
    /// Held by the one reader who reads from the store what all others wait for.
    loading: AsyncMutex<()>,
    /// Held by the one who asks the store about users of the room, for all who wait for that.
    asking: AsyncMutex<()>,
    /// Held while the presence here is published to other processes, so that nothing older is
    /// published after something newer.
    publishing: AsyncMutex<()>,
}

impl RoomFeed {
    pub(super) fn new(name: RoomName, freshness: RoomFreshness) -> Self {
        Self {
            name,
            freshness,
            ring: Mutex::default(),
            presence: Mutex::default(),
            signals: Mutex::default(),
            access: Mutex::default(),
            is_public: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            wake: watch::Sender::new(()),
            watchers: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            loading: AsyncMutex::new(()),
            asking: AsyncMutex::new(()),
            publishing: AsyncMutex::new(()),
        }
    }

    /// Returns a receiver that changes when there is something new. While it lives the room is
    /// followed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// Wakes the followers.
    pub(super) fn wake(&self) {
        self.wake.send_replace(());
    }

    pub(super) fn followers(&self) -> usize {
        self.wake.receiver_count()
    }

    pub(super) fn is_followed(&self) -> bool {
        self.followers() > 0
    }
}

/// Messages and changes.
impl RoomFeed {
    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the messages that the ring has, whether it is fresh or not.
    pub(crate) fn read(&self, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        self.ring().read(range, limit)
    }

    /// Returns the changed messages that the ring has, whether it is fresh or not.
    pub(crate) fn read_changes(
        &self,
        after: ChangeSeq,
        limit: usize,
    ) -> Option<Vec<SharedMessage>> {
        self.ring().read_changes(after, limit)
    }

    /// Returns true if one reader's answer of the store serves others who lack the same.
    pub(crate) fn is_near(&self, range: Range, limit: usize) -> bool {
        self.ring().is_near(range, limit)
    }

    /// Returns the `seq` of the newest message, if it is confirmed.
    pub(crate) fn end(&self) -> Option<Seq> {
        self.ring().end()
    }

    /// Returns the `seq` of the newest message that was seen, even if there may be newer ones.
    pub(crate) fn last_seen(&self) -> Option<Seq> {
        self.ring().last_seen()
    }

    /// Returns the number of the last change, if it is confirmed.
    pub(crate) fn last_change(&self) -> Option<ChangeSeq> {
        self.ring().last_change()
    }

    /// Returns true if both the newest message and the last change are confirmed.
    pub(super) fn knows_ends(&self) -> bool {
        let ring = self.ring();
        ring.end().is_some() && ring.last_change().is_some()
    }

    /// Returns the number of changes that arrived after a later one.
    pub(crate) fn late_changes(&self) -> u64 {
        self.ring().late_changes()
    }

    /// Returns the changed messages that arrived late, from after the first `seen` of them.
    pub(crate) fn late_after(&self, seen: u64) -> Option<Numbered<Vec<SharedMessage>>> {
        let ring = self.ring();
        let number = ring.late_changes();
        (number != seen).then(|| Numbered {
            number,
            value: ring.late_after(seen),
        })
    }

    /// Returns the generation of a question to the store about messages or changes.
    pub(crate) fn generation(&self) -> Generation {
        self.ring().generation()
    }

    pub(crate) fn loading(&self) -> &AsyncMutex<()> {
        &self.loading
    }
}

/// Access.
impl RoomFeed {
    /// Reads or changes the access cache, and keeps `is_open` and `is_public` in step with it.
    fn access<T>(&self, visit: impl FnOnce(&mut AccessCache) -> T) -> T {
        let mut cache = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        let result = visit(&mut cache);

        let is_public = cache.privacy() == Some(Privacy::Public);
        self.is_open.store(cache.is_open(), Ordering::SeqCst);
        self.is_public.store(is_public, Ordering::SeqCst);
        result
    }

    /// Returns true if it is known that everyone may read the room and take part in it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    fn is_public(&self) -> bool {
        self.is_public.load(Ordering::SeqCst)
    }

    /// Returns who may know of the room, if that is known.
    pub(crate) fn privacy(&self) -> Option<Privacy> {
        if self.is_public() {
            return Some(Privacy::Public);
        }
        self.access(|cache| cache.privacy())
    }

    /// Returns true if it is known that the store would allow a request.
    pub(crate) fn allows(&self, request: &AccessRequest) -> bool {
        self.is_open() || self.access(|cache| cache.allows(request))
    }

    /// Begins a question to the store about everyone's access.
    pub(crate) fn begin_access_question(&self) -> Generation {
        self.access(AccessCache::begin_question)
    }

    /// Takes in the answer to a question that began at `asked`.
    pub(crate) fn learn_access(&self, asked: Generation, access: Option<&Access>) {
        self.access(|cache| cache.learn(asked, access));
    }

    /// Looks up the access of a user, by a question that begins after this call. Users who are
    /// waited for at the same time share one question, which `ask` puts to the store.
    pub(crate) async fn look_up<F>(
        &self,
        user: &Username,
        ask: impl FnOnce(Vec<Username>) -> F,
    ) -> Result<Option<Access>>
    where
        F: Future<Output = Result<Option<(Access, Vec<Access>)>>>,
    {
        let since = self.access(|cache| cache.wait_for(user));
        let _asking = self.asking.lock().await;
        if let Some(answer) = self.access(|cache| cache.answer(user, since)) {
            return answer;
        }

        // Followers who were woken together come together.
        tokio::task::yield_now().await;
        let (asked, users) = self.access(|cache| cache.begin_question_about(user));
        let answer = ask(users.clone()).await;
        self.access(|cache| {
            cache.learn_about(asked, users, &answer);
            cache.answer(user, since).unwrap_or(Ok(None))
        })
    }

    /// Takes note that this process committed a batch that follows `head`.
    pub(super) fn committed_after(&self, head: Option<Head>) {
        if head.is_some_and(|head| head.restricted) || !self.is_public() {
            self.access(|cache| cache.committed_after(head));
        }
    }

    /// Takes note that messages of another process are about to be in memory. Members of a private
    /// room are looked up again, because somebody may have been removed before these were posted.
    pub(super) fn expect_messages_of_others(&self) {
        if !self.is_public() {
            self.access(AccessCache::forget);
        }
    }

    /// Has everyone who is in the room looked up again.
    pub(super) fn forget_access(&self) {
        self.access(AccessCache::forget);
        self.wake();
    }

    /// Has one name, in any case, looked up again. All followers are woken, because it is not known
    /// which of them have that name; the others find in memory that they may stay.
    pub(super) fn evict(&self, user: &Username) {
        self.access(|cache| cache.evict(user));
        self.wake();
    }

    /// Takes note that removals and bans may have been missed.
    pub(super) fn miss_evictions(&self) {
        self.access(AccessCache::miss_events);
    }

    /// Takes in the head that the store answered to a question that began at `asked`, and wakes
    /// the followers if they have to be looked up again.
    pub(super) fn confirm_access(&self, asked: Generation, head: Head) {
        if self.access(|cache| cache.confirm(asked, head)) {
            self.wake();
        }
    }
}

/// Presence and signals.
impl RoomFeed {
    pub(super) fn presence(&self) -> MutexGuard<'_, RoomPresence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_watcher(&self) {
        self.watchers.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn remove_watcher(&self) {
        self.watchers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns true if anybody is given the presence.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }

    /// Returns who is present, if that changed after the list numbered `seen`.
    pub(crate) fn presence_after(&self, seen: u64) -> Option<Numbered<Presence>> {
        self.presence().list_after(seen)
    }

    /// Returns the generation of a question to other processes about who is present, if they have
    /// to be asked for somebody who watches.
    pub(crate) fn begin_presence_question(&self) -> Option<Generation> {
        self.presence()
            .begin_question()
            .filter(|_| self.is_watched())
    }

    /// Takes in who is present at other processes, the answer to a question that began at `asked`.
    pub(crate) fn load_presence(
        &self,
        asked: Generation,
        remote: Vec<(ProcessId, ProcessPresence)>,
    ) {
        self.presence().load(asked, remote);
    }

    /// Returns true if watchers have a list of who is present.
    pub(crate) fn has_presence(&self) -> bool {
        self.presence().has_list()
    }

    /// Begins an update of the presence. Returns who is present at this process, if other processes
    /// do not know.
    pub(crate) fn begin_presence_update(&self) -> Option<Vec<Username>> {
        self.presence().begin_update()
    }

    /// Makes the list of who is present anew, and wakes the followers if it changed.
    pub(crate) fn update_presence(&self) {
        let is_new = self.presence().update_list(&self.name, Instant::now());
        if is_new {
            self.wake();
        }
    }

    pub(crate) fn publishing(&self) -> &AsyncMutex<()> {
        &self.publishing
    }

    pub(super) fn set_topic(&self, topic: Topic) {
        self.signals().set_topic(topic);
        self.wake();
    }

    /// Returns the number of the last topic that was set.
    pub(crate) fn topic_number(&self) -> u64 {
        self.signals().topic_number()
    }

    /// Returns the topic, if it was set after the one numbered `seen`.
    pub(crate) fn topic_after(&self, seen: u64) -> Option<Numbered<Topic>> {
        self.signals().topic_after(seen)
    }

    /// Takes note that a user types. Returns true if followers were woken for it.
    pub(super) fn add_typing(&self, user: &Username) -> bool {
        let is_new = self.signals().add_typing(user, Instant::now());
        if is_new {
            self.wake();
        }
        is_new
    }

    /// Returns the users who typed after the signal numbered `seen`.
    pub(crate) fn typing_after(&self, seen: u64) -> Option<Numbered<Vec<Username>>> {
        self.signals().typing_after(seen, Instant::now())
    }
}
