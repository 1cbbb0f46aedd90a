//! Requests of a socket: begun in their order, and answered in it.

use chat_client::wire::ServerFrame;
use chatcore::{Error, Position, RoomName, Seq};
use futures_util::future::{self, AbortHandle, BoxFuture};
use futures_util::stream::Abortable;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Socket, Subscription};
use crate::config::Guests;
use crate::error::{HttpError, Result};
use crate::live::frames::{Command, Request, Subscribe, encode, refusal};
use crate::live::request_queue::{Order, Outcome, Subscribed};
use crate::live::room_events::room_events;
use crate::live::transport;
use crate::posting::{self, Post};
use crate::session_monitor::next_state;

/// Rooms that one socket follows with a session.
const MAX_SUBSCRIPTIONS: usize = 100;
/// The same without one: a client that proves nothing gets less of the server's memory.
const MAX_ANONYMOUS_SUBSCRIPTIONS: usize = 20;

/// Work of a request that was let through.
type Work = BoxFuture<'static, Result<Outcome>>;

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Socket<C> {
    /// Begins the requests whose turn it is, and answers those that wait for nothing: what comes
    /// next may end the socket.
    pub(super) async fn advance(&mut self) -> transport::Result {
        loop {
            self.begin_waiting().await?;
            match self.requests.next().now_or_never().flatten() {
                Some(outcome) => self.complete(outcome).await?,
                None => return Ok(()),
            }
        }
    }

    /// Begins requests, unless the session may have ended: they wait for its lookup, so that
    /// nothing is done for a session that has ended, and no request asks the store for that itself.
    async fn begin_waiting(&mut self) -> transport::Result {
        if !self.requests.has_waiting() {
            return Ok(());
        }

        while let Some(state) = next_state(&mut self.monitor).now_or_never() {
            self.check_session(state).await?;
        }

        while self.is_session_current()
            && let Some(request) = self.requests.take()
        {
            self.begin(request);
        }
        Ok(())
    }

    fn begin(&mut self, Request { subject, command }: Request) {
        let order = match command {
            Ok(Command::Post(_)) => Order::Post,
            _ => Order::Alone,
        };
        let begun = command.and_then(|command| match command {
            Command::Subscribe(subscribe) => self.subscribe(subscribe),
            Command::Unsubscribe { room } => {
                self.subscriptions.remove(&room);
                Ok(future::ready(Ok(Outcome::Done)).boxed())
            }
            Command::Post(post) => self.post(*post),
            Command::Typing { room } => self.publish_typing(room),
            Command::Read { room, seq } => self.mark_read(room, seq),
            Command::Ping => {
                Ok(future::ready(Ok(Outcome::Answer(encode(&ServerFrame::Pong)))).boxed())
            }
        });

        let work = async move {
            let outcome = match begun {
                Ok(work) => work.await,
                Err(error) => Err(error),
            };
            outcome.unwrap_or_else(|error| Outcome::Answer(refusal(&subject, &error)))
        };
        self.requests.begin(work.boxed(), order);
    }

    /// Refuses the requests that wait, because the store did not answer.
    pub(super) fn refuse_waiting(&mut self, error: &Error) {
        for Request { subject, command } in self.requests.take_all() {
            let error = command.err().unwrap_or_else(|| error.clone().into());
            let answer = Outcome::Answer(refusal(&subject, &error));
            self.requests
                .begin(future::ready(answer).boxed(), Order::Post);
        }
    }

    /// Follows a room from a position on, in place of what was followed of it before.
    fn subscribe(&mut self, subscribe: Subscribe) -> Result<Work> {
        let Subscribe {
            room,
            after,
            changes_after,
            drawn,
        } = subscribe;
        self.check_subscriptions(&room)?;
        self.app.limits().subscription(&self.charged)?;

        let store = self.user_store();
        Ok(Box::pin(async move {
            let last = store.last_position(&room).await?;
            let after = Position {
                seq: after.unwrap_or(last.seq),
                change: changes_after.unwrap_or(last.change),
            };
            let watch = store.watch(&room, after).await?;

            Ok(Outcome::Subscribed(Box::new(Subscribed {
                room,
                last,
                drawn,
                watch,
            })))
        }))
    }

    /// Fails if the socket follows as many rooms as it may, and not this one.
    fn check_subscriptions(&self, room: &RoomName) -> Result<()> {
        let (max, log_in) = match self.user {
            Some(_) => (MAX_SUBSCRIPTIONS, ""),
            None => (MAX_ANONYMOUS_SUBSCRIPTIONS, "; log in"),
        };
        if self.subscriptions.len() < max || self.subscriptions.contains_key(room) {
            return Ok(());
        }

        let kind = match self.user {
            Some(_) => "a socket",
            None => "a socket without a session",
        };
        let detail = format!("{kind} may follow at most {max} rooms{log_in}");
        Err(HttpError::too_many_requests(detail, 1))
    }

    /// Fails unless the socket has a session.
    fn check_session_exists(&self) -> Result<()> {
        match self.user {
            Some(_) => Ok(()),
            None => Err(HttpError::no_session(false)),
        }
    }

    /// Tells the others in a room that the user types.
    fn publish_typing(&self, room: RoomName) -> Result<Work> {
        self.check_session_exists()?;
        if !self.subscriptions.contains_key(&room) {
            return Err(HttpError::conflict(
                "subscribe to the room before typing in it",
            ));
        }
        self.app.limits().post(&self.charged)?;

        let store = self.user_store();
        Ok(Box::pin(async move {
            store.type_in(&room).await?;
            Ok(Outcome::Done)
        }))
    }

    /// Moves the user's mark. All sockets of the user are told, this one included.
    fn mark_read(&self, room: RoomName, seq: Seq) -> Result<Work> {
        self.check_session_exists()?;
        self.app.limits().mark_read(&self.charged)?;

        let store = self.user_store();
        Ok(Box::pin(async move {
            store.mark_read(&room, seq).await?;
            Ok(Outcome::Done)
        }))
    }

    /// Hands a message to the store, which takes it before it takes the next one.
    fn post(&self, post: Post) -> Result<Work> {
        // `/ws` is open to everyone who may read.
        if self.app.settings().guests != Guests::Allow {
            self.check_session_exists()?;
        }
        let message = post.into_message(self.user.as_ref(), false)?;

        let (app, charged, from) = (self.app.clone(), self.charged.clone(), self.peer.network);
        Ok(Box::pin(async move {
            let nonce = message.nonce.clone();
            let posted = posting::store(&app, message, &charged, from).await?;

            Ok(Outcome::Answer(encode(&ServerFrame::Posted {
                room: posted.message.room.to_string(),
                seq: posted.message.seq.get(),
                nonce: nonce.map(|nonce| nonce.to_string()),
            })))
        }))
    }

    /// Answers a request that is done.
    pub(super) async fn complete(&mut self, outcome: Outcome) -> transport::Result {
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Answer(answer) => self.transport.send(answer).await,
            Outcome::Subscribed(subscribed) => self.begin_subscription(*subscribed).await,
        }
    }

    async fn begin_subscription(&mut self, subscribed: Subscribed) -> transport::Result {
        let (handle, registration) = AbortHandle::new_pair();
        let events = room_events(subscribed.watch.watcher).boxed();
        self.room_events.push(Abortable::new(events, registration));

        let answer = ServerFrame::Subscribed {
            room: subscribed.room.to_string(),
            last_seq: subscribed.last.seq.get(),
            last_change: subscribed.last.change.get(),
        };
        let subscription = Subscription {
            drawn: subscribed.drawn,
            events: handle,
            _presence: subscribed.watch.presence,
        };
        self.subscriptions.insert(subscribed.room, subscription);
        self.transport.send(encode(&answer)).await
    }
}
