//! The live end of rooms: what was posted last, and a wake-up for those who follow.
//!
//! A message is published after its commit, never before. A reader registers, then reads, then
//! waits; so whatever is committed after the read wakes it. What the ring does not hold, the store
//! does: a reader falls back to it wherever the ring does not reach.
//!
//! Where several processes share a store, a ring only hears of the others by the store's stream of
//! changes. While that stream is not live, and while the result of a commit is unknown, no reader
//! is told from the ring that there is nothing new.

mod ring;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, watch};

use self::ring::Ring;
use crate::backend::Batch;
use crate::shared::SharedMessage;
use crate::types::{Range, RoomName, Seq};

/// How long a room stays that nobody follows or reads.
const KEEP: Duration = Duration::from_secs(60);
/// Rooms kept that nobody follows.
const MAX_IDLE: usize = 4_096;
/// Memory of all rings together. Beyond it the rooms read longest ago lose their messages.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The rooms that are followed or read.
pub(crate) struct Feed {
    rooms: RwLock<HashMap<RoomName, Arc<RoomFeed>>>,
    /// Whether every commit is heard of.
    live: AtomicBool,
    bytes: AtomicUsize,
    /// The number of rooms at which a sweep is due.
    crowded: AtomicUsize,
    closed: AtomicBool,
    started: Instant,
}

/// One of them.
pub(crate) struct RoomFeed {
    pub(crate) name: RoomName,
    ring: Mutex<Ring>,
    wake: watch::Sender<()>,
    /// Commits whose result is unknown.
    doubts: AtomicU32,
    /// When it was last read, in seconds since the feed began.
    used: AtomicU64,
    /// Held by the one reader who reads from the store what all others wait for.
    loading: AsyncMutex<()>,
}

