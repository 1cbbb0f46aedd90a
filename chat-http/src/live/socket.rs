//! One WebSocket: the rooms that a client follows, and what it says.
//!
//! A socket holds no messages. It holds a place in each room, takes what is ready when the client
//! has taken what came before, and writes it in one call. While the client takes nothing, nothing
//! is read for it; if that lasts, the socket is closed, and the client resumes by `seq`.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use chatcore::{
    Attending, NewMessage, RoomName, Seq, Session, Update, UserUpdate, UserWatcher, Username, View,
};
use futures_util::future::{AbortHandle, BoxFuture};
use futures_util::stream::{Abortable, BoxStream, FuturesOrdered, SelectAll};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_websockets::CloseCode;

use super::frames::{self, Misunderstood, Said, Say};
use super::news::{News, Over, news, next_of};
use super::pace::Pace;
use super::proof::{Proof, ended};
use super::wire::{Arrived, End, Flow, Wire};
use crate::App;
use crate::error::{HttpError, Result};
use crate::handlers::messages;
use crate::request::Who;

/// Rooms that one socket follows.
const MAX_SUBSCRIPTIONS: usize = 100;
/// Posts under way. While there are so many, nothing more is read.
const MAX_POSTS: usize = 32;
/// How long a client may be silent before it is asked whether it is there, and again before it is
/// taken for gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the last posts may take when a socket is closed.
const FINISH: Duration = Duration::from_secs(5);
/// Updates that are taken together before they are written.
const AT_ONCE: usize = 8;

struct Socket<C> {
    app: App,
    who: Option<Who>,
    wire: Wire<C>,
    /// What is new with the user, if it is known who that is, and whether the session goes on.
    user: Option<UserWatcher>,
    proof: Option<Proof>,
    rooms: SelectAll<Abortable<BoxStream<'static, News>>>,
    subscriptions: HashMap<RoomName, Subscription>,
    /// Answers to posts, in the order of the posts.
    posts: FuturesOrdered<BoxFuture<'static, Bytes>>,
    pace: Pace,
    heard: Instant,
    /// Whether the client was asked if it is there, since it was heard last.
    asked: bool,
}

