//! The posts that wait for a commit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::sync::oneshot;

use crate::backend::{Batch, NonceKey};
use crate::error::{Error, Result};
use crate::types::{MessageText, NewMessage, Posted};

/// A post in the queue.
pub(super) struct Post {
    pub(super) message: NewMessage,
    pub(super) reply: oneshot::Sender<Result<Posted>>,
}

/// One message to store and everyone who waits for it: more than one when the same nonce came
/// more than once. It is verified if all of them are.
pub(super) struct Pending {
    pub(super) message: NewMessage,
    waiters: Vec<Waiter>,
}

struct Waiter {
    text: MessageText,
    verified: bool,
    reply: oneshot::Sender<Result<Posted>>,
}

impl Pending {
    pub(super) fn key(&self) -> Option<NonceKey> {
        key(&self.message)
    }

    /// Answers every waiter: the first with `posted`, the others with a repeat of it.
    pub(super) fn answer(self, mut posted: Posted) {
        for Waiter { text, reply, .. } in self.waiters {
            // What a deleted message said is not known any more.
            let answer = if posted.message.text().is_none_or(|stored| stored == text.as_str()) {
                Ok(posted.clone())
            } else {
                Err(Error::NonceConflict)
            };
            posted = Posted { repeated: true, created_room: false, ..posted };
            let _ = reply.send(answer);
        }
    }

    pub(super) fn fail(self, error: &Error) {
        for Waiter { reply, .. } in self.waiters {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Fails the waiters who proved nothing. What is left is verified; says whether anyone is.
    pub(super) fn refuse_guests(&mut self, error: &Error) -> bool {
        for waiter in self.waiters.extract_if(.., |waiter| !waiter.verified) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
        let Some(first) = self.waiters.first() else { return false };
        self.message.text = first.text.clone();
        self.message.verified = true;
        true
    }
}

fn key(message: &NewMessage) -> Option<NonceKey> {
    let nonce = message.nonce.clone()?;
    Some((message.room.clone(), message.sender.clone(), nonce))
}

/// Groups posts that carry the same nonce. A post whose caller has gone is left out.
pub(super) fn merge(posts: impl Iterator<Item = Post>) -> Vec<Pending> {
    let mut pending: Vec<Pending> = Vec::new();
    let mut by_nonce: HashMap<NonceKey, usize> = HashMap::new();
    for Post { message, reply } in posts.filter(|post| !post.reply.is_closed()) {
        let waiter = Waiter { text: message.text.clone(), verified: message.verified, reply };
        if let Some(key) = key(&message) {
            match by_nonce.entry(key) {
                Entry::Occupied(first) => {
                    let first = &mut pending[*first.get()];
                    first.message.verified &= waiter.verified;
                    first.message.may_create_room |= message.may_create_room;
                    first.waiters.push(waiter);
                    continue;
                }
                Entry::Vacant(place) => place.insert(pending.len()),
            };
        }
        pending.push(Pending { message, waiters: vec![waiter] });
    }
    pending
}

/// Answers every pending post with its message in the stored batch.
pub(super) fn answer(pending: &mut Vec<Pending>, batch: &Batch) {
    let rooms = batch.rooms.iter();
    let mut stored: HashMap<_, _> =
        rooms.map(|room| (&room.room, (room.after.is_none(), room.messages.iter()))).collect();
    for post in pending.drain(..) {
        // Within a room the batch keeps the order of what was pending.
        let Some((is_new, messages)) = stored.get_mut(&post.message.room) else { continue };
        if let Some(message) = messages.next() {
            // The first message of a new room creates it.
            let created_room = std::mem::take(is_new);
            let message = message.to_message(&post.message.room);
            post.answer(Posted { message, repeated: false, created_room });
        }
    }
}
