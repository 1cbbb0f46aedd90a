//! The requests that wait for a commit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::sync::oneshot;

use super::changes::{Change, Outcomes};
use crate::error::{Error, Result};
use crate::model::{Batch, NonceKey};
use crate::types::{Message, MessageText, NewMessage, Posted, RoomName, Seq, Username};

/// A request in the queue.
pub(super) enum Request {
    Post(Post),
    Change(PendingChange),
}

/// A message to be stored.
pub(super) struct Post {
    pub(super) message: NewMessage,
    pub(super) mentions: Vec<Username>,
    pub(super) reply: oneshot::Sender<Result<Posted>>,
}

/// A stored message to be changed.
pub(super) struct PendingChange {
    pub(super) room: RoomName,
    pub(super) seq: Seq,
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<Message>>,
}

impl Request {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Post(post) => post.reply.is_closed(),
            Self::Change(change) => change.reply.is_closed(),
        }
    }
}

/// A part of a batch, until it is answered.
pub(super) enum Pending {
    Post(PendingPost),
    Change(PendingChange),
}

/// One message to store and everyone who waits for it: more than one when the same nonce came
/// more than once. It is verified if all of them are.
pub(super) struct PendingPost {
    pub(super) message: NewMessage,
    pub(super) mentions: Vec<Username>,
    waiters: Vec<Waiter>,
}

struct Waiter {
    text: MessageText,
    mentions: Vec<Username>,
    verified: bool,
    reply: oneshot::Sender<Result<Posted>>,
}

impl Pending {
    pub(super) fn room(&self) -> &RoomName {
        match self {
            Self::Post(post) => &post.message.room,
            Self::Change(change) => &change.room,
        }
    }

    /// Returns who acts, and whether the name is proved; `None` for the program itself.
    pub(super) fn actor(&self) -> Option<(&Username, bool)> {
        match self {
            Self::Post(post) => Some((&post.message.sender, post.message.verified)),
            Self::Change(change) => change.change.actor(),
        }
    }

    pub(super) fn as_post(&self) -> Option<&PendingPost> {
        match self {
            Self::Post(post) => Some(post),
            Self::Change(_) => None,
        }
    }

    pub(super) fn as_change(&self) -> Option<&PendingChange> {
        match self {
            Self::Post(_) => None,
            Self::Change(change) => Some(change),
        }
    }

    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::Post(post) => {
                for Waiter { reply, .. } in post.waiters {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            Self::Change(change) => drop(change.reply.send(Err(error.clone()))),
        }
    }

    /// Fails those who proved nothing. Returns what is left, which is verified.
    pub(super) fn refuse_guests(self, error: &Error) -> Option<Self> {
        match self {
            Self::Post(mut post) => post.refuse_guests(error).then_some(Self::Post(post)),
            change => {
                change.fail(error);
                None
            }
        }
    }
}

impl PendingPost {
    pub(super) fn key(&self) -> Option<NonceKey> {
        key(&self.message)
    }

    /// Answers every waiter: the first with `posted`, the others with a repeat of it.
    pub(super) fn answer(self, mut posted: Posted) {
        for Waiter { text, reply, .. } in self.waiters {
            // What a message said that was deleted or edited is not known any more.
            let is_same = posted
                .message
                .content
                .as_ref()
                .is_none_or(|stored| stored.edited_at.is_some() || stored.text == text);
            let answer = if is_same {
                Ok(posted.clone())
            } else {
                Err(Error::NonceConflict)
            };
            posted = Posted {
                repeated: true,
                created_room: false,
                ..posted
            };
            let _ = reply.send(answer);
        }
    }

    /// Fails the waiters who proved nothing. Returns false if nobody else waits.
    fn refuse_guests(&mut self, error: &Error) -> bool {
        for waiter in self.waiters.extract_if(.., |waiter| !waiter.verified) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
        let Some(first) = self.waiters.first() else {
            return false;
        };
        self.message.text = first.text.clone();
        self.mentions = first.mentions.clone();
        self.message.verified = true;
        true
    }
}

fn key(message: &NewMessage) -> Option<NonceKey> {
    let nonce = message.nonce.clone()?;
    Some((message.room.clone(), message.sender.clone(), nonce))
}

/// Groups posts that carry the same nonce. A request whose caller has gone is left out.
pub(super) fn merge(requests: impl Iterator<Item = Request>) -> Vec<Pending> {
    let mut pending: Vec<Pending> = Vec::new();
    let mut by_nonce: HashMap<NonceKey, usize> = HashMap::new();
    for request in requests.filter(|request| !request.is_abandoned()) {
        let Post {
            message,
            mentions,
            reply,
        } = match request {
            Request::Post(post) => post,
            Request::Change(change) => {
                pending.push(Pending::Change(change));
                continue;
            }
        };
        let waiter = Waiter {
            text: message.text.clone(),
            mentions: mentions.clone(),
            verified: message.verified,
            reply,
        };
        if let Some(key) = key(&message) {
            match by_nonce.entry(key) {
                Entry::Occupied(first) => {
                    if let Pending::Post(first) = &mut pending[*first.get()] {
                        first.message.verified &= waiter.verified;
                        first.message.may_create_room |= message.may_create_room;
                        first.waiters.push(waiter);
                    }
                    continue;
                }
                Entry::Vacant(place) => place.insert(pending.len()),
            };
        }
        pending.push(Pending::Post(PendingPost {
            message,
            mentions,
            waiters: vec![waiter],
        }));
    }
    pending
}

/// Answers every pending post with its message in the stored batch, and every pending change with
/// the message as the batch left it.
pub(super) fn answer(pending: &mut Vec<Pending>, batch: &Batch, outcomes: &Outcomes) {
    let rooms = batch.rooms.iter();
    let mut stored: HashMap<_, _> = rooms
        .map(|room| (&room.room, (room.after.is_none(), room.messages.iter())))
        .collect();
    for request in pending.drain(..) {
        match request {
            Pending::Post(post) => {
                // Within a room the batch keeps the order of what was pending.
                let Some((is_new, messages)) = stored.get_mut(&post.message.room) else {
                    continue;
                };
                if let Some(message) = messages.next() {
                    // The first message of a new room creates it.
                    let created_room = std::mem::take(is_new);
                    let message = message.to_message(&post.message.room);
                    post.answer(Posted {
                        message,
                        repeated: false,
                        created_room,
                    });
                }
            }
            Pending::Change(change) => outcomes.answer(change),
        }
    }
}
