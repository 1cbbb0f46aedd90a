//! Clients of event streams and sockets, by libraries that are not the server's.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::http::{Client, Error};
use crate::mount;

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);

/// A WebSocket to `/ws`.
#[derive(Debug)]
pub struct Socket {
    /// The library's stream, for what is not said in JSON.
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The server.
    pub address: SocketAddr,
}

/// Creates a public room unless it exists, so that it can be followed. A private one stays as it
/// is.
pub async fn make_room(address: SocketAddr, room: &str) {
    let path = format!("/chat/{}", room.replace(' ', "%20"));
    Client::new(address).send(Method::PUT, &path, "").await;
}

impl Socket {
    /// Opens a socket with these headers.
    ///
    /// # Errors
    ///
    /// The status that the server answered instead; 0 if there was no answer.
    pub async fn open(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        Self::open_at(address, &mount::path("/ws"), headers).await
    }

    /// Opens a socket at another path.
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn open_at(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .expect("an address");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header value");
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream, address }),
            Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(_) => Err(0),
        }
    }

    /// Says something. A connection that is lost shows when the answer is read.
    pub async fn say(&mut self, frame: &Value) {
        let _ = self.stream.send(Message::text(frame.to_string())).await;
    }

    /// Returns the next frame; `None` when the connection is closed or lost.
    ///
    /// # Panics
    ///
    /// If it says nothing for long, or no JSON.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(SOON, self.stream.next())
                .await
                .expect("the server says something")
            {
                Some(Ok(Message::Text(text))) => {
                    return Some(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame of this type; others are passed over.
    ///
    /// # Panics
    ///
    /// If the connection ends before.
    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self
                .next()
                .await
                .unwrap_or_else(|| panic!("{kind} before the end"));
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Returns the close code of the server; frames before that are passed over.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        let end = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(SOON, end)
            .await
            .expect("the server closes the socket")
    }
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Kind of the event.
    pub kind: String,
    /// The id of the last event that had one.
    pub id: String,
    /// Its data.
    pub data: Value,
}

impl Event {
    /// The numbers of the message and the change that its id names.
    ///
    /// # Panics
    ///
    /// If it names none.
    #[must_use]
    pub fn position(&self) -> (i64, i64) {
        let (seq, change) = self
            .id
            .split_once('.')
            .unwrap_or_else(|| panic!("the id {}", self.id));
        (
            seq.parse().expect("a seq"),
            change.parse().expect("a change"),
        )
    }
}

/// An event stream.
pub struct Events {
    stream: BoxStream<'static, Option<Event>>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Opens the stream at `path`.
    ///
    /// # Errors
    ///
    /// If there is no answer, or not a stream.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        last_event_id: Option<i64>,
    ) -> Result<Self, Error> {
        let id = last_event_id.map(|id| ("last-event-id", id.to_string()));
        Self::open_with(
            address,
            path,
            id.as_ref()
                .map(|(name, id)| (*name, id.as_str()))
                .as_slice(),
        )
        .await
    }

    /// The same with these headers.
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn open_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let tcp = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .uri(mount::path(path))
            .header(HOST, address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?;
        if answer.status() != 200 {
            return Err(answer.status().to_string().into());
        }
        let body = answer.into_body().into_data_stream().eventsource();
        let events = body.map(move |event| {
            // The connection lives as long as what can send requests on it.
            let _held = &sender;
            let event = event.ok()?;
            Some(Event {
                kind: event.event,
                id: event.id,
                data: serde_json::from_str(&event.data).ok()?,
            })
        });
        Ok(Self {
            stream: events.boxed(),
        })
    }

    /// The next event. `None` when the stream ends or the connection is lost.
    ///
    /// # Panics
    ///
    /// If nothing happens for long.
    pub async fn event(&mut self) -> Option<Event> {
        timeout(SOON, self.stream.next())
            .await
            .expect("the server sends something")
            .flatten()
    }

    /// The next event, if it is a message: its `seq` and its data. `None` when the stream ends or
    /// the connection is lost.
    ///
    /// # Panics
    ///
    /// If nothing happens for long.
    pub async fn next(&mut self) -> Option<(i64, Value)> {
        let event = self.event().await.filter(|event| event.kind == "message")?;
        Some((event.position().0, event.data))
    }
}
