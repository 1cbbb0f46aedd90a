//! Requests that wait for the result of a commit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::sync::oneshot;

use super::request::{ChangeRequest, PostRequest, Request};
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::model::NonceKey;
use crate::types::{MessageText, NewMessage, Posted, RoomName, Username};

/// A request, until it is answered.
pub(super) enum Pending {
    Post(PendingPost),
    Change(ChangeRequest),
}

/// One message to store and all callers who wait for it: several if the same nonce came several
/// times. It is verified if all of the callers are.
pub(super) struct PendingPost {
    pub(super) message: NewMessage,
    pub(super) mentions: Vec<Username>,
    waiters: Vec<Waiter>,
}

/// A caller who waits for a message to be stored, with the post as that caller sent it.
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

    /// Returns the actor; `None` for the program itself.
    pub(super) fn actor(&self) -> Option<Actor> {
        match self {
            Self::Post(PendingPost { message, .. }) => {
                Some(Actor::named(message.sender.clone(), message.verified))
            }
            Self::Change(change) => change.change.actor().cloned(),
        }
    }

    /// Returns the name that the actor uses without proof.
    pub(super) fn guest(&self) -> Option<&Username> {
        match self {
            Self::Post(post) => Some(&post.message.sender).filter(|_| !post.message.verified),
            Self::Change(change) => match change.change.actor()? {
                Actor::Guest(name) => Some(name),
                Actor::Anonymous | Actor::Account(_) => None,
            },
        }
    }

    pub(super) fn as_post(&self) -> Option<&PendingPost> {
        match self {
            Self::Post(post) => Some(post),
            Self::Change(_) => None,
        }
    }

    pub(super) fn as_change(&self) -> Option<&ChangeRequest> {
        match self {
            Self::Post(_) => None,
            Self::Change(change) => Some(change),
        }
    }

    /// Answers all callers with an error.
    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::Post(post) => post
                .waiters
                .into_iter()
                .for_each(|waiter| waiter.fail(error)),
            Self::Change(change) => drop(change.reply.send(Err(error.clone()))),
        }
    }

    /// Answers the callers who are guests with an error. Returns the rest, which is verified.
    pub(super) fn fail_guests(self, error: &Error) -> Option<Self> {
        match self {
            Self::Post(post) => post.fail_guests(error).map(Self::Post),
            change => {
                change.fail(error);
                None
            }
        }
    }
}

impl Waiter {
    fn fail(self, error: &Error) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

impl PendingPost {
    /// Joins another post with the same nonce, which is then answered like this one.
    fn join(&mut self, other: Self) {
        self.message.verified &= other.message.verified;
        self.message.may_create_room |= other.message.may_create_room;
        self.waiters.extend(other.waiters);
    }

    pub(super) fn nonce_key(&self) -> Option<NonceKey> {
        let NewMessage {
            room,
            sender,
            nonce,
            ..
        } = &self.message;

        let nonce = nonce.clone()?;
        Some((room.clone(), sender.clone(), nonce))
    }

    /// Answers every waiter: the first with `posted`, the others with a repeat of it.
    pub(super) fn answer(self, mut posted: Posted) {
        for waiter in self.waiters {
            // The text that a deleted or edited message was posted with is not known any more.
            let is_same = posted
                .message
                .content
                .as_ref()
                .is_none_or(|stored| stored.edited_at.is_some() || stored.text == waiter.text);
            let answer = if is_same {
                Ok(posted.clone())
            } else {
                Err(Error::NonceConflict)
            };
            let _ = waiter.reply.send(answer);

            posted.repeated = true;
            posted.created_room = false;
        }
    }

    /// Fails the waiters who are guests. Returns the post of the others, if there are any.
    fn fail_guests(mut self, error: &Error) -> Option<Self> {
        self.waiters
            .extract_if(.., |waiter| !waiter.verified)
            .for_each(|waiter| waiter.fail(error));

        let first = self.waiters.first()?;
        self.message.text = first.text.clone();
        self.mentions = first.mentions.clone();
        self.message.verified = true;
        Some(self)
    }
}

impl From<PostRequest> for PendingPost {
    fn from(request: PostRequest) -> Self {
        let PostRequest {
            message,
            mentions,
            reply,
        } = request;

        let waiter = Waiter {
            text: message.text.clone(),
            mentions: mentions.clone(),
            verified: message.verified,
            reply,
        };
        Self {
            message,
            mentions,
            waiters: vec![waiter],
        }
    }
}

/// Joins the posts that carry the same nonce. A request whose caller has gone is left out.
pub(super) fn merge(requests: impl Iterator<Item = Request>) -> Vec<Pending> {
    let mut pending: Vec<Pending> = Vec::new();
    let mut by_nonce: HashMap<NonceKey, usize> = HashMap::new();

    for request in requests.filter(|request| !request.is_abandoned()) {
        let post = match request {
            Request::Post(post) => PendingPost::from(post),
            Request::Change(change) => {
                pending.push(Pending::Change(change));
                continue;
            }
        };

        match post.nonce_key().map(|key| by_nonce.entry(key)) {
            Some(Entry::Occupied(first)) => {
                if let Pending::Post(first) = &mut pending[*first.get()] {
                    first.join(post);
                }
            }
            Some(Entry::Vacant(vacant)) => {
                vacant.insert(pending.len());
                pending.push(Pending::Post(post));
            }
            None => pending.push(Pending::Post(post)),
        }
    }

    pending
}

/// Fails and removes the requests that concern one room.
pub(super) fn fail_room(pending: &mut Vec<Pending>, room: &RoomName, error: &Error) {
    tracing::error!(%room, %error, "posts to a room, and changes in it, fail");

    pending
        .extract_if(.., |request| request.room() == room)
        .for_each(|request| request.fail(error));
}
