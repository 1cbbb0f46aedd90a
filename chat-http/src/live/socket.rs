//! One WebSocket: the rooms that a client follows, and its requests.
//!
//! A socket holds no messages. It holds a position in each room, takes what is ready when the
//! client has taken what came before, and writes it in one call. While the client takes nothing,
//! nothing is read for it; if that lasts, the socket is closed, and the client resumes by `seq`.

mod delivery;
mod requests;
mod user_events;

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use chat_client::wire::ServerFrame;
use chatcore::{Actor, PresenceGuard, RoomName, UserStore};
use futures_util::StreamExt as _;
use futures_util::future::AbortHandle;
use futures_util::stream::{Abortable, BoxStream, SelectAll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_websockets::{CloseCode, Message};

use self::user_events::UserEvents;
use super::frames::{Command, Drawn, Request, Subject, encode, refusal};
use super::request_queue::RequestQueue;
use super::room_events::RoomEvent;
use super::transport::{Arrived, End, Result, Transport};
use crate::address::Network;
use crate::app::App;
use crate::credentials::CurrentUser;
use crate::error::HttpError;
use crate::limits::Charged;
use crate::session_monitor::{SessionMonitor, SessionState, next_state};
use crate::texts::Language;
use crate::throttle::{Rate, TokenBucket};

/// Silence of a client after which it is pinged, and after the ping, taken for gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Time that the requests under way may take when a socket is closed.
const FINISH: Duration = Duration::from_secs(5);
/// Frames that are taken from one socket. A client that sends faster is not answered with errors:
/// it is read more slowly, until its own connection holds it back.
const FRAME_RATE: Rate = Rate {
    per_second: 100.0,
    burst: 400.0,
};

struct Socket<C> {
    app: App,
    user: Option<CurrentUser>,
    peer: Peer,
    /// Account, session or network that limits are charged to.
    charged: Charged,
    transport: Transport<C>,
    /// Ends the socket with the session of the user.
    monitor: Option<SessionMonitor>,
    user_events: UserEvents,
    room_events: SelectAll<Abortable<BoxStream<'static, RoomEvent>>>,
    subscriptions: HashMap<RoomName, Subscription>,
    requests: RequestQueue,
    frame_bucket: TokenBucket,
    /// Time at which the client was last heard.
    last_heard: Instant,
    /// Set if the client was pinged since it was last heard.
    is_pinged: bool,
}

/// Client of a socket, as its connection shows it.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    pub(super) network: Network,
    /// Language of the rows that the client asks for.
    pub(super) language: Language,
}

/// A room that is followed, until this is dropped.
struct Subscription {
    drawn: Drawn,
    events: AbortHandle,
    /// Keeps the user present in the room.
    _presence: Option<PresenceGuard>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.abort();
    }
}

