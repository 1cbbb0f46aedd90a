//! Events of the user of a socket, whichever rooms it follows: read marks and mentions.

use std::collections::VecDeque;

use chat_client::wire::ServerFrame;
use chatcore::{RoomName, Seq, UserStore, UserUpdate, UserWatcher};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Socket;
use super::delivery::store_closed;
use crate::live::frames::encode;
use crate::live::transport::Result;

/// Mentions of the user that are looked up at once. While there are so many, the others wait.
const MAX_LOOKUPS: usize = 8;
/// Mentions that are remembered, so that one that is published twice is passed on once: a change
/// stream that is resumed may repeat its last events.
const MAX_KNOWN: usize = 32;

/// Message that mentions the user.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Mention {
    room: RoomName,
    seq: Seq,
}

pub(super) struct UserEvents {
    /// Updates of the user; `None` without a session.
    updates: Option<UserWatcher>,
    /// Looks at messages that mention the user; `None` where the user may not read the message.
    lookups: FuturesOrdered<BoxFuture<'static, Option<Mention>>>,
    /// Latest mentions that were looked up.
    known: VecDeque<Mention>,
}

/// An event of a user, as far as it is known.
pub(super) enum UserEvent {
    Update(chatcore::Result<UserUpdate>),
    /// A mention that was looked up, or `None` if the user may not know of it.
    Mention(Option<Mention>),
}

impl UserEvents {
    pub(super) fn new(updates: Option<UserWatcher>) -> Self {
        Self {
            updates,
            lookups: FuturesOrdered::new(),
            known: VecDeque::new(),
        }
    }

    /// Waits for the next event. Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> UserEvent {
        let Some(updates) = &mut self.updates else {
            return std::future::pending().await;
        };

        let takes_updates = self.lookups.len() < MAX_LOOKUPS;
        tokio::select! {
            update = updates.next(), if takes_updates => UserEvent::Update(update),
            Some(mention) = self.lookups.next() => UserEvent::Mention(mention),
        }
    }

    /// Looks up a message that mentions the user, who may not be allowed to know of it.
    fn look_up(&mut self, mention: Mention, store: UserStore) {
        if self.known.contains(&mention) {
            return;
        }
        if self.known.len() == MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(mention.clone());

        self.lookups.push_back(Box::pin(async move {
            let message = store.mention(&mention.room, mention.seq).await.ok()?;
            message.map(|_| mention)
        }));
    }
}

fn frame(Mention { room, seq }: Mention) -> ServerFrame {
    ServerFrame::Mention {
        room: room.to_string(),
        seq: seq.get(),
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Socket<C> {
    pub(super) async fn deliver_user_event(&mut self, event: UserEvent) -> Result {
        let frame = match event {
            UserEvent::Mention(mention) => mention.map(frame),
            UserEvent::Update(update) => match update.map_err(|_| store_closed())? {
                UserUpdate::Read { room, seq } => Some(ServerFrame::Read {
                    room: room.to_string(),
                    seq: seq.get(),
                }),
                UserUpdate::Mentioned { room, seq } => {
                    let store = self.user_store();
                    self.user_events.look_up(Mention { room, seq }, store);
                    None
                }
                UserUpdate::RoomsChanged => Some(ServerFrame::Rooms),
                // The session monitor follows these too.
                _ => None,
            },
        };

        match frame {
            Some(frame) => self.transport.send(encode(&frame)).await,
            None => Ok(()),
        }
    }
}
