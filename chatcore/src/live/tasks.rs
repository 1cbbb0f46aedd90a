//! What keeps the feed of a store up to date.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::backend::{Attendance, Backend};
use crate::feed::{Due, Feed, RoomFeed};
use crate::store::{ChatStore, MAX_MESSAGES, Shared, within};
use crate::types::Range;

/// How often the feed is looked after, and how many of these looks lie between two sweeps.
const TEND: Duration = Duration::from_millis(500);
const SWEEP: u32 = 20;
/// Rooms that are read for their followers side by side.
const REFRESHES: usize = 8;

/// The pause before a stream of changes is opened again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Starts what keeps the feed of a store up to date, until the store is closed or dropped.
pub(crate) fn start(shared: &Arc<Shared>, due: mpsc::UnboundedReceiver<Due>) {
    tokio::spawn(tend(Arc::downgrade(shared)));
    tokio::spawn(show(Arc::downgrade(shared), due));
    tokio::spawn(hear(Arc::downgrade(shared)));
    tokio::spawn(write_marks(shared.backend.clone(), shared.feed.clone(), shared.options.timeout));
}

/// Writes what users have read, and the last of it once the store is closed or dropped.
async fn write_marks(backend: Arc<dyn Backend>, feed: Arc<Feed>, timeout: Duration) {
    let write = |marks| within(timeout, backend.mark_read(marks));
    feed.read_marks.keep_written(write, feed.closed()).await;

    feed.read_marks.close();
    if let Err(error) = feed.read_marks.flush(write).await {
        tracing::warn!(%error, "the last marks of what was read are not written");
    }
}

/// Shows the people of rooms when they have changed.
async fn show(shared: Weak<Shared>, mut due: mpsc::UnboundedReceiver<Due>) {
    while let Some((at, room)) = due.recv().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let Some(store) = shared.upgrade().map(ChatStore) else { return };
            let (backend, feed) = (&store.0.backend, &store.0.feed);
            if feed.is_closed() {
                return;
            }
            let _telling = room.telling().lock().await;
            let mut done = Ok(());
            if let Some(generation) = room.lacks_elsewhere().filter(|_| backend.is_shared()) {
                let elsewhere = store.call(backend.attendance(room.name.clone())).await;
                done = elsewhere.map(|elsewhere| room.load_people(generation, elsewhere));
            }
            if let Some(users) = room.refresh_people() {
                let attendance = Attendance { version: feed.next_version(), users };
                done = done.and(store.call(backend.attend(room.name.clone(), attendance)).await);
            }
            room.show_people();
            let heard_meanwhile = backend.is_shared() && room.lacks_elsewhere().is_some();
            if let Err(error) = done {
                tracing::debug!(%error, "other processes could not be told who is here, or asked");
                tokio::time::sleep(TEND).await;
                feed.postpone_people(&room);
            } else if heard_meanwhile {
                feed.look_again(&room);
            }
        });
    }
}

/// Hears of what other processes do, again and again.
async fn hear(shared: Weak<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some((backend, feed)) = shared.upgrade().map(|s| (s.backend.clone(), s.feed.clone())) else {
            break;
        };
        if feed.is_closed() {
            break;
        }
        let began = Instant::now();
        let ended = backend.watch(feed.clone()).await;
        feed.go_deaf();
        drop(backend);
        if let Err(error) = ended {
            tracing::warn!(%error, "the changes of other processes cannot be heard; reading from the store");
        }
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Sweeps the feed, and reads from the store for the followers of rooms that may miss something.
async fn tend(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(TEND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        ticks.tick().await;
        let Some(store) = shared.upgrade().map(ChatStore).filter(|store| !store.is_closed()) else { break };
        if tick.is_multiple_of(SWEEP) {
            store.0.feed.sweep();
        }
        let refresh = |room: Arc<RoomFeed>| {
            let store = &store;
            async move {
                let after = room.end().map_or(Range::Newest, Range::After);
                let generation = room.generation();
                // A failure is the next tick's to mend.
                if let Ok(found) = store.call(store.stored(&room.name, after, MAX_MESSAGES)).await {
                    let reaches_end = after == Range::Newest || found.len() < MAX_MESSAGES as usize;
                    store.0.feed.load(&room, generation, &found, reaches_end);
                }
            }
        };
        let rooms = store.0.feed.untrusted();
        futures_util::stream::iter(rooms).for_each_concurrent(REFRESHES, refresh).await;
    }
}
