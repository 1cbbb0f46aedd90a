//! Requests in the queue of the committer.

use tokio::sync::{mpsc, oneshot};

use crate::actor::Actor;
use crate::error::Result;
use crate::types::{Emoji, Message, MessageText, NewMessage, Posted, RoomName, Seq, Username};

/// Requests in one commit. Bounds the size of a transaction and the wait of the posts behind it.
pub(super) const MAX_BATCH: usize = 512;

/// A request in the queue.
pub(super) enum Request {
    Post(PostRequest),
    Change(ChangeRequest),
}

/// A message to be stored.
pub(super) struct PostRequest {
    pub(super) message: NewMessage,
    pub(super) mentions: Vec<Username>,
    pub(super) reply: oneshot::Sender<Result<Posted>>,
}

/// A stored message to be changed.
pub(super) struct ChangeRequest {
    pub(super) room: RoomName,
    pub(super) seq: Seq,
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<Message>>,
}

/// A change of a message, with the actor who asks for it; `None` for the program itself.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Replaces the text.
    Edit {
        actor: Option<Actor>,
        text: MessageText,
        mentions: Vec<Username>,
    },
    /// Deletes the message.
    Delete { actor: Option<Actor> },
    /// Adds the actor's reaction, or removes it.
    React {
        actor: Actor,
        emoji: Emoji,
        is_added: bool,
    },
}

impl Change {
    /// Returns the actor; `None` for the program itself.
    pub(super) fn actor(&self) -> Option<&Actor> {
        match self {
            Self::Edit { actor, .. } | Self::Delete { actor } => actor.as_ref(),
            Self::React { actor, .. } => Some(actor),
        }
    }
}

impl Request {
    /// Returns true if the caller no longer waits for the answer.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Post(post) => post.reply.is_closed(),
            Self::Change(change) => change.reply.is_closed(),
        }
    }
}

/// Takes the requests that are ready from the queue, up to [`MAX_BATCH`] in all.
///
/// Lets the tasks that are ready to run send theirs first, so that callers who were answered
/// together are batched together again. It waits for no task: it ends with the first turn that
/// brings no request.
pub(super) async fn drain(queue: &mut mpsc::Receiver<Request>, requests: &mut Vec<Request>) {
    while requests.len() < MAX_BATCH {
        tokio::task::yield_now().await;

        let before = requests.len();
        while requests.len() < MAX_BATCH
            && let Ok(request) = queue.try_recv()
        {
            requests.push(request);
        }

        if requests.len() == before {
            break;
        }
    }
}
