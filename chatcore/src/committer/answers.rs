//! Answers to the callers of posts and changes that are stored.

use std::collections::HashMap;

use super::calls::Calls;
use super::outcomes::Outcomes;
use super::pending::Pending;
use crate::error::Result;
use crate::model::{Batch, BatchMessage};
use crate::types::{Posted, RoomName};

/// The messages of a batch in one room that are not answered yet.
struct Unanswered<'a> {
    messages: std::slice::Iter<'a, BatchMessage>,
    /// True until the first message of a new room, which creates it, is answered.
    creates_room: bool,
}

/// Answers every post with its message in the stored batch, and every change with the message as
/// the batch left it.
pub(super) fn answer_committed(pending: &mut Vec<Pending>, batch: &Batch, outcomes: &Outcomes) {
    let mut rooms: HashMap<&RoomName, Unanswered<'_>> = batch
        .rooms
        .iter()
        .map(|room_batch| {
            let unanswered = Unanswered {
                messages: room_batch.messages.iter(),
                creates_room: room_batch.after.is_none(),
            };
            (&room_batch.room, unanswered)
        })
        .collect();

    for request in pending.drain(..) {
        let post = match request {
            Pending::Post(post) => post,
            Pending::Change(change) => {
                outcomes.answer(change);
                continue;
            }
        };

        // Within a room, messages are in the order of the requests.
        let room = post.message.room.clone();
        if let Some(unanswered) = rooms.get_mut(&room)
            && let Some(message) = unanswered.messages.next()
        {
            post.answer(Posted {
                message: message.to_message(&room),
                repeated: false,
                created_room: std::mem::take(&mut unanswered.creates_room),
            });
        }
    }
}

/// Answers and removes the posts whose nonce belongs to a stored message.
pub(super) async fn answer_repeats(pending: &mut Vec<Pending>, calls: &Calls) -> Result<()> {
    calls.check_deadline()?;

    let keys: Vec<_> = pending
        .iter()
        .filter_map(|request| request.as_post()?.nonce_key())
        .collect();
    let mut stored = calls
        .retry(|| calls.backend.messages_by_nonce(keys.clone()))
        .await?
        .into_iter();

    for request in std::mem::take(pending) {
        let post = match request {
            Pending::Post(post) if post.message.nonce.is_some() => post,
            other => {
                pending.push(other);
                continue;
            }
        };
        match stored.next() {
            Some(Ok(Some(message))) => post.answer(Posted {
                message,
                repeated: true,
                created_room: false,
            }),
            Some(Err(error)) => Pending::Post(post).fail(&error),
            Some(Ok(None)) | None => pending.push(Pending::Post(post)),
        }
    }
    Ok(())
}
