//! Rooms followed by a WebSocket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header::{HeaderValue, USER_AGENT};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::engine::{Command, End, Engine};
use super::event::{Event, Way};
use crate::error::{Error, is_temporary};
use crate::transport::{CONNECT_TIMEOUT, Connection, problem, retry_after};
use crate::wire::{ClientFrame, Problem, ServerFrame};

/// Pause before a room is tried again that the server was too busy for.
const DELAY: Duration = Duration::from_secs(2);
/// Times that the server is pinged within the silence after which a socket counts as lost.
const PINGS: u32 = 3;

type Stream = WebSocketStream<Connection>;

/// A socket, and the subscriptions on it.
struct Socket {
    stream: Stream,
    /// Time that one write may take.
    write_timeout: Duration,
    /// Rooms whose subscription is not answered yet, in the order of the answers.
    pending: VecDeque<String>,
    /// Rooms whose subscription was answered. Of others, nothing is taken.
    followed: BTreeSet<String>,
    /// Rooms to subscribe to later, because the server was busy.
    delayed: BTreeMap<String, Instant>,
}

impl Socket {
    async fn send(&mut self, frame: &ClientFrame) -> Result<(), End> {
        let text = serde_json::to_string(frame).map_err(|e| Error::Invalid(e.to_string()))?;
        self.write(Frame::text(text)).await
    }

    async fn write(&mut self, frame: Frame) -> Result<(), End> {
        match timeout(self.write_timeout, self.stream.send(frame)).await {
            Ok(written) => written.map_err(End::lost),
            Err(_) => Err(End::lost("the server takes nothing")),
        }
    }

    /// Returns the time at which the next room is to be tried again.
    fn next_retry(&self) -> Option<Instant> {
        self.delayed.values().min().copied()
    }
}

impl Engine {
    /// Follows all rooms by one socket until it ends.
    pub(super) async fn follow_by_socket(&mut self) -> Result<Infallible, End> {
        self.apply_commands();
        let silence = self.client.options().silence.max(Duration::from_millis(3));
        let mut socket = Socket {
            stream: self.open().await?,
            write_timeout: silence,
            pending: VecDeque::new(),
            followed: BTreeSet::new(),
            delayed: BTreeMap::new(),
        };
        self.socket_opened();
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.subscribe(&mut socket, room).await?;
        }

