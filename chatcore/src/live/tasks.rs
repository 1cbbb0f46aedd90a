//! What keeps the feed of a store up to date.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::FOLLOW_LIMIT;
use crate::backend::Backend;
use crate::error::Result;
use crate::feed::{Due, Feed, Refresh, RoomFeed};
use crate::model::ProcessPresence;
use crate::options::MAX_MESSAGES;
use crate::store::{ChatStore, Shared, within};
use crate::types::Range;

/// How often the feed is looked after, and how many of these looks lie between two sweeps.
const TEND: Duration = Duration::from_millis(500);
const SWEEP: u32 = 20;
/// Rooms whose heads are asked for at once, and rooms that are read for their followers side by
/// side.
const HEADS: usize = 256;
const REFRESHES: usize = 8;
/// Rooms of which other processes are told who is there, and asked, side by side.
const SHOWS: usize = 4;

/// The pause before a stream of changes is opened again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Starts what keeps the feed of a store up to date, until the store is closed or dropped.
pub(crate) fn start(shared: &Arc<Shared>, due: mpsc::UnboundedReceiver<Due>) {
    tokio::spawn(tend(Arc::downgrade(shared)));
    tokio::spawn(show(Arc::downgrade(shared), due));
    tokio::spawn(hear(Arc::downgrade(shared)));
    tokio::spawn(write_marks(
        shared.backend.clone(),
        shared.feed.clone(),
        shared.options.timeout,
    ));
}

/// Writes what users have read, and the last of it once the store is closed or dropped.
async fn write_marks(backend: Arc<dyn Backend>, feed: Arc<Feed>, timeout: Duration) {
    let write = |marks| within(timeout, backend.store_read_marks(marks));
    feed.read_marks.keep_written(write, feed.closed()).await;

    feed.read_marks.close();
    if let Err(error) = feed.read_marks.flush(write).await {
        tracing::warn!(%error, "the last marks of what was read are not written");
    }
}