/// Serves a socket on a connection until it ends.
pub(super) async fn run<C>(app: App, user: Option<CurrentUser>, peer: Peer, connection: C)
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
{
    Socket::new(app, user, peer, Transport::new(connection))
        .run()
        .await;
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Socket<C> {
    fn new(app: App, user: Option<CurrentUser>, peer: Peer, transport: Transport<C>) -> Self {
        let now = Instant::now();
        Self {
            charged: Charged::new(user.as_ref().map(CurrentUser::proved), peer.network),
            user_events: UserEvents::new(
                user.as_ref()
                    .map(|user| app.store().watch_user(&user.username)),
            ),
            monitor: user.as_ref().map(|user| SessionMonitor::new(&app, user)),
            app,
            user,
            peer,
            transport,
            room_events: SelectAll::new(),
            subscriptions: HashMap::new(),
            requests: RequestQueue::default(),
            frame_bucket: TokenBucket::new(FRAME_RATE, now),
            last_heard: now,
            is_pinged: false,
        }
    }

    async fn run(mut self) {
        self.app.metrics().socket_opened();

        if let Err(End::Close(code, reason)) = self.serve().await {
            self.finish().await;
            self.transport.close(code, reason).await;
        }

        self.app.metrics().socket_closed();
    }

    async fn serve(&mut self) -> Result {
        let mut stopping = Box::pin(self.app.stopping().clone().cancelled_owned());
        let mut heartbeat = Box::pin(sleep(SILENCE));
        loop {
            let paused_until = self.frame_bucket.empty_until(FRAME_RATE, Instant::now());
            let is_reading = paused_until.is_none() && self.requests.has_room();
            tokio::select! {
                arrived = self.transport.next(), if is_reading => self.receive(arrived).await?,
                Some(outcome) = self.requests.next() => self.complete(outcome).await?,
                Some(event) = self.room_events.next() => self.deliver(event).await?,
                event = self.user_events.next() => self.deliver_user_event(event).await?,
                state = next_state(&mut self.monitor) => self.check_session(state).await?,
                () = sleep_until(paused_until.unwrap_or(self.last_heard)), if paused_until.is_some() => {}
                () = &mut heartbeat => self.check_heartbeat(heartbeat.as_mut()).await?,
                () = &mut stopping => return Err(End::Close(CloseCode::GOING_AWAY, "the server stops")),
            }

            self.advance().await?;
            self.transport.flush().await?;
        }
    }

    /// Queues the request of a frame.
    async fn receive(&mut self, arrived: Arrived) -> Result {
        let message = self.transport.message(arrived).await?;
        let now = Instant::now();
        self.last_heard = now;
        self.is_pinged = false;
        self.frame_bucket.spend(FRAME_RATE, now);

        if message.is_text() {
            let request = Request::parse(text(&message)?);
            if matches!(request.command, Ok(Command::Ping)) {
                // It waits for no other request: while the store is away, the server is still
                // there.
                self.transport.send(encode(&ServerFrame::Pong)).await?;
            } else {
                self.requests.push(request);
            }
        } else if message.is_binary() {
            let error = HttpError::bad_request("a frame must be text, a JSON object");
            self.requests.push(Request::wrong(error));
        }
        // Pings are answered by the protocol.
        Ok(())
    }

    /// Acts on the state of the session. If the store did not answer, the requests that wait for it
    /// are answered with that.
    async fn check_session(&mut self, state: SessionState) -> Result {
        match state {
            SessionState::Valid => Ok(()),
            SessionState::Ended => {
                let error = HttpError::no_session(true);
                self.refuse(&Subject::default(), &error).await?;
                let reason = "the session has ended";
                Err(End::Close(CloseCode::POLICY_VIOLATION, reason))
            }
            SessionState::Unknown => {
                let reason = "come back, so that the program can say who you are";
                Err(End::Close(CloseCode::SERVICE_RESTART, reason))
            }
            SessionState::Failed(_) if self.is_session_current() => Ok(()),
            SessionState::Failed(error) => {
                self.refuse_waiting(&error);
                Ok(())
            }
        }
    }

    /// Returns false while the session may have ended.
    fn is_session_current(&self) -> bool {
        self.monitor.as_ref().is_none_or(SessionMonitor::is_current)
    }

    /// Pings a client that is silent, and closes the socket if it stays so.
    async fn check_heartbeat(&mut self, mut timer: Pin<&mut Sleep>) -> Result {
        let now = Instant::now();
        let silent_from = self.last_heard + SILENCE;
        if now < silent_from {
            timer.as_mut().reset(silent_from);
            return Ok(());
        }
        if self.is_pinged {
            return Err(End::Close(CloseCode::GOING_AWAY, "the client is silent"));
        }

        self.is_pinged = true;
        timer.reset(now + SILENCE);
        self.transport.ping().await
    }

    async fn refuse(&mut self, subject: &Subject, error: &HttpError) -> Result {
        self.transport.send(refusal(subject, error)).await
    }

    /// Answers the requests that are under way. Those that wait count as not read.
    async fn finish(&mut self) {
        let finish = async {
            while let Some(outcome) = self.requests.next().await {
                self.complete(outcome).await?;
            }
            self.transport.flush().await
        };
        let _ = timeout(FINISH, finish).await;
    }

    /// Returns the store as the user of the socket may see it.
    fn user_store(&self) -> UserStore {
        let user = self.user.as_ref();
        let actor = user.map_or(Actor::Anonymous, CurrentUser::actor);
        self.app.store().as_user(actor)
    }
}

/// Returns the text of a frame.
///
/// It is checked here, although the library checks too: the library calls a text valid that ends
/// inside a character if the last frame is empty (0.13.3), and `as_text` gives it out as a `str`,
/// which is undefined behaviour.
fn text(message: &Message) -> Result<&str> {
    std::str::from_utf8(message.as_payload()).map_err(|_| {
        End::Close(
            CloseCode::INVALID_FRAME_PAYLOAD_DATA,
            "a text must be valid UTF-8",
        )
    })
}

#[cfg(test)]
mod tests;