        let mut pings = interval(silence / PINGS);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        loop {
            let next_retry = socket.next_retry();
            tokio::select! {
                frame = socket.stream.next() => {
                    self.receive(&mut socket, frame).await?;
                    // After the event was given, because the program may have let it wait.
                    last_heard = Instant::now();
                }
                Some(command) = self.commands.recv() => self.carry_out(&mut socket, command).await?,
                _ = pings.tick() => {
                    if last_heard.elapsed() >= silence {
                        return Err(End::lost("the server is silent"));
                    }
                    socket.write(Frame::Ping(Default::default())).await?;
                }
                () = sleep_until(next_retry.unwrap_or(last_heard)), if next_retry.is_some() => {
                    self.retry(&mut socket).await?;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Stream, End> {
        let uri = self.client.transport().address.ws("/ws")?;
        let mut request = uri
            .into_client_request()
            .map_err(|e| Error::Address(e.to_string()))?;
        let agent = HeaderValue::from_static(concat!("chat-client/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if let Some(session) = self.client.session() {
            request
                .headers_mut()
                .insert(session.name.clone(), session.value.clone());
        }

        let connection = self.client.transport().connect().await?;
        let opened = timeout(CONNECT_TIMEOUT, client_async(request, connection)).await;
        let error = match opened {
            Ok(Ok((stream, _))) => return Ok(stream),
            Ok(Err(tungstenite::Error::Http(answer))) => return Err(refusal(&answer)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a handshake is not answered".to_owned(),
        };
        // Counted too: something on the way may drop handshakes without an answer.
        self.socket_opened();
        Err(End::lost(error))
    }

    async fn subscribe(&mut self, socket: &mut Socket, room: String) -> Result<(), End> {
        let Some(progress) = self.rooms.get(&room) else {
            return Ok(());
        };
        let frame = ClientFrame::Subscribe {
            room: room.clone(),
            after: progress.after(),
            changes_after: progress
                .changes_after()
                .filter(|_| progress.after().is_some()),
            html: false,
            line: false,
        };
        socket.followed.remove(&room);
        socket.pending.push_back(room);
        socket.send(&frame).await
    }

    async fn carry_out(&mut self, socket: &mut Socket, command: Command) -> Result<(), End> {
        match command {
            Command::Follow(subscription) => {
                self.add(&subscription);
                self.subscribe(socket, subscription.room).await
            }
            Command::Unfollow(room) => {
                self.rooms.remove(&room);
                socket.followed.remove(&room);
                socket.delayed.remove(&room);
                socket.send(&ClientFrame::Unsubscribe { room }).await
            }
            Command::Type(room) if socket.followed.contains(&room) => {
                socket.send(&ClientFrame::Typing { room }).await
            }
            Command::Type(_) => Ok(()),
        }
    }

    /// Subscribes to the rooms that the server was too busy for.
    async fn retry(&mut self, socket: &mut Socket) -> Result<(), End> {
        let now = Instant::now();
        let is_due = |(room, time): (&String, &Instant)| (*time <= now).then(|| room.clone());
        let due: Vec<_> = socket.delayed.iter().filter_map(is_due).collect();
        for room in due {
            socket.delayed.remove(&room);
            self.subscribe(socket, room).await?;
        }
        Ok(())
    }

    async fn receive(
        &mut self,
        socket: &mut Socket,
        frame: Option<Result<Frame, tungstenite::Error>>,
    ) -> Result<(), End> {
        let frame = match frame {
            None => return Err(End::lost("the connection is closed")),
            Some(Err(error)) => return Err(End::lost(error)),
            Some(Ok(frame)) => frame,
        };
        self.socket_works();
        self.connected(Way::Socket).await?;

        match frame {
            Frame::Text(text) => {
                let frame =
                    serde_json::from_str(&text).map_err(|e| Error::Answer(e.to_string()))?;
                self.take_frame(socket, frame).await
            }
            Frame::Close(Some(close)) => {
                Err(End::lost(format!("the server says: {}", close.reason)))
            }
            Frame::Close(None) => Err(End::lost("the server closes the connection")),
            // The library answers pings.
            _ => Ok(()),
        }
    }

    async fn take_frame(&mut self, socket: &mut Socket, frame: ServerFrame) -> Result<(), End> {
        match frame {
            ServerFrame::Subscribed {
                room,
                last_seq,
                last_change,
            } => {
                if !self.confirm(socket, &room) {
                    return Ok(());
                }
                self.begin(room, last_seq, last_change).await
            }
            ServerFrame::Message(message) if socket.followed.contains(&message.room) => {
                self.give_message(message).await
            }
            ServerFrame::Changed(message) if socket.followed.contains(&message.room) => {
                self.give_change(message).await
            }
            ServerFrame::Resync { room, last_change } if socket.followed.contains(&room) => {
                self.give_resync(room, last_change).await
            }
            // They were on their way when the room was removed, or is begun again.
            ServerFrame::Message(_) | ServerFrame::Changed(_) | ServerFrame::Resync { .. } => {
                Ok(())
            }
            ServerFrame::Error {
                room,
                status,
                detail,
                ..
            } => {
                let problem = problem_of(status, detail);
                self.take_error(socket, room, problem).await
            }
            ServerFrame::Room { room, topic } => self.emit(Event::Topic { room, topic }).await,
            ServerFrame::Presence { room, users } => {
                self.emit(Event::Presence { room, users }).await
            }
            ServerFrame::Typing { room, username } => {
                self.emit(Event::Typing { room, username }).await
            }
            ServerFrame::Read { room, seq } => self.emit(Event::Read { room, seq }).await,
            ServerFrame::Mention { room, seq } => self.emit(Event::Mention { room, seq }).await,
            ServerFrame::Rooms => self.emit(Event::Rooms).await,
            ServerFrame::Posted { .. } | ServerFrame::Pong | ServerFrame::Unknown => Ok(()),
        }
    }

    /// Takes the confirmation of the first subscription that is not answered. Returns false if its
    /// room is not followed any more, or is subscribed to again.
    fn confirm(&mut self, socket: &mut Socket, room: &str) -> bool {
        if let Some(asked) = socket.pending.pop_front() {
            self.rename(&asked, room);
        }
        if socket.pending.iter().any(|pending| pending == room) {
            return false;
        }
        socket.followed.insert(room.to_owned());
        true
    }

    /// Acts on an error: of the session, of a subscription, of a room that may not be followed any
    /// more, or of a notice about typing.
    async fn take_error(
        &mut self,
        socket: &mut Socket,
        room: Option<String>,
        problem: Problem,
    ) -> Result<(), End> {
        let Some(room) = room else {
            if problem.status == 401 {
                return Err(End::Refused(Error::Refused {
                    problem,
                    retry_after: None,
                }));
            }
            // An invalid name is not repeated, and its subscription is the first one not answered.
            return match socket.pending.pop_front() {
                Some(room) => self.end_room(room, problem).await,
                None => Ok(()),
            };
        };

        let is_answer = socket.pending.contains(&room) || !self.rooms.contains_key(&room);
        if is_answer && let Some(asked) = socket.pending.pop_front() {
            self.rename(&asked, &room);
            if !is_temporary(problem.status) {
                return self.end_room(room, problem).await;
            }
            socket.delayed.insert(room.clone(), Instant::now() + DELAY);
            return self.emit(Event::Delayed { room, problem }).await;
        }

        if matches!(problem.status, 403 | 404) && socket.followed.remove(&room) {
            return self.end_room(room, problem).await;
        }
        tracing::debug!(room, %problem, "a notice about typing was refused");
        Ok(())
    }

    /// Gives a room up.
    pub(super) async fn end_room(&mut self, room: String, problem: Problem) -> Result<(), End> {
        if self.rooms.remove(&room).is_none() {
            return Ok(());
        }
        self.emit(Event::Ended { room, problem }).await
    }
}

/// Judges the answer to a handshake that is no socket.
fn refusal(answer: &tungstenite::http::Response<Option<Vec<u8>>>) -> End {
    let (status, headers) = (answer.status(), answer.headers());
    let body = answer.body().as_deref().unwrap_or_default();
    let error = Error::Refused {
        problem: problem(status, body),
        retry_after: retry_after(headers),
    };
    if error.is_temporary() || status.as_u16() == 401 {
        error.into()
    } else {
        // The server refuses no handshake of this client otherwise, so a proxy does.
        End::Blocked
    }
}

fn problem_of(status: u16, detail: String) -> Problem {
    let title = hyper::StatusCode::from_u16(status).ok();
    let title = title.and_then(|status| status.canonical_reason());
    Problem {
        title: title.unwrap_or("Error").to_owned(),
        status,
        detail,
    }
}
