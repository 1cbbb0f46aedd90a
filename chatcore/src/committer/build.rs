//! Builds a batch: numbers and times its messages and changes, and adds what follows from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::outcomes::Outcomes;
use super::pending::{Pending, PendingPost};
use super::rooms::{KnownRoom, RoomCache};
use crate::error::Result;
use crate::model::{Batch, BatchId, BatchMessage, CountDelta, Head, RoomBatch};
use crate::timestamp::Timestamp;
use crate::types::{Content, NewMessage, RoomName, Username};

/// Builds the batch of these requests on the remembered heads of their rooms.
///
/// # Errors
///
/// [`Error::Unavailable`](crate::Error::Unavailable) if the system gives no random number.
pub(super) fn build_batch(
    pending: &[Pending],
    outcomes: &mut Outcomes,
    rooms: &RoomCache,
    now: Timestamp,
) -> Result<Arc<Batch>> {
    // Sorted by room: a fixed order keeps two processes from locking the same documents crosswise.
    let mut room_batches: BTreeMap<RoomName, RoomBatch> = BTreeMap::new();

    for post in pending.iter().filter_map(Pending::as_post) {
        let room_batch = batch_of_room(&mut room_batches, &post.message.room, rooms);
        room_batch
            .messages
            .push(next_message(post, room_batch.head(), now));
    }
    let head = |room: &RoomName| rooms.head(room).unwrap_or(Head::EMPTY);
    for (room, changes) in outcomes.number(head) {
        batch_of_room(&mut room_batches, &room, rooms).changes = changes;
    }
    for room_batch in room_batches.values_mut() {
        add_members(room_batch, rooms);
    }

    Ok(Arc::new(Batch {
        id: BatchId(crate::session::random()?),
        rooms: room_batches.into_values().collect(),
        counts: count_changes(pending, outcomes),
        guests: guests(pending),
    }))
}

/// Returns what goes to a room, which is empty at first.
fn batch_of_room<'a>(
    room_batches: &'a mut BTreeMap<RoomName, RoomBatch>,
    room: &RoomName,
    rooms: &RoomCache,
) -> &'a mut RoomBatch {
    room_batches.entry(room.clone()).or_insert_with(|| {
        let known = rooms.get(room);
        RoomBatch {
            room: room.clone(),
            after: known.map(KnownRoom::head),
            after_is_durable: known.is_some_and(KnownRoom::is_durable),
            messages: Vec::new(),
            changes: Vec::new(),
            members: Vec::new(),
            assumes_members: false,
        }
    })
}

/// Returns the message that follows `head`.
fn next_message(post: &PendingPost, head: Head, now: Timestamp) -> BatchMessage {
    let NewMessage {
        sender,
        text,
        nonce,
        verified,
        reply_to,
        ..
    } = post.message.clone();

    BatchMessage {
        seq: head.seq.next(),
        timestamp: now.max(head.timestamp.plus_micros(1)),
        content: Content {
            sender,
            text,
            verified,
            reply_to,
            mentions: post.mentions.clone(),
            edited_at: None,
            reactions: Vec::new(),
        },
        nonce,
    }
}

/// Adds the senders who are not known to be members. For the others the batch assumes that they
/// still are, which the departures in the room's head guard.
fn add_members(room_batch: &mut RoomBatch, rooms: &RoomCache) {
    let known = rooms.get(&room_batch.room);

    let mut members = BTreeSet::new();
    for message in &room_batch.messages {
        let sender = &message.content.sender;
        if known.is_some_and(|known| known.is_member(sender)) {
            room_batch.assumes_members = true;
        } else {
            members.insert(sender);
        }
    }
    room_batch.members = members.into_iter().cloned().collect();
}

/// Returns the moves of the senders' counters, sorted like the rooms.
fn count_changes(pending: &[Pending], outcomes: &Outcomes) -> Vec<CountDelta> {
    let mut moves: HashMap<&Username, (i64, i64)> = HashMap::new();
    for post in pending.iter().filter_map(Pending::as_post) {
        moves.entry(&post.message.sender).or_default().0 += 1;
    }
    for sender in outcomes.deleted_senders() {
        moves.entry(sender).or_default().1 += 1;
    }

    let mut counts: Vec<_> = moves
        .into_iter()
        .map(|(user, (added, removed))| CountDelta {
            user: user.clone(),
            added,
            removed,
        })
        .collect();
    counts.sort_unstable();
    counts
}

/// Returns the names that guests use, each once, sorted.
fn guests(pending: &[Pending]) -> Vec<Username> {
    let guests: BTreeSet<_> = pending.iter().filter_map(Pending::guest).collect();

    guests.into_iter().cloned().collect()
}
