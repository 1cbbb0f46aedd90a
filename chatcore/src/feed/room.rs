//! One room: its newest messages, who is there, and the wake-up of those who follow.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::access_cache::{AccessCache, AccessRequest, Moment};
use super::ring::Ring;
use super::room_presence::RoomPresence;
use crate::error::Result;
use crate::model::{Access, Head, ProcessId, ProcessPresence};
use crate::presence::Presence;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, Privacy, Range, RoomName, Seq, Topic, Username};

/// A room that is followed or read.
pub(crate) struct RoomFeed {
    pub(crate) name: RoomName,
    pub(super) ring: Mutex<Ring>,
    pub(super) people: Mutex<RoomPresence>,
    access_cache: Mutex<AccessCache>,
    /// Whether everyone may read, and whether everyone may take part, so that those who may need no
    /// lock.
    public: AtomicBool,
    open: AtomicBool,
    /// The last topic that was set while the room is in memory, and how many there were.
    topic: Mutex<(u64, Option<Topic>)>,
    pub(super) wake: watch::Sender<()>,
    /// Commits whose result is unknown.
    pub(super) uncertain: AtomicU32,
    /// The feed's epoch in which what is here was last brought up to date. In another one it is
    /// stale.
    pub(super) epoch: AtomicU64,
    /// Watchers who are told who is here.
    watchers: AtomicUsize,
    /// When it was last read, in seconds since the feed began.
    pub(super) used: AtomicU64,
    /// Held by the one reader who reads from the store what all others wait for.
    pub(super) loading: AsyncMutex<()>,
    /// Held by the one who asks the store about users of the room, for all who wait for that.
    asking: AsyncMutex<()>,
    /// Held while others are told of the people here, so that nothing older is told after newer.
    pub(super) telling: AsyncMutex<()>,
}

impl RoomFeed {
    pub(super) fn new(name: RoomName, epoch: u64) -> Self {
        Self {
            name,
            ring: Mutex::default(),
            people: Mutex::default(),
            access_cache: Mutex::default(),
            public: AtomicBool::new(false),
            open: AtomicBool::new(false),
            topic: Mutex::default(),
            wake: watch::Sender::new(()),
            uncertain: AtomicU32::new(0),
            epoch: AtomicU64::new(epoch),
            watchers: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            loading: AsyncMutex::new(()),
            asking: AsyncMutex::new(()),
            telling: AsyncMutex::new(()),
        }
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn people(&self) -> MutexGuard<'_, RoomPresence> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes the access cache, and keeps `open` and `public` in step with it.
    fn access<T>(&self, visit: impl FnOnce(&mut AccessCache) -> T) -> T {
        let mut cache = self
            .access_cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = visit(&mut cache);
        self.open.store(cache.is_open(), Ordering::SeqCst);
        self.public
            .store(cache.privacy() == Some(Privacy::Public), Ordering::SeqCst);
        result
    }

    /// Whether it is known that everyone may read the room and take part in it.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Who may know of the room, if that is known.
    pub(crate) fn privacy(&self) -> Option<Privacy> {
        match self.public.load(Ordering::SeqCst) {
            true => Some(Privacy::Public),
            false => self.access(|cache| cache.privacy()),
        }
    }

    /// Whether it is known that a visitor is let in.
    pub(crate) fn lets_in(&self, visitor: &AccessRequest) -> bool {
        self.is_open() || self.access(|cache| cache.lets_in(visitor))
    }

    /// Begins a question to the store of how the room stands to everyone.
    pub(crate) fn ask(&self) -> Moment {
        self.access(AccessCache::ask)
    }

    /// Takes in the answer to a question that began at `asked`.
    pub(crate) fn learn(&self, asked: Moment, access: Option<&Access>) {
        self.access(|cache| cache.learn(asked, access));
    }

    /// Looks up how the room stands to a user, by a question that begins after this call. Users who
    /// are waited for at the same time share one question, which `ask` puts to the store.
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
        let (asked, users) = self.access(|cache| cache.ask_about(user));
        let answer = ask(users.clone()).await;
        self.access(|cache| {
            cache.learn_about(asked, users, &answer);
            cache.answer(user, since).unwrap_or(Ok(None))
        })
    }

    pub(super) fn committed_after(&self, head: Option<Head>) {
        if head.is_some_and(|head| head.restricted) || !self.public.load(Ordering::SeqCst) {
            self.access(|cache| cache.committed_after(head));
        }
    }

    /// Takes note that messages are about to be known here which were posted elsewhere. Whoever may
    /// be in a private room is looked up again: somebody may have been removed before they were
    /// posted.
    pub(super) fn will_show_of_others(&self) {
        if !self.public.load(Ordering::SeqCst) {
            self.access(AccessCache::forget);
        }
    }

    /// Has everyone who is in the room looked up again.
    pub(super) fn forget_access(&self) {
        self.access(AccessCache::forget);
        self.wake.send_replace(());
    }

    /// Has one name, in any case, looked up again. Followers are woken, because nobody knows which
    /// of them it is; the others find in memory that they may stay.
    pub(super) fn evict(&self, user: &Username) {
        self.access(|cache| cache.evict(user));
        self.wake.send_replace(());
    }