impl RoomFeed {
    fn new(name: RoomName) -> Self {
        Self {
            name,
            ring: Mutex::default(),
            wake: watch::Sender::new(()),
            doubts: AtomicU32::new(0),
            used: AtomicU64::new(0),
            loading: AsyncMutex::new(()),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A receiver that changes when there is something new. While it lives the room is followed.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    fn is_followed(&self) -> bool {
        self.wake.receiver_count() > 0
    }

    pub(crate) fn end(&self) -> Option<Seq> {
        self.ring().end()
    }

    /// What the ring answers, whether it can be trusted to be up to date or not.
    pub(crate) fn read(&self, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        self.ring().read(range, limit)
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

impl Feed {
    /// A feed that is `live` from the start if this process alone writes to the store.
    pub(crate) fn new(live: bool) -> Self {
        Self {
            rooms: RwLock::default(),
            live: AtomicBool::new(live),
            bytes: AtomicUsize::new(0),
            crowded: AtomicUsize::new(2 * MAX_IDLE),
            closed: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    fn get(&self, room: &RoomName) -> Option<Arc<RoomFeed>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// The room's feed, which from now on hears of what is posted.
    pub(crate) fn room(&self, room: &RoomName) -> Arc<RoomFeed> {
        if let Some(found) = self.get(room) {
            self.touch(&found);
            return found;
        }
        if self.rooms.read().unwrap_or_else(PoisonError::into_inner).len()
            >= self.crowded.load(Ordering::Relaxed)
        {
            self.sweep();
        }
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let made = rooms.entry(room.clone()).or_insert_with(|| Arc::new(RoomFeed::new(room.clone()))).clone();
        self.touch(&made);
        made
    }

    fn touch(&self, room: &RoomFeed) {
        room.used.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether the ring of a room is known to be up to date.
    pub(crate) fn is_trusted(&self, room: &RoomFeed) -> bool {
        self.live.load(Ordering::SeqCst) && room.doubts.load(Ordering::SeqCst) == 0
    }

    /// What the store would answer, if that is known without asking it.
    pub(crate) fn read(&self, room: &RoomName, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        let room = self.get(room)?;
        self.touch(&room);
        let found = room.read(range, limit)?;
        // Asked last: what became doubtful while the ring was read must not count.
        self.is_trusted(&room).then_some(found)
    }

    /// Changes a room's ring and keeps the account of memory.
    fn change<T>(&self, room: &RoomFeed, change: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = room.ring();
        let before = ring.bytes();
        let result = change(&mut ring);
        let after = ring.bytes();
        drop(ring);
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
        result
    }

    /// Tells the followers of a batch's rooms. The batch must be committed.
    pub(crate) fn publish_batch(&self, batch: &Batch) {
        for part in &batch.rooms {
            if let Some(room) = self.get(&part.room) {
                let messages = part.messages.iter().map(|(message, _)| message.clone().into());
                self.publish_to(&room, messages);
            }
        }
        self.shrink();
    }

    /// Tells the followers of a room of committed messages, which are in `seq` order.
    #[cfg_attr(not(feature = "mongodb"), expect(dead_code, reason = "only MongoDB is shared"))]
    pub(crate) fn publish(&self, room: &RoomName, messages: impl IntoIterator<Item = SharedMessage>) {
        if let Some(room) = self.get(room) {
            self.publish_to(&room, messages);
            self.shrink();
        }
    }

    fn publish_to(&self, room: &RoomFeed, messages: impl IntoIterator<Item = SharedMessage>) {
        let news = self
            .change(room, |ring| messages.into_iter().filter(|message| ring.publish(message)).count() > 0);
        if news {
            room.wake.send_replace(());
        }
    }

    /// Takes in what the store answered to a read that began at `generation`. An empty answer says
    /// something only of an empty room.
    pub(crate) fn load(&self, room: &RoomFeed, generation: u64, loaded: &[SharedMessage], reaches_end: bool) {
        let news = self.change(room, |ring| {
            if ring.generation() != generation {
                return false;
            }
            let before = ring.end();
            ring.load(loaded, reaches_end);
            before.is_some() && ring.end() > before
        });
        if news {
            room.wake.send_replace(());
        }
        self.shrink();
    }

    /// Takes in that a read which began at `generation` found a room without messages.
    pub(crate) fn load_empty(&self, room: &RoomFeed, generation: u64) {
        let mut ring = room.ring();
        if ring.generation() == generation {
            ring.load_empty();
        }
    }

    /// From now until [`settle`](Self::settle) the batch may be committed unheard.
    pub(crate) fn doubt(&self, batch: &Batch) {
        for part in &batch.rooms {
            let room = self.room(&part.room);
            room.doubts.fetch_add(1, Ordering::SeqCst);
            self.forget(&room);
        }
    }

    /// The batch is committed or never will be.
    pub(crate) fn settle(&self, batch: &Batch) {
        for part in &batch.rooms {
            if let Some(room) = self.get(&part.room) {
                // In this order: what is read from now on is the result.
                self.forget(&room);
                room.doubts.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Forgets what is known of a room, and has its followers ask the store.
    fn forget(&self, room: &RoomFeed) {
        self.change(room, Ring::clear);
        room.wake.send_replace(());
    }

    /// Commits of other processes go unheard from now on.
    pub(crate) fn go_deaf(&self) {
        self.live.store(false, Ordering::SeqCst);
    }

    /// From now on every commit is heard of that a read which begins now would not find.
    #[cfg_attr(not(feature = "mongodb"), expect(dead_code, reason = "only MongoDB is shared"))]
    pub(crate) fn go_live(&self) {
        for room in self.all() {
            self.forget(&room);
        }
        self.live.store(true, Ordering::SeqCst);
    }

    fn all(&self) -> Vec<Arc<RoomFeed>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The rooms that are followed and may miss something.
    pub(crate) fn untrusted(&self) -> Vec<Arc<RoomFeed>> {
        let mut rooms = self.all();
        rooms.retain(|room| room.is_followed() && !self.is_trusted(room));
        rooms
    }

    /// Drops the rooms that nobody follows and nobody read for a while.
    pub(crate) fn sweep(&self) {
        let now = self.started.elapsed().as_secs();
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |room: &Arc<RoomFeed>| {
            // Whoever is about to listen holds a handle.
            Arc::strong_count(room) == 1 && !room.is_followed() && room.doubts.load(Ordering::SeqCst) == 0
        };
        let mut idle: Vec<_> = rooms
            .values()
            .filter(|room| is_idle(room))
            .map(|room| (room.used.load(Ordering::Relaxed), room.name.clone()))
            .collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(MAX_IDLE);
        for (at, (used, name)) in idle.into_iter().enumerate() {
            if (at < surplus || now - used > KEEP.as_secs())
                && let Some(room) = rooms.remove(&name)
            {
                self.bytes.fetch_sub(room.ring().bytes(), Ordering::Relaxed);
            }
        }
        // A sweep is worth its while again when as many have come as it may leave.
        self.crowded.store(rooms.len() + MAX_IDLE, Ordering::Relaxed);
    }

    /// Wakes everyone, to find that there will be nothing more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.all().iter().for_each(|room| room.wake.send_replace(()));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Keeps the memory of all rings within its limit.
    fn shrink(&self) {
        if self.bytes.load(Ordering::Relaxed) <= MAX_BYTES {
            return;
        }
        let mut rooms = self.all();
        rooms.sort_by_key(|room| room.used.load(Ordering::Relaxed));
        for room in rooms {
            if self.bytes.load(Ordering::Relaxed) <= MAX_BYTES / 4 * 3 {
                break;
            }
            self.change(&room, Ring::drop_messages);
        }
    }
}
