//! The rooms in memory, and the limits of that memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::freshness::RoomFreshness;
use super::ring::Ring;
use super::room::RoomFeed;
use crate::types::RoomName;

/// Time that a room stays which nobody follows or reads.
pub(super) const KEEP: Duration = Duration::from_secs(60);
/// The most rooms that stay though nobody follows them.
pub(super) const MAX_IDLE: usize = 4_096;
/// Memory of all rings together. Beyond it the rooms read longest ago lose their messages.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

type Rooms = HashMap<RoomName, Arc<RoomFeed>>;

/// Rooms that are followed or read.
pub(super) struct RoomTable {
    rooms: RwLock<Rooms>,
    /// Bytes of all rings.
    bytes: AtomicUsize,
    /// Number of rooms at which to sweep before another one is added.
    sweep_at: AtomicUsize,
    started: Instant,
}

impl RoomTable {
    pub(super) fn new() -> Self {
        Self {
            rooms: RwLock::default(),
            bytes: AtomicUsize::new(0),
            sweep_at: AtomicUsize::new(2 * MAX_IDLE),
            started: Instant::now(),
        }
    }

    fn rooms(&self) -> RwLockReadGuard<'_, Rooms> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms_mut(&self) -> RwLockWriteGuard<'_, Rooms> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, room: &RoomName) -> Option<Arc<RoomFeed>> {
        self.rooms().get(room).cloned()
    }

    /// Visits a room without another handle on it.
    pub(super) fn visit<T>(
        &self,
        room: &RoomName,
        visit: impl FnOnce(&RoomFeed) -> Option<T>,
    ) -> Option<T> {
        visit(self.rooms().get(room)?)
    }

    /// Returns a room, which is added unless it is here.
    pub(super) fn get_or_add(
        &self,
        room: &RoomName,
        freshness: impl FnOnce() -> RoomFreshness,
    ) -> Arc<RoomFeed> {
        if let Some(found) = self.get(room) {
            self.touch(&found);
            return found;
        }

        let is_crowded = self.rooms().len() >= self.sweep_at.load(Ordering::Relaxed);
        if is_crowded {
            self.sweep();
        }
        let mut rooms = self.rooms_mut();
        let added = rooms
            .entry(room.clone())
            .or_insert_with(|| Arc::new(RoomFeed::new(room.clone(), freshness())))
            .clone();
        self.touch(&added);
        added
    }

    /// Takes note that a room is used.
    pub(super) fn touch(&self, room: &RoomFeed) {
        let now = self.started.elapsed().as_secs();
        // A value that is only read stays in the caches of all processors.
        if room.used.load(Ordering::Relaxed) != now {
            room.used.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<RoomFeed>> {
        self.rooms().values().cloned().collect()
    }

    /// Returns the bytes of all rings.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Changes the ring of a room, and keeps account of its memory.
    pub(super) fn update_ring<T>(&self, room: &RoomFeed, update: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = room.ring();
        let before = ring.bytes();
        let result = update(&mut ring);
        let after = ring.bytes();
        drop(ring);

        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
        result
    }

    /// Drops the rooms that nobody follows and nobody read for a while.
    pub(super) fn sweep(&self) {
        self.sweep_as_of(self.started.elapsed().as_secs());
    }

    /// Sweeps as if the time were `now`, in seconds since the start.
    pub(super) fn sweep_as_of(&self, now: u64) {
        let mut rooms = self.rooms_mut();
        let is_idle = |room: &Arc<RoomFeed>| {
            // A handle is held by each task that is about to follow the room or to update its
            // presence.
            Arc::strong_count(room) == 1
                && !room.is_followed()
                && room.presence().is_idle()
                && !room.freshness.is_uncertain()
        };
        let mut idle: Vec<_> = rooms
            .values()
            .filter(|room| is_idle(room))
            .map(|room| (room.used.load(Ordering::Relaxed), room.name.clone()))
            .collect();
        idle.sort_unstable();

        let surplus = idle.len().saturating_sub(MAX_IDLE);
        for (at, (used, name)) in idle.into_iter().enumerate() {
            if (at < surplus || now.saturating_sub(used) > KEEP.as_secs())
                && let Some(room) = rooms.remove(&name)
            {
                self.bytes.fetch_sub(room.ring().bytes(), Ordering::Relaxed);
            }
        }

        // Sweep again once MAX_IDLE more rooms exist.
        self.sweep_at
            .store(rooms.len() + MAX_IDLE, Ordering::Relaxed);
    }

    /// Keeps the memory of all rings within its limit.
    pub(super) fn shrink(&self) {
        if self.bytes() <= MAX_BYTES {
            return;
        }

        let mut rooms = self.all();
        // Read once each: readers change it meanwhile.
        rooms.sort_by_cached_key(|room| room.used.load(Ordering::Relaxed));
        for room in rooms {
            if self.bytes() <= MAX_BYTES / 4 * 3 {
                break;
            }
            self.update_ring(&room, Ring::drop_messages);
        }
    }
}