    /// Takes note that removals and bans may have gone unheard.
    pub(super) fn miss_removals(&self) {
        self.access(AccessCache::miss_changes);
    }

    /// Takes in the head that the store answered to a question that began at `asked`. Returns
    /// whether followers have to be looked up again.
    pub(super) fn confirm_access(&self, asked: Moment, head: Head) -> bool {
        self.access(|cache| cache.confirm(asked, head))
    }

    pub(super) fn set_topic(&self, topic: Topic) {
        let mut set = self.topic.lock().unwrap_or_else(PoisonError::into_inner);
        *set = (set.0 + 1, Some(topic));
    }

    /// Returns the topic that was set since the follower looked last, and the number to ask with
    /// next time.
    pub(crate) fn topic_after(&self, seen: u64) -> Option<(u64, Topic)> {
        let (number, topic) = &*self.topic.lock().unwrap_or_else(PoisonError::into_inner);
        topic
            .clone()
            .filter(|_| *number != seen)
            .map(|topic| (*number, topic))
    }

    /// Returns the number of the last topic that was set.
    pub(crate) fn topics(&self) -> u64 {
        self.topic.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Returns the number of the last change, if it is known.
    pub(crate) fn last_change(&self) -> Option<ChangeSeq> {
        self.ring().last_change()
    }

    /// Returns how many changes were heard after a later one.
    pub(crate) fn late_changes(&self) -> u64 {
        self.ring().late_changes()
    }

    /// Returns the changed messages that were heard late since the follower looked last, and the
    /// number to ask with next time.
    pub(crate) fn late_after(&self, seen: u64) -> (u64, Vec<SharedMessage>) {
        let ring = self.ring();
        (
            ring.late_changes(),
            if ring.late_changes() == seen {
                Vec::new()
            } else {
                ring.late_after(seen)
            },
        )
    }

    /// Returns what the ring has of the changes after `after`, whether it is up to date or not.
    pub(crate) fn read_changes(
        &self,
        after: ChangeSeq,
        limit: usize,
    ) -> Option<Vec<SharedMessage>> {
        self.ring().read_changes(after, limit)
    }

    /// Returns true if both the newest message and the last change are known.
    pub(super) fn knows_ends(&self) -> bool {
        let ring = self.ring();
        ring.end().is_some() && ring.last_change().is_some()
    }

    /// A receiver that changes when there is something new. While it lives the room is followed.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    pub(super) fn is_followed(&self) -> bool {
        self.wake.receiver_count() > 0
    }

    pub(crate) fn end(&self) -> Option<Seq> {
        self.ring().end()
    }

    /// The place of the newest message heard of, even if there may be newer ones.
    pub(crate) fn last_heard(&self) -> Option<Seq> {
        self.ring().last_heard()
    }

    pub(super) fn count_watcher(&self) {
        self.watchers.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn discount_watcher(&self) {
        self.watchers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Tells if anybody is told who is here.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }

    /// What the ring answers, whether it can be trusted to be up to date or not.
    pub(crate) fn read(&self, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        self.ring().read(range, limit)
    }

    /// Who is there, if that is not what the follower saw last, and the number to see next time.
    pub(crate) fn presence_after(&self, seen: u64) -> Option<(u64, Presence)> {
        self.people().shown_after(seen)
    }

    /// Who typed since the follower looked last, and the number to ask with next time.
    pub(crate) fn typing_after(&self, seen: u64) -> (u64, Vec<Username>) {
        let people = self.people();
        match people.typed() {
            typed if typed == seen => (seen, Vec::new()),
            typed => (typed, people.typing_after(seen, Instant::now())),
        }
    }

    pub(crate) fn telling(&self) -> &AsyncMutex<()> {
        &self.telling
    }

    /// If it is not known who is connected to other processes, and somebody is told: what to load
    /// it with.
    pub(crate) fn lacks_elsewhere(&self) -> Option<u64> {
        self.people()
            .lacks_elsewhere()
            .filter(|_| self.is_watched())
    }

    /// Tells if a list of who is here is shown, or may be before other processes are asked.
    pub(crate) fn has_people_to_show(&self) -> bool {
        self.people().has_shown()
    }

    /// Takes in who is connected to other processes, as it was asked for at `generation`.
    pub(crate) fn load_people(
        &self,
        generation: u64,
        elsewhere: Vec<(ProcessId, ProcessPresence)>,
    ) {
        self.people().load(generation, elsewhere);
    }

    /// Those connected to this process, if the others do not know of them.
    pub(crate) fn refresh_people(&self) -> Option<Vec<Username>> {
        self.people().refresh()
    }

    pub(crate) fn show_people(&self) {
        let news = self.people().show(&self.name, Instant::now());
        if news {
            self.wake.send_replace(());
        }
    }

    pub(crate) fn is_near(&self, range: Range, limit: usize) -> bool {
        self.ring().is_near(range, limit)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.ring().generation()
    }

    pub(crate) fn loading(&self) -> &AsyncMutex<()> {
        &self.loading
    }
}
