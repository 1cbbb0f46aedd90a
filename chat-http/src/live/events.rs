//! Server-Sent Events: one room as a stream that a browser resumes by itself.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use chat_client::wire::ServerFrame;
use chatcore::{ChangeSeq, Invalid, Position, Seq, SharedMessage, Update};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::anonymous_permit;
use super::frames::{check_position, encode};
use super::room_events::{RoomEvent, room_events};
use crate::app::App;
use crate::body::Body;
use crate::error::Result;
use crate::permits::NetworkPermit;
use crate::request::Call;
use crate::response::Response;
use crate::session_monitor::{SessionMonitor, ended};

/// Longest silence. Proxies and clients take a longer one for a lost connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pause before a browser comes back, in milliseconds.
const RETRY: u32 = 1_000;

/// Id of an event: `<seq>.<change>`.
struct EventId(Position);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.seq, self.0.change)
    }
}

/// Position that a client asks to start after.
#[derive(Debug, Default, PartialEq, Eq)]
struct Start {
    after: Option<Seq>,
    /// No change before now is given if this is left out.
    changes_after: Option<ChangeSeq>,
}

struct Events {
    room_events: BoxStream<'static, RoomEvent>,
    position: Position,
    /// Ends the stream with the session by which the room is read.
    monitor: Option<SessionMonitor>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Time of the next comment, unless an event is written before.
    next_comment: Instant,
    _permit: Option<NetworkPermit>,
}

/// `GET /chat/{room}/events`
pub(crate) async fn events(app: App, call: Call) -> Result<Response> {
    let (store, room) = (call.user_store(&app), call.room()?);
    let permit = anonymous_permit(&app, &call)?;

    let position = match start(&call)? {
        Start {
            after: Some(seq),
            changes_after: Some(change),
        } => Position { seq, change },
        Start { after, .. } => {
            let last = store.last_position(&room).await?;
            Position {
                seq: after.unwrap_or(last.seq),
                ..last
            }
        }
    };
    let watcher = store.follow(&room, position.seq).await?;
    let watcher = watcher.with_changes(position.change);

    let user = call.user.as_ref();
    Ok(respond(Events {
        room_events: room_events(watcher).boxed(),
        position,
        monitor: user.map(|user| SessionMonitor::new(&app, user)),
        stopping: Box::pin(app.stopping().clone().cancelled_owned()),
        next_comment: Instant::now() + KEEP_ALIVE,
        _permit: permit,
    }))
}

fn respond(events: Events) -> Response {
    // With an id from the start, so that a client which is cut off before the first message misses
    // none.
    let first = Bytes::from(format!(
        "retry: {RETRY}\nid: {}\n\n",
        EventId(events.position)
    ));
    let first = stream::once(async { first });
    let rest = stream::unfold(events, |mut events| async move {
        Some((events.next().await?, events))
    });

    let mut response = Response::new(Body::stream(first.chain(rest)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold back an event until it has a buffer full of them.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Reads the position to start after: of the last event that a browser saw, else of the query.
fn start(call: &Call) -> Result<Start> {
    let id = call
        .header(HeaderName::from_static("last-event-id"))
        .filter(|id| !id.is_empty());
    if let Some(id) = id {
        let named = |error| Invalid {
            field: "Last-Event-ID",
            ..error
        };
        return Ok(read_id(id).map_err(named)?);
    }

    let start = Start {
        after: call.query.parsed("after")?,
        changes_after: call.query.parsed("changes_after")?,
    };
    check_position(start.after, start.changes_after)?;
    Ok(start)
}

/// Reads an id. One without a change means no changes before now.
fn read_id(id: &str) -> Result<Start, Invalid> {
    let (seq, change) = match id.split_once('.') {
        Some((seq, change)) => (seq, Some(change)),
        None => (id, None),
    };
    Ok(Start {
        after: Some(seq.parse()?),
        changes_after: change.map(str::parse).transpose()?,
    })
}

impl Events {
    /// Returns what to write next. The stream goes on while the store is away, because a browser
    /// does not come back to a server that answers `503`. It ends with the session, the removal of
    /// the user from the room, the store and the server.
    async fn next(&mut self) -> Option<Bytes> {
        let bytes = loop {
            tokio::select! {
                event = self.room_events.next() => match self.encode(event?)? {
                    bytes if bytes.is_empty() => {}
                    bytes => break bytes,
                },
                () = sleep_until(self.next_comment) => break Bytes::from_static(b":\n\n"),
                () = ended(&mut self.monitor) => return None,
                () = &mut self.stopping => return None,
            }
        };

        self.next_comment = Instant::now() + KEEP_ALIVE;
        Some(bytes)
    }

    /// Encodes an event of the room: as nothing if it is about presence or typing, which a stream
    /// leaves out. Returns `None` if there will be no more.
    fn encode(&mut self, event: RoomEvent) -> Option<Bytes> {
        let update = event.update.ok()?;
        // Messages do not move the number of the change, nor changes that of the message.
        let before = std::mem::replace(&mut self.position, event.position);

        let mut text = Vec::new();
        match update {
            Update::Messages(messages) => {
                text.reserve(length(&messages));
                for message in messages {
                    let id = Position {
                        seq: message.seq,
                        ..before
                    };
                    write_event(&mut text, "message", id, message.json());
                }
            }
            Update::Changed(messages) => {
                text.reserve(length(&messages));
                for message in messages {
                    let id = Position {
                        change: message.change.unwrap_or(before.change),
                        ..before
                    };
                    write_event(&mut text, "changed", id, message.json());
                }
            }
            Update::Resync => {
                let data = ServerFrame::Resync {
                    room: event.room.to_string(),
                    last_change: self.position.change.get(),
                };
                write_event(&mut text, "resync", self.position, &encode(&data));
            }
            Update::Topic(topic) => {
                let data = ServerFrame::Room {
                    room: event.room.to_string(),
                    topic: topic.to_string(),
                };
                write_event(&mut text, "room", before, &encode(&data));
            }
            _ => {}
        }
        Some(text.into())
    }
}

/// Estimates the bytes that the events of these messages take.
fn length(messages: &[SharedMessage]) -> usize {
    messages
        .iter()
        .map(|message| message.json().len() + 96)
        .sum()
}

/// Writes an event. JSON has no line break, so one line of data carries it.
fn write_event(text: &mut Vec<u8>, kind: &str, id: Position, data: &[u8]) {
    let id = EventId(id).to_string();
    let parts = [
        b"event: ",
        kind.as_bytes(),
        b"\nid: ",
        id.as_bytes(),
        b"\ndata: ",
        data,
        b"\n\n",
    ];
    parts
        .into_iter()
        .for_each(|part| text.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_both_numbers_or_the_first() {
        let read = |text| {
            read_id(text).map(|start| {
                let change = start.changes_after.map(ChangeSeq::get);
                (start.after.map(Seq::get), change)
            })
        };
        assert_eq!(read("7"), Ok((Some(7), None)));
        assert_eq!(read("7.0"), Ok((Some(7), Some(0))));
        assert_eq!(read("0.12"), Ok((Some(0), Some(12))));
        for text in [".", "7.", ".7", "7.1.2", "-1", "7.-1", "7,1", "x", " 7"] {
            assert!(read_id(text).is_err(), "{text}");
        }

        let position = Position {
            seq: Seq::new(3).expect("a seq"),
            change: ChangeSeq::new(4).expect("a change"),
        };
        assert_eq!(read(&EventId(position).to_string()), Ok((Some(3), Some(4))));
    }
}
