//! Lists of who is present in rooms, and what other processes know of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::TICK;
use crate::engine::Engine;
use crate::error::Result;
use crate::feed::{PresenceUpdate, RoomFeed};
use crate::model::ProcessPresence;

/// The most rooms whose presence is updated side by side.
const MAX_UPDATES: usize = 4;

/// Makes the updates of presence that are due.
pub(super) async fn keep_listed(
    engine: Weak<Engine>,
    mut updates: mpsc::UnboundedReceiver<PresenceUpdate>,
) {
    // In the order in which they are due; numbered, because several may be at once.
    let mut later: BTreeMap<(Instant, u64), Arc<RoomFeed>> = BTreeMap::new();
    let mut under_way = JoinSet::new();
    for number in 0.. {
        let next = later.first_key_value().map(|((at, _), _)| (*at).into());
        let may_begin = next.is_some() && under_way.len() < MAX_UPDATES;
        let due = next.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            taken = updates.recv() => match taken {
                Some(update) => drop(later.insert((update.at, number), update.room)),
                None => break,
            },
            () = sleep_until(due), if may_begin => {
                if let (Some((_, room)), Some(engine)) = (later.pop_first(), engine.upgrade()) {
                    under_way.spawn(update(engine, room));
                }
            }
            Some(_) = under_way.join_next() => {}
        }
    }
}

/// Updates the list of who is present in a room, after other processes were asked, and told who is
/// present here, where need be.
async fn update(engine: Arc<Engine>, room: Arc<RoomFeed>) {
    let feed = &engine.feed;
    if feed.is_closed() {
        return;
    }

    let _publishing = room.publishing().lock().await;
    let is_shared = engine.backend.is_shared();
    let asked = room.begin_presence_question().filter(|_| is_shared);
    let unpublished = room.begin_presence_update();
    // Later lists do not wait for other processes.
    if room.has_presence() {
        room.update_presence();
    }

    let mut done = Ok(());
    if let Some(asked) = asked {
        let remote = engine.backend.presence(room.name.clone());
        let remote = engine.call(remote).await;
        done = remote.map(|remote| room.load_presence(asked, remote));
    }
    if let Some(users) = unpublished {
        done = done.and(publish(&engine, &room, users).await);
    }
    room.update_presence();

    if let Err(error) = done {
        tracing::debug!(%error, "presence could not be exchanged with other processes");
        feed.reschedule_presence(&room, Instant::now() + TICK);
    } else if is_shared && room.begin_presence_question().is_some() {
        // Something changed meanwhile, so other processes have to be asked again.
        feed.schedule_presence(&room);
    }
}

/// Publishes who is present at this process.
async fn publish(
    engine: &Engine,
    room: &RoomFeed,
    users: Vec<crate::types::Username>,
) -> Result<()> {
    let presence = ProcessPresence {
        version: engine.feed.next_presence_version(),
        users,
    };
    let published = engine.backend.publish_presence(room.name.clone(), presence);
    engine.call(published).await
}
