//! Events of rooms as frames of a socket.

use bytes::Bytes;
use chat_client::wire::ServerFrame;
use chatcore::{ChangeSeq, Position, RoomName, SharedMessage, Update, Username};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::CloseCode;

use super::{Socket, Subscription};
use crate::live::frames::{
    Drawn, Subject, changed_frame, encode, message_frame, presence_frame, with_field,
};
use crate::live::room_events::{EndReason, RoomEvent};
use crate::live::transport::{End, Result};
use crate::pages::rows::{draw_json, line_json};

/// Events that are taken together before they are written.
const MAX_BATCH: usize = 8;

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Socket<C> {
    /// Queues the frames of an event, and of others that are ready.
    pub(super) async fn deliver(&mut self, event: RoomEvent) -> Result {
        self.deliver_one(event).await?;

        for _ in 1..MAX_BATCH {
            match self.room_events.next().now_or_never() {
                Some(Some(event)) => self.deliver_one(event).await?,
                _ => break,
            }
        }
        Ok(())
    }

    async fn deliver_one(&mut self, event: RoomEvent) -> Result {
        let RoomEvent {
            room,
            update,
            position,
        } = event;
        match update {
            Ok(update) => self.deliver_update(&room, update, position).await,
            Err(EndReason::StoreClosed) => Err(store_closed()),
            Err(EndReason::Rejected(error)) => {
                self.subscriptions.remove(&room);
                self.refuse(&Subject::room(&room), &error).await
            }
        }
    }

    async fn deliver_update(
        &mut self,
        room: &RoomName,
        update: Update,
        position: Position,
    ) -> Result {
        let frame = match update {
            Update::Messages(messages) => {
                for message in messages {
                    let frame = message_frame(&message);
                    self.deliver_message(&message, frame, position.change)
                        .await?;
                }
                return Ok(());
            }
            Update::Changed(messages) => {
                for message in messages {
                    let frame = changed_frame(&message);
                    self.deliver_message(&message, frame, position.change)
                        .await?;
                }
                return Ok(());
            }
            Update::Presence(presence) => {
                return self.transport.send(presence_frame(&presence)).await;
            }
            Update::Typing(users) => return self.deliver_typing(room, users).await,
            Update::Resync => ServerFrame::Resync {
                room: room.to_string(),
                last_change: position.change.get(),
            },
            Update::Topic(topic) => ServerFrame::Room {
                room: room.to_string(),
                topic: topic.to_string(),
            },
            // Other updates have no frame.
            _ => return Ok(()),
        };
        self.transport.send(encode(&frame)).await
    }

    /// Delivers a message in the forms that the client asked for.
    async fn deliver_message(
        &mut self,
        message: &SharedMessage,
        frame: Bytes,
        seen: ChangeSeq,
    ) -> Result {
        let Some(Subscription { drawn, .. }) = self.subscriptions.get(&message.room) else {
            return self.transport.send(frame).await;
        };
        let Drawn { html, line } = *drawn;

        let mut frame = frame;
        // Without one of them the client has the rest, and may ask for the row.
        if line && let Ok(line) = line_json(&self.app, message) {
            frame = with_field(&frame, "line", &line);
        }
        if html && let Ok(row) = draw_json(&self.app, self.peer.language, message, seen).await {
            frame = with_field(&frame, "html", &row);
        }
        self.transport.send(frame).await
    }

    /// Tells of the users who type, except the user of the socket.
    async fn deliver_typing(&mut self, room: &RoomName, mut users: Vec<Username>) -> Result {
        if let Some(own) = &self.user {
            users.retain(|user| own.username != *user);
        }

        for username in users {
            let frame = ServerFrame::Typing {
                room: room.to_string(),
                username: username.to_string(),
            };
            self.transport.send(encode(&frame)).await?;
        }
        Ok(())
    }
}

/// End of a socket whose store is closed.
pub(super) fn store_closed() -> End {
    End::Close(CloseCode::GOING_AWAY, "the store is closed")
}