/// Shows the people of rooms when they have changed, and tells and asks other processes.
async fn show(shared: Weak<Shared>, mut due: mpsc::UnboundedReceiver<Due>) {
    // In the order in which they are due; numbered, because several may be at once.
    let mut later: BTreeMap<(std::time::Instant, u64), Arc<RoomFeed>> = BTreeMap::new();
    let mut at_store = JoinSet::new();
    for number in 0.. {
        let next = later
            .first_key_value()
            .map(|((at, _), _)| Instant::from_std(*at));
        tokio::select! {
            taken = due.recv() => match taken {
                Some((at, room)) => drop(later.insert((at, number), room)),
                None => break,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() && at_store.len() < SHOWS => {
                let (Some((_, room)), Some(store)) = (later.pop_first(), shared.upgrade().map(ChatStore)) else {
                    continue;
                };
                at_store.spawn(show_people(store, room));
            }
            Some(_) = at_store.join_next() => {}
        }
    }
}

/// Shows who is in a room, once other processes are told who is here and were asked who is there,
/// if need be.
async fn show_people(store: ChatStore, room: Arc<RoomFeed>) {
    let (backend, feed) = (&store.0.backend, &store.0.feed);
    if feed.is_closed() {
        return;
    }
    let _telling = room.telling().lock().await;
    let lacking = room.lacks_elsewhere().filter(|_| backend.is_shared());
    let to_tell = room.refresh_people();
    // Nobody waits for the store to see who came to this process, but for the first list.
    if room.has_people_to_show() {
        room.show_people();
    }

    let mut done = Ok(());
    if let Some(generation) = lacking {
        let elsewhere = store.call(backend.presence(room.name.clone())).await;
        done = elsewhere.map(|elsewhere| room.load_people(generation, elsewhere));
    }
    if let Some(users) = to_tell {
        let attendance = ProcessPresence {
            version: feed.next_version(),
            users,
        };
        done = done.and(
            store
                .call(backend.publish_presence(room.name.clone(), attendance))
                .await,
        );
    }
    room.show_people();

    if let Err(error) = done {
        tracing::debug!(%error, "other processes could not be told who is here, or asked");
        feed.postpone_people(&room, std::time::Instant::now() + TEND);
    } else if backend.is_shared() && room.lacks_elsewhere().is_some() {
        // Something was heard of meanwhile, so others have to be asked again.
        feed.look_again(&room);
    }
}

/// Hears of what other processes do, again and again.
async fn hear(shared: Weak<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some((backend, feed)) = shared
            .upgrade()
            .map(|s| (s.backend.clone(), s.feed.clone()))
        else {
            break;
        };
        if feed.is_closed() {
            break;
        }
        let began = Instant::now();
        let ended = backend.watch(feed.clone()).await;
        feed.pause();
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

/// Sweeps the feed, and refreshes rooms.
async fn tend(shared: Weak<Shared>) {
    let Some(feed) = shared.upgrade().map(|shared| shared.feed.clone()) else {
        return;
    };
    let mut ticks = tokio::time::interval(TEND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = feed.refresh_needed() => {}
        }
        let Some(store) = shared
            .upgrade()
            .map(ChatStore)
            .filter(|store| !store.is_closed())
        else {
            break;
        };
        if tick.is_multiple_of(SWEEP) {
            feed.sweep();
        }
        for rooms in feed.to_refresh().chunks(HEADS) {
            if let Err(error) = refresh(&store, rooms).await {
                // The next tick mends it.
                tracing::debug!(%error, "rooms could not be refreshed");
                break;
            }
        }
    }
}

/// Brings rooms up to date for their followers: one question tells which of them have messages that
/// were not heard of, and only those are read, from where each ring ends.
async fn refresh(store: &ChatStore, rooms: &[Arc<RoomFeed>]) -> Result<()> {
    let feed = &store.0.feed;
    let rooms: Vec<_> = rooms
        .iter()
        .map(|room| feed.begin_refresh(room.clone()))
        .collect();
    let names = rooms
        .iter()
        .map(|refresh| refresh.room.name.clone())
        .collect();
    let heads = store.call(store.0.backend.heads(names)).await?;
    // One that cannot be read fails alone, when its messages are read.
    let (current, behind): (Vec<_>, Vec<_>) = rooms
        .into_iter()
        .zip(heads)
        .partition(|(refresh, head)| head.as_ref().is_ok_and(|head| feed.confirm(refresh, *head)));

    current
        .iter()
        .for_each(|(refresh, _)| feed.end_refresh(refresh));
    let read = |(refresh, _): (Refresh, _)| async move {
        // The next tick reads what could not be read. Followers of the others do not wait for it.
        if let Err(error) = read_end(store, &refresh.room).await {
            tracing::debug!(room = %refresh.room.name, %error, "a room could not be refreshed");
        }
        feed.end_refresh(&refresh);
    };
    stream::iter(behind)
        .for_each_concurrent(REFRESHES, read)
        .await;
    Ok(())
}

/// Has a room's ring take in what the store has after it.
async fn read_end(store: &ChatStore, room: &RoomFeed) -> Result<()> {
    let feed = &store.0.feed;
    let generation = room.generation();
    let mut found = Vec::new();
    if let Some(end) = room.last_heard() {
        found = store
            .call(store.stored(&room.name, Range::After(end), MAX_MESSAGES))
            .await?;
        if found.is_empty() {
            feed.confirm_end(room, generation, end);
            return Ok(());
        }
    }
    // Where it is further behind, followers read what lies between by themselves.
    if found.is_empty() || found.len() >= MAX_MESSAGES as usize {
        found = store
            .call(store.stored(&room.name, Range::Newest, FOLLOW_LIMIT))
            .await?;
    }
    match found.is_empty() {
        true => feed.load_empty(room, generation),
        false => feed.load(room, generation, &found, true),
    }
    Ok(())
}