/// A room that is followed. Ends when it is dropped.
struct Subscription {
    stream: AbortHandle,
    _attending: Option<Attending>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

/// Serves a socket on a connection until it ends.
pub(super) async fn run<C>(app: App, who: Option<Who>, connection: C, stopping: watch::Receiver<()>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
{
    app.metrics().socket_opened();
    let user = who.as_ref().map(|who| app.store().watch_user(&who.session.username));
    let proof = who.as_ref().map(|who| Proof::new(&app, who));
    let mut socket = Socket {
        app,
        who,
        wire: Wire::new(connection),
        user,
        proof,
        rooms: SelectAll::new(),
        subscriptions: HashMap::new(),
        posts: FuturesOrdered::new(),
        pace: Pace::new(Instant::now()),
        heard: Instant::now(),
        asked: false,
    };
    if let Err(End::Close(code, reason)) = socket.serve(stopping).await {
        socket.finish_posts().await;
        socket.wire.say_goodbye(code, reason).await;
    }
    socket.app.metrics().socket_closed();
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Socket<C> {
    async fn serve(&mut self, mut stopping: watch::Receiver<()>) -> Flow {
        let mut silence = Box::pin(sleep(SILENCE));
        loop {
            let paused = self.pace.paused_until(Instant::now());
            let reads = paused.is_none() && self.posts.len() < MAX_POSTS;
            tokio::select! {
                arrived = self.wire.next(), if reads => self.take(arrived).await?,
                Some(answer) = self.posts.next() => self.wire.say(answer).await?,
                Some(news) = self.rooms.next() => self.pass_on(news).await?,
                update = next_of(&mut self.user) => self.pass_on_of_user(update).await?,
                () = ended(&mut self.proof) => self.end_session().await?,
                () = sleep_until(paused.unwrap_or(self.heard)), if paused.is_some() => {}
                () = &mut silence => self.look_after(silence.as_mut()).await?,
                _ = stopping.changed() => return Err(End::Close(CloseCode::GOING_AWAY, "the server stops")),
            }
            self.wire.flush().await?;
        }
    }

    async fn take(&mut self, arrived: Arrived) -> Flow {
        let message = self.wire.message(arrived).await?;
        let now = Instant::now();
        self.heard = now;
        self.asked = false;
        self.pace.count(now);
        if message.is_text() {
            // Checked here, although the library checks too: it calls a text valid that ends inside a
            // character if the last frame is empty (0.13.3), and `as_text` gives it out as a `str`,
            // which is undefined behaviour.
            let Ok(text) = std::str::from_utf8(message.as_payload()) else {
                return Err(End::Close(CloseCode::INVALID_FRAME_PAYLOAD_DATA, "a text must be valid UTF-8"));
            };
            return match frames::parse(text) {
                Ok(said) => self.hear(said).await,
                Err(misunderstood) => {
                    let Misunderstood { error, nonce } = *misunderstood;
                    self.refuse(&error, nonce.as_deref()).await
                }
            };
        }
        if message.is_binary() {
            let error = HttpError::bad_request("a frame must be text, a JSON object");
            return self.refuse(&error, None).await;
        }
        // Pings are answered by the protocol.
        Ok(())
    }

    async fn hear(&mut self, said: Said) -> Flow {
        let done = match said {
            Said::Subscribe { room, after } => {
                self.check_session().await?;
                self.subscribe(room, after).await
            }
            Said::Unsubscribe { room } => {
                self.subscriptions.remove(&room);
                Ok(None)
            }
            Said::Post { room, sender, text, nonce } => {
                self.check_session().await?;
                match messages::sender(&self.app, self.session(), false, sender) {
                    Ok((sender, verified)) => {
                        self.post(NewMessage { room, sender, text, nonce, verified });
                        Ok(None)
                    }
                    Err(error) => {
                        return self.refuse(&error, nonce.as_ref().map(chatcore::Nonce::as_str)).await;
                    }
                }
            }
            Said::Typing { room } => {
                self.check_session().await?;
                self.type_in(&room).await
            }
            Said::Read { room, seq } => {
                self.check_session().await?;
                self.mark_read(&room, seq).await
            }
        };
        match done {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => self.wire.say(answer).await,
            Err(error) => self.refuse(&error, None).await,
        }
    }

    /// Follows a room from `after` on, in place of what was followed of it before.
    async fn subscribe(&mut self, room: RoomName, after: Option<Seq>) -> Result<Option<Bytes>> {
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS && !self.subscriptions.contains_key(&room) {
            let detail = format!("a socket may follow at most {MAX_SUBSCRIPTIONS} rooms");
            return Err(HttpError::too_many_requests(detail, 1));
        }
        if let Some(session) = self.session() {
            // Each time the others are told that somebody is there.
            self.app.limits().post(&session.username)?;
        }
        let view = self.view();
        let last_seq = view.last_seq(&room).await?;
        let (watcher, attending) = view.watch(&room, after.unwrap_or(last_seq)).await?;
        let (handle, registration) = AbortHandle::new_pair();
        self.rooms.push(Abortable::new(news(watcher).boxed(), registration));
        let answer = Say::Subscribed { room: &room, last_seq }.encode();
        self.subscriptions.insert(room, Subscription { stream: handle, _attending: attending });
        Ok(Some(answer.into()))
    }

    fn session(&self) -> Option<&Session> {
        self.who.as_ref().map(|who| &who.session)
    }

    /// The store as the user of the socket may see it.
    fn view(&self) -> View {
        self.app.store().view(self.session().map(|session| (&session.username, session.verified)))
    }

    fn user(&self) -> Result<&Username> {
        self.session().map(|session| &session.username).ok_or_else(|| HttpError::no_session(false))
    }

    /// A session that has ended since the socket was opened ends the socket. One that cannot be
    /// looked up does not, because nothing can be changed then either.
    async fn check_session(&mut self) -> Flow {
        let Some(who) = &self.who else { return Ok(()) };
        match self.app.store().session(&who.token).await {
            Ok(None) => self.end_session().await,
            Ok(Some(_)) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "a session could not be looked up");
                Ok(())
            }
        }
    }

    async fn end_session(&mut self) -> Flow {
        self.refuse(&HttpError::no_session(true), None).await?;
        Err(End::Close(CloseCode::POLICY_VIOLATION, "the session has ended"))
    }

    /// Tells the others in a room that the user types.
    async fn type_in(&mut self, room: &RoomName) -> Result<Option<Bytes>> {
        let user = self.user()?;
        if !self.subscriptions.contains_key(room) {
            return Err(HttpError::conflict("subscribe to the room before typing in it"));
        }
        self.app.limits().post(user)?;
        self.view().type_in(room).await?;
        Ok(None)
    }

    /// Moves the user's mark. All of the user's sockets hear of it, this one included.
    async fn mark_read(&mut self, room: &RoomName, seq: Seq) -> Result<Option<Bytes>> {
        self.app.limits().post(self.user()?)?;
        self.view().mark_read(room, seq).await?;
        Ok(None)
    }

    /// Hands a message to the store. The store takes it before it takes the next one.
    fn post(&mut self, message: NewMessage) {
        let app = self.app.clone();
        self.posts.push_back(Box::pin(async move {
            let (room, nonce) = (message.room.clone(), message.nonce.clone());
            let nonce = nonce.as_ref().map(chatcore::Nonce::as_str);
            let said = match messages::store(&app, message).await {
                Ok(posted) => Say::Posted { room: &room, seq: posted.message.seq, nonce }.encode(),
                Err(error) => Say::error(None, &error, nonce).encode(),
            };
            said.into()
        }));
    }

    async fn pass_on(&mut self, news: News) -> Flow {
        self.say_news(news).await?;
        for _ in 1..AT_ONCE {
            match self.rooms.next().now_or_never() {
                Some(Some(news)) => self.say_news(news).await?,
                _ => break,
            }
        }
        Ok(())
    }

    async fn say_news(&mut self, (room, update): News) -> Flow {
        let update = match update {
            Ok(update) => update,
            Err(Over::Closed) => return Err(End::Close(CloseCode::GOING_AWAY, "the store is closed")),
            Err(Over::TurnedAway(error)) => {
                self.subscriptions.remove(&room);
                return self.refuse_in(Some(&room), &error, None).await;
            }
        };
        match update {
            Update::Messages(messages) => {
                for message in messages {
                    self.wire.say(message.tagged_json().clone()).await?;
                }
            }
            Update::Deleted(places) if places.is_empty() => {
                self.wire.say(Say::Deleted { room: &room, seq: None }.encode()).await?;
            }
            Update::Deleted(places) => {
                for seq in places {
                    self.wire.say(Say::Deleted { room: &room, seq: Some(seq) }.encode()).await?;
                }
            }
            Update::Presence(presence) => self.wire.say(presence.tagged_json().clone()).await?,
            Update::Typing(mut users) => {
                users.retain(|user| self.session().is_none_or(|session| session.username != *user));
                for username in &users {
                    self.wire.say(Say::Typing { room: &room, username }.encode()).await?;
                }
            }
        }
        Ok(())
    }

    async fn pass_on_of_user(&mut self, update: chatcore::Result<UserUpdate>) -> Flow {
        let closed = |_| End::Close(CloseCode::GOING_AWAY, "the store is closed");
        match update.map_err(closed)? {
            UserUpdate::Read(room, seq) => self.wire.say(Say::Read { room: &room, seq }.encode()).await,
            // The proof hears of it too, and sees whether it is this one.
            UserUpdate::SessionsEnded => Ok(()),
        }
    }

    async fn refuse(&mut self, error: &HttpError, nonce: Option<&str>) -> Flow {
        self.refuse_in(None, error, nonce).await
    }

    async fn refuse_in(&mut self, room: Option<&RoomName>, error: &HttpError, nonce: Option<&str>) -> Flow {
        self.wire.say(Say::error(room, error, nonce).encode()).await
    }

    /// Now and then: whether the client is still there.
    async fn look_after(&mut self, mut timer: Pin<&mut Sleep>) -> Flow {
        let now = Instant::now();
        if now < self.heard + SILENCE {
            timer.as_mut().reset(self.heard + SILENCE);
            return Ok(());
        }
        if self.asked {
            return Err(End::Close(CloseCode::GOING_AWAY, "the client is silent"));
        }
        self.asked = true;
        timer.reset(now + SILENCE);
        self.wire.ping().await
    }

    /// Answers the posts that are under way.
    async fn finish_posts(&mut self) {
        let finish = async {
            while let Some(answer) = self.posts.next().await {
                self.wire.say(answer).await?;
            }
            self.wire.flush().await
        };
        let _ = timeout(FINISH, finish).await;
    }
}

#[cfg(test)]
mod tests;
