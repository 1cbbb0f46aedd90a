//! Server-Sent Events: one room as a stream that a browser resumes by itself.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use chatcore::{Invalid, RoomName, Seq, SharedMessage, Update};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::anonymous_permit;
use super::frames::Say;
use super::news::{News, news};
use super::proof::{Proof, ended};
use crate::App;
use crate::error::Result;
use crate::permits::NetworkPermit;
use crate::request::Call;
use crate::response::Response;

/// Longest silence. Proxies and clients take a longer one for a lost connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back, in milliseconds.
const RETRY: u32 = 1_000;

struct Events {
    room: BoxStream<'static, News>,
    /// The session by which the room is read.
    proof: Option<Proof>,
    stopping: watch::Receiver<()>,
    /// When the client is told that the stream is alive, unless something else is written before.
    next_comment: Instant,
    _permit: Option<NetworkPermit>,
}

/// `GET /chat/{room}/events`
pub(crate) async fn events(app: App, call: Call) -> Result<Response> {
    let (view, room) = (call.view(&app), call.room()?);
    let permit = anonymous_permit(&app, &call)?;
    let after = match last_event_id(&call)? {
        Some(after) => after,
        None => match call.query.parsed("after")? {
            Some(after) => after,
            None => view.last_seq(&room).await?,
        },
    };
    let watcher = view.follow(&room, after).await?.with_deletions();
    let proof = call.who.as_ref().map(|who| Proof::new(&app, who));
    let events = Events {
        room: news(watcher).boxed(),
        proof,
        stopping: call.connection.stopping.clone(),
        next_comment: Instant::now() + KEEP_ALIVE,
        _permit: permit,
    };
    // With an id from the start, so that whoever is cut off before the first message misses none.
    let first = Bytes::from(format!("retry: {RETRY}\nid: {after}\n\n"));
    let first = stream::once(async { first });
    let rest = stream::unfold(events, |mut events| async move { Some((events.next().await?, events)) });
    let frames = first.chain(rest).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold back what it has not enough of.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// What a browser that comes back saw last.
fn last_event_id(call: &Call) -> Result<Option<Seq>> {
    let id = call.header(HeaderName::from_static("last-event-id")).filter(|id| !id.is_empty());
    Ok(id.map(str::parse).transpose().map_err(|e| Invalid { field: "Last-Event-ID", ..e })?)
}

impl Events {
    /// Returns what to write next. The stream goes on while the store is away, because a browser does
    /// not come back to a server that answers `503`. It ends with the session, the removal of the user
    /// from the room, the store and the server.
    async fn next(&mut self) -> Option<Bytes> {
        let bytes = loop {
            tokio::select! {
                news = self.room.next() => match news? {
                    (_, Ok(Update::Messages(messages))) => break encode(&messages),
                    (room, Ok(Update::Deleted(places))) => break encode_deletions(&room, &places),
                    (_, Ok(_)) => {}
                    (_, Err(_)) => return None,
                },
                () = sleep_until(self.next_comment) => break Bytes::from_static(b":\n\n"),
                () = ended(&mut self.proof) => return None,
                _ = self.stopping.changed() => return None,
            }
        };

        self.next_comment = Instant::now() + KEEP_ALIVE;
        Some(bytes)
    }
}

/// Deletions have no id: they are told once, to who listens, and the next message is the one after
/// the last.
fn encode_deletions(room: &RoomName, places: &[Seq]) -> Bytes {
    let mut text = Vec::new();
    // None by name means that it is not known which.
    let unknown = places.is_empty().then_some(None);
    for seq in places.iter().copied().map(Some).chain(unknown) {
        text.extend_from_slice(b"event: deleted\ndata: ");
        text.extend_from_slice(&Say::Deleted { room, seq }.encode());
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}

/// All messages in one piece, so that they are written by one call.
fn encode(messages: &[SharedMessage]) -> Bytes {
    let length: usize = messages.iter().map(|message| message.json().len() + 64).sum();
    let mut text = Vec::with_capacity(length);
    for message in messages {
        text.extend_from_slice(b"event: message\nid: ");
        text.extend_from_slice(message.seq.to_string().as_bytes());
        // JSON has no line break, so one line of data carries it.
        text.extend_from_slice(b"\ndata: ");
        text.extend_from_slice(message.json());
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}
