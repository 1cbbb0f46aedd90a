//! Server-Sent Events: one room as a stream that a browser resumes by itself.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use chatcore::{ChangeSeq, Invalid, Seq, SharedMessage, Update};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::anonymous_permit;
use super::frames::{ServerFrame, check_places};
use super::room_events::{RoomEvent, news};
use crate::app::App;
use crate::error::Result;
use crate::permits::NetworkPermit;
use crate::request::Call;
use crate::response::Response;
use crate::session_monitor::{SessionMonitor, ended};

/// Longest silence. Proxies and clients take a longer one for a lost connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back, in milliseconds.
const RETRY: u32 = 1_000;

struct Events {
    room: BoxStream<'static, RoomEvent>,
    /// Places reached, among the messages and among the changes.
    position: (Seq, ChangeSeq),
    /// The session by which the room is read.
    proof: Option<SessionMonitor>,
    stopping: watch::Receiver<()>,
    /// When the client is told that the stream is alive, unless something else is written before.
    next_comment: Instant,
    _permit: Option<NetworkPermit>,
}

/// `GET /chat/{room}/events`
pub(crate) async fn events(app: App, call: Call) -> Result<Response> {
    let (view, room) = (call.user_store(&app), call.room()?);
    let permit = anonymous_permit(&app, &call)?;
    let position = match start(&call)? {
        (Some(after), Some(changes_after)) => (after, changes_after),
        (after, _) => {
            let (last_seq, last_change) = view.ends(&room).await?;
            (after.unwrap_or(last_seq), last_change)
        }
    };
    let (after, changes_after) = position;
    let watcher = view
        .follow(&room, after)
        .await?
        .with_changes(Some(changes_after));
    let proof = call
        .user
        .as_ref()
        .map(|user| SessionMonitor::new(&app, user));
    let events = Events {
        room: news(watcher).boxed(),
        position,
        proof,
        stopping: call.connection.stopping.clone(),
        next_comment: Instant::now() + KEEP_ALIVE,
        _permit: permit,
    };
    // With an id from the start, so that whoever is cut off before the first message misses none.
    let first = Bytes::from(format!(
        "retry: {RETRY}\nid: {}\n\n",
        id(after, changes_after)
    ));
    let first = stream::once(async { first });
    let rest = stream::unfold(events, |mut events| async move {
        Some((events.next().await?, events))
    });
    let frames = first
        .chain(rest)
        .map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold back what it has not enough of.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// Places to start after: of the last event that a browser saw, else as the query says.
fn start(call: &Call) -> Result<(Option<Seq>, Option<ChangeSeq>)> {
    let id = call
        .header(HeaderName::from_static("last-event-id"))
        .filter(|id| !id.is_empty());
    if let Some(id) = id {
        let (seq, change) = read_id(id).map_err(|e| Invalid {
            field: "Last-Event-ID",
            ..e
        })?;
        return Ok((Some(seq), change));
    }

    let (after, changes_after) = (
        call.query.parsed("after")?,
        call.query.parsed("changes_after")?,
    );
    check_places(after, changes_after)?;
    Ok((after, changes_after))
}

/// Writes the id of an event.
fn id(seq: Seq, change: ChangeSeq) -> String {
    format!("{seq}.{change}")
}

/// Reads an id. One without a change means no changes before now.
fn read_id(id: &str) -> Result<(Seq, Option<ChangeSeq>), Invalid> {
    Ok(match id.split_once('.') {
        Some((seq, change)) => (seq.parse()?, Some(change.parse()?)),
        None => (id.parse()?, None),
    })
}

impl Events {
    /// Returns what to write next. The stream goes on while the store is away, because a browser
    /// does not come back to a server that answers `503`. It ends with the session, the removal of
    /// the user from the room, the store and the server.
    async fn next(&mut self) -> Option<Bytes> {
        let bytes = loop {
            tokio::select! {
                news = self.room.next() => match self.encode(news?)? {
                    bytes if bytes.is_empty() => {}
                    bytes => break bytes,
                },
                () = sleep_until(self.next_comment) => break Bytes::from_static(b":\n\n"),
                () = ended(&mut self.proof) => return None,
                _ = self.stopping.changed() => return None,
            }
        };

        self.next_comment = Instant::now() + KEEP_ALIVE;
        Some(bytes)
    }

    /// Encodes what is new, which is nothing for a reader of a stream if it is about people; `None`
    /// if there will be nothing more.
    fn encode(&mut self, event: RoomEvent) -> Option<Bytes> {
        let RoomEvent {
            room,
            update,
            position,
        } = event;
        // Messages do not move the place among the changes, nor changes that among the messages.
        let (seq, change) = self.position;
        self.position = (position.0, position.1.unwrap_or(change));
        let mut text = Vec::new();
        match update.ok()? {
            Update::Messages(messages) => {
                text.reserve(length(&messages));
                for message in messages {
                    write_event(
                        &mut text,
                        "message",
                        &id(message.seq, change),
                        message.json(),
                    );
                }
            }
            Update::Changed(messages) => {
                text.reserve(length(&messages));
                for message in messages {
                    let id = id(seq, message.change.unwrap_or(change));
                    write_event(&mut text, "changed", &id, message.json());
                }
            }
            Update::Resync => {
                let id = id(self.position.0, self.position.1);
                write_event(
                    &mut text,
                    "resync",
                    &id,
                    &ServerFrame::Resync { room: &room }.encode(),
                );
            }
            Update::Topic(topic) => {
                let data = ServerFrame::Room {
                    room: &room,
                    topic: &topic,
                }
                .encode();
                write_event(&mut text, "room", &id(seq, change), &data);
            }
            // A stream says nothing of people.
            _ => {}
        }
        Some(text.into())
    }
}

/// Bytes that the events of these messages take: all are written by one call.
fn length(messages: &[SharedMessage]) -> usize {
    messages
        .iter()
        .map(|message| message.json().len() + 96)
        .sum()
}

/// Writes an event. JSON has no line break, so one line of data carries it.
fn write_event(text: &mut Vec<u8>, kind: &str, id: &str, data: &[u8]) {
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
    fn an_id_names_both_places_or_the_first() {
        let read =
            |text| read_id(text).map(|(seq, change)| (seq.get(), change.map(ChangeSeq::get)));
        assert_eq!(read("7"), Ok((7, None)));
        assert_eq!(read("7.0"), Ok((7, Some(0))));
        assert_eq!(read("0.12"), Ok((0, Some(12))));
        for text in [".", "7.", ".7", "7.1.2", "-1", "7.-1", "7,1", "x", " 7"] {
            assert!(read_id(text).is_err(), "{text}");
        }
        let (seq, change) = (
            Seq::new(3).expect("a seq"),
            ChangeSeq::new(4).expect("a change"),
        );
        assert_eq!(read(&id(seq, change)), Ok((3, Some(4))));
    }
}
