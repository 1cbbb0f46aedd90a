//! Refreshing followed rooms, and dropping rooms that nobody uses.

use std::sync::{Arc, Weak};

use futures_util::{StreamExt as _, stream};
use tokio::time::MissedTickBehavior;

use super::TICK;
use crate::engine::{Engine, FOLLOW_LIMIT};
use crate::error::Result;
use crate::feed::{Refresh, RoomFeed};
use crate::options::MAX_MESSAGES;
use crate::types::Range;

/// Ticks between two sweeps.
const SWEEP: u32 = 20;
/// The most rooms whose heads are asked for at once.
const MAX_HEADS: usize = 256;
/// The most rooms that are read for their followers side by side.
const MAX_READS: usize = 8;

/// Sweeps the feed, and refreshes rooms.
pub(super) async fn keep_fresh(engine: Weak<Engine>) {
    let Some(feed) = engine.upgrade().map(|engine| engine.feed.clone()) else {
        return;
    };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = feed.refresh_needed() => {}
        }
        let Some(engine) = engine.upgrade().filter(|_| !feed.is_closed()) else {
            break;
        };

        if tick.is_multiple_of(SWEEP) {
            feed.sweep();
        }
        for rooms in feed.rooms_to_refresh().chunks(MAX_HEADS) {
            if let Err(error) = refresh(&engine, rooms).await {
                // The next tick tries again.
                tracing::debug!(%error, "rooms could not be refreshed");
                break;
            }
        }
    }
}

/// Brings rooms up to date for their followers: one question tells which of them lack messages, and
/// only those are read, from where each ring ends.
async fn refresh(engine: &Engine, rooms: &[Arc<RoomFeed>]) -> Result<()> {
    let feed = &engine.feed;
    let rooms: Vec<_> = rooms
        .iter()
        .map(|room| feed.begin_refresh(room.clone()))
        .collect();
    let names = rooms.iter().map(|refresh| refresh.room.name.clone());
    let heads = engine.backend.heads(names.collect());
    let heads = engine.call(heads).await?;

    let mut behind = Vec::new();
    for (refresh, head) in rooms.into_iter().zip(heads) {
        // A head that cannot be read fails alone, when the messages of its room are read.
        if head.is_ok_and(|head| feed.confirm(&refresh, head)) {
            feed.end_refresh(&refresh);
        } else {
            behind.push(refresh);
        }
    }

    let read = |refresh: Refresh| async move {
        // The next tick reads what could not be read. Followers of the others do not wait for it.
        if let Err(error) = read_end(engine, &refresh.room).await {
            tracing::debug!(room = %refresh.room.name, %error, "a room could not be refreshed");
        }
        feed.end_refresh(&refresh);
    };
    stream::iter(behind)
        .for_each_concurrent(MAX_READS, read)
        .await;
    Ok(())
}

/// Has the ring of a room take in what the store has after it.
async fn read_end(engine: &Engine, room: &RoomFeed) -> Result<()> {
    let feed = &engine.feed;
    let asked = room.generation();
    let mut found = Vec::new();
    if let Some(end) = room.last_seen() {
        let after = engine.stored(&room.name, Range::After(end), MAX_MESSAGES);
        found = engine.call(after).await?;
        if found.is_empty() {
            feed.confirm_end(room, asked, end);
            return Ok(());
        }
    }

    // Followers of a room that is further behind read the messages between by themselves.
    if found.is_empty() || found.len() >= MAX_MESSAGES as usize {
        let newest = engine.stored(&room.name, Range::Newest, FOLLOW_LIMIT);
        found = engine.call(newest).await?;
    }
    if found.is_empty() {
        feed.load_empty(room, asked);
    } else {
        feed.load(room, asked, &found, true);
    }
    Ok(())
}
