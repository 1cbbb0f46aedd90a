//! One WebSocket: the rooms that a client follows, and what it says.
//!
//! A socket holds no messages. It holds a place in each room, takes what is ready when the client
//! has taken what came before, and writes it in one call. While the client takes nothing, nothing
//! is read for it; if that lasts, the socket is closed, and the client resumes by `seq`.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use chatcore::{
    Actor, ChangeSeq, Nonce, PresenceGuard, RoomName, Seq, Session, SharedMessage, Update,
    UserStore, UserUpdate, UserWatcher,
};
use futures_util::future::{self, AbortHandle, BoxFuture};
use futures_util::stream::{Abortable, BoxStream, FuturesOrdered, SelectAll};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_websockets::CloseCode;

use super::frames::{ClientFrame, Frame, ServerFrame, Subject, with_html};
use super::room_events::{EndReason, RoomEvent, news, next_of};
use super::wire::{Arrived, End, Flow, Wire};
use super::work::{Done, Subscribed, Work};
use crate::address::Network;
use crate::app::App;
use crate::config::Guests;
use crate::credentials::CurrentUser;
use crate::error::{HttpError, Result};
use crate::limits::Charged;
use crate::pages::rows::draw_row;
use crate::posting::{self, Post};
use crate::session_monitor::{Looked, SessionMonitor, next_look};
use crate::texts::Language;
use crate::throttle::{Rate, TokenBucket};

/// Rooms that one socket follows with a session.
const MAX_SUBSCRIPTIONS: usize = 100;
/// The same without one: whoever proves nothing gets less of the server's memory.
const MAX_ANONYMOUS_SUBSCRIPTIONS: usize = 20;
/// How long a client may be silent before it is asked whether it is there, and again before it is
/// taken for gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Time that the frames under way may take when a socket is closed.
const FINISH: Duration = Duration::from_secs(5);
/// Updates that are taken together before they are written.
const AT_ONCE: usize = 8;

/// Mentions of the user that are looked up at once. While there are so many, the others wait.
const MAX_MENTION_LOOKUPS: usize = 8;
/// Mentions that are remembered, so that one that is published twice is passed on once: by the
/// commit of this process, and by the change stream.
const MAX_KNOWN_MENTIONS: usize = 32;

/// Frames that are taken from one socket. A client that sends faster is not answered with errors:
/// it is read more slowly, until its own connection holds it back.
const FRAME_RATE: Rate = Rate {
    per_second: 100.0,
    burst: 400.0,
};

/// Work of a frame, once it has been let through.
type Begun = BoxFuture<'static, Result<Done>>;

struct Socket<C> {
    app: App,
    who: Option<CurrentUser>,
    /// Where the client comes from.
    from: Network,
    /// Language of the rows that the client asks for.
    language: Language,
    /// Whom limits are charged to.
    charged: Charged,
    wire: Wire<C>,
    /// What is new with the user, if it is known who that is, and whether the session goes on.
    user: Option<UserWatcher>,
    proof: Option<SessionMonitor>,
    rooms: SelectAll<Abortable<BoxStream<'static, RoomEvent>>>,
    subscriptions: HashMap<RoomName, Subscription>,
    work: Work,
    /// Frames about mentions of the user, or none where the user may not read the message.
    mentions: FuturesOrdered<BoxFuture<'static, Option<Vec<u8>>>>,
    /// Latest mentions that were looked up.
    known_mentions: VecDeque<(RoomName, Seq)>,
    frames: TokenBucket,
    heard: Instant,
    /// Whether the client was asked if it is there, since it was heard last.
    asked: bool,
}

/// A room that is followed. Ends when it is dropped.
struct Subscription {
    /// Tells if messages come with their rows.
    html: bool,
    stream: AbortHandle,
    _attending: Option<PresenceGuard>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

/// Serves a socket on a connection until it ends.
pub(super) async fn run<C>(
    app: App,
    who: Option<CurrentUser>,
    (from, language): (Network, Language),
    connection: C,
    stopping: watch::Receiver<()>,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send,
{
    app.metrics().socket_opened();
    let user = who
        .as_ref()
        .map(|who| app.store().watch_user(&who.session.username));
    let proof = who.as_ref().map(|who| SessionMonitor::new(&app, who));
    let mut socket = Socket {
        app,
        charged: Charged::new(who.as_ref().map(|who| &who.session), from),
        who,
        from,
        language,
        wire: Wire::new(connection),
        user,
        proof,
        rooms: SelectAll::new(),
        subscriptions: HashMap::new(),
        work: Work::default(),
        mentions: FuturesOrdered::new(),
        known_mentions: VecDeque::new(),
        frames: TokenBucket::new(FRAME_RATE, Instant::now()),
        heard: Instant::now(),
        asked: false,
    };
    if let Err(End::Close(code, reason)) = socket.serve(stopping).await {
        socket.finish().await;
        socket.wire.say_goodbye(code, reason).await;
    }
    socket.app.metrics().socket_closed();
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Socket<C> {
    async fn serve(&mut self, mut stopping: watch::Receiver<()>) -> Flow {
        let mut silence = Box::pin(sleep(SILENCE));
        loop {
            let paused = self.frames.empty_until(FRAME_RATE, Instant::now());
            let reads = paused.is_none() && self.work.has_room();
            tokio::select! {
                arrived = self.wire.next(), if reads => self.take(arrived).await?,
                Some(done) = self.work.next() => self.complete(done).await?,
                Some(news) = self.rooms.next() => self.pass_on(news).await?,
                update = next_of(&mut self.user), if self.mentions.len() < MAX_MENTION_LOOKUPS => {
                    self.pass_on_of_user(update).await?;
                }
                Some(mention) = self.mentions.next() => self.pass_on_mention(mention).await?,
                looked = next_look(&mut self.proof) => self.heed(looked).await?,
                () = sleep_until(paused.unwrap_or(self.heard)), if paused.is_some() => {}
                () = &mut silence => self.look_after(silence.as_mut()).await?,
                _ = stopping.changed() => return Err(End::Close(CloseCode::GOING_AWAY, "the server stops")),
            }
            self.advance().await?;
            self.wire.flush().await?;
        }
    }

    async fn take(&mut self, arrived: Arrived) -> Flow {
        let message = self.wire.message(arrived).await?;
        let now = Instant::now();
        self.heard = now;
        self.asked = false;
        self.frames.spend(FRAME_RATE, now);
        if message.is_text() {
            // Checked here, although the library checks too: it calls a text valid that ends inside
            // a character if the last frame is empty (0.13.3), and `as_text` gives it out as a
            // `str`, which is undefined behaviour.
            let Ok(text) = std::str::from_utf8(message.as_payload()) else {
                return Err(End::Close(
                    CloseCode::INVALID_FRAME_PAYLOAD_DATA,
                    "a text must be valid UTF-8",
                ));
            };
            self.work.push(Frame::parse(text));
        } else if message.is_binary() {
            let error = HttpError::bad_request("a frame must be text, a JSON object");
            self.work.push(Frame::wrong(error));
        }
        // Pings are answered by the protocol.
        Ok(())
    }

    /// Begins the frames whose turn it is, and answers those that wait for nothing: what comes next
    /// may end the socket.
    async fn advance(&mut self) -> Flow {
        loop {
            self.begin_frames().await?;
            match self.work.next().now_or_never().flatten() {
                Some(done) => self.complete(done).await?,
                None => return Ok(()),
            }
        }
    }

    /// Frames wait while the session may have ended, so that nothing is done for one that has; no
    /// frame asks the store for that itself.
    async fn begin_frames(&mut self) -> Flow {
        if !self.work.is_waiting() {
            return Ok(());
        }

        while let Some(looked) = next_look(&mut self.proof).now_or_never() {
            self.heed(looked).await?;
        }

        while self.proof.as_ref().is_none_or(SessionMonitor::is_current)
            && let Some(frame) = self.work.take()
        {
            self.begin(frame);
        }
        Ok(())
    }

    /// Acts on a look at the session. If the store did not answer, the frames that wait for it are
    /// answered with that.
    async fn heed(&mut self, looked: Looked) -> Flow {
        match looked {
            Looked::Valid => Ok(()),
            Looked::Ended => {
                self.refuse(&Subject::default(), &HttpError::no_session(true))
                    .await?;
                Err(End::Close(
                    CloseCode::POLICY_VIOLATION,
                    "the session has ended",
                ))
            }
            Looked::Failed(_) if self.proof.as_ref().is_none_or(SessionMonitor::is_current) => {
                Ok(())
            }
            Looked::Failed(error) => {
                for Frame { subject, said } in self.work.take_all() {
                    let error = said.err().unwrap_or_else(|| error.clone().into());
                    self.work
                        .begin(future::ready(refusal(&subject, &error)).boxed(), false);
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, Frame { subject, said }: Frame) {
        let alone = !matches!(said, Ok(ClientFrame::Post(_)));
        let begun = said.and_then(|said| match said {
            ClientFrame::Subscribe {
                room,
                after,
                changes_after,
                html,
            } => self.subscribe(room, (after, changes_after), html),
            ClientFrame::Unsubscribe { room } => {
                self.subscriptions.remove(&room);
                Ok(future::ready(Ok(Done::Answer(None))).boxed())
            }
            ClientFrame::Post(post) => self.post(*post),
            ClientFrame::Typing { room } => self.type_in(room),
            ClientFrame::Read { room, seq } => self.mark_read(room, seq),
        });

        let work = async move {
            let done = match begun {
                Ok(work) => work.await,
                Err(error) => Err(error),
            };
            done.unwrap_or_else(|error| refusal(&subject, &error))
        };
        self.work.begin(work.boxed(), alone);
    }

    /// Follows a room from these places on, in place of what was followed of it before.
    fn subscribe(
        &mut self,
        room: RoomName,
        (after, changes_after): (Option<Seq>, Option<ChangeSeq>),
        html: bool,
    ) -> Result<Begun> {
        let most = if self.who.is_some() {
            MAX_SUBSCRIPTIONS
        } else {
            MAX_ANONYMOUS_SUBSCRIPTIONS
        };
        if self.subscriptions.len() >= most && !self.subscriptions.contains_key(&room) {
            let detail = match self.who {
                Some(_) => format!("a socket may follow at most {most} rooms"),
                None => {
                    format!("a socket without a session may follow at most {most} rooms; log in")
                }
            };
            return Err(HttpError::too_many_requests(detail, 1));
        }
        // Each time the others are told that somebody is there.
        self.app.limits().post(&self.charged)?;

        let view = self.user_store();
        Ok(Box::pin(async move {
            let (last_seq, last_change) = view.ends(&room).await?;
            let (after, changes_after) = (
                after.unwrap_or(last_seq),
                changes_after.unwrap_or(last_change),
            );
            let (watcher, attending) = view.watch(&room, after, Some(changes_after)).await?;
            Ok(Done::Subscribed(Box::new(Subscribed {
                room,
                last_seq,
                last_change,
                html,
                watcher,
                attending,
            })))
        }))
    }

    fn session(&self) -> Option<&Session> {
        self.who.as_ref().map(|who| &who.session)
    }

    /// The store as the user of the socket may see it.
    fn user_store(&self) -> UserStore {
        let session = self.session();
        let actor = session.map_or(Actor::Anonymous, Session::actor);
        self.app.store().as_user(actor)
    }

    /// Fails unless it is known who the client is.
    fn check_user(&self) -> Result<()> {
        self.session()
            .map(drop)
            .ok_or_else(|| HttpError::no_session(false))
    }

    /// Tells the others in a room that the user types.
    fn type_in(&self, room: RoomName) -> Result<Begun> {
        self.check_user()?;
        if !self.subscriptions.contains_key(&room) {
            return Err(HttpError::conflict(
                "subscribe to the room before typing in it",
            ));
        }
        self.app.limits().post(&self.charged)?;

        let view = self.user_store();
        Ok(Box::pin(async move {
            view.type_in(&room).await?;
            Ok(Done::Answer(None))
        }))
    }

    /// Moves the user's mark. All of the user's sockets hear of it, this one included.
    fn mark_read(&self, room: RoomName, seq: Seq) -> Result<Begun> {
        self.check_user()?;
        self.app.limits().mark(&self.charged)?;

        let view = self.user_store();
        Ok(Box::pin(async move {
            view.mark_read(&room, seq).await?;
            Ok(Done::Answer(None))
        }))
    }

    /// Hands a message to the store. The store takes it before it takes the next one.
    fn post(&self, post: Post) -> Result<Begun> {
        // The route lets everyone in who may read.
        if self.app.settings().guests != Guests::Allow {
            self.check_user()?;
        }
        let message = post.into_message(self.session(), false)?;

        let (app, caller, from) = (self.app.clone(), self.charged.clone(), self.from);
        Ok(Box::pin(async move {
            let nonce = message.nonce.clone();
            let posted = posting::store(&app, message, &caller, from).await?;
            let said = ServerFrame::Posted {
                room: &posted.message.room,
                seq: posted.message.seq,
                nonce: nonce.as_ref().map(Nonce::as_str),
            };
            Ok(Done::Answer(Some(said.encode().into())))
        }))
    }

    /// Answers a frame that is done.
    async fn complete(&mut self, done: Done) -> Flow {
        match done {
            Done::Answer(answer) => match answer {
                Some(answer) => self.wire.say(answer).await,
                None => Ok(()),
            },
            Done::Subscribed(subscribed) => {
                let Subscribed {
                    room,
                    last_seq,
                    last_change,
                    html,
                    watcher,
                    attending,
                } = *subscribed;
                let (handle, registration) = AbortHandle::new_pair();
                self.rooms
                    .push(Abortable::new(news(watcher).boxed(), registration));
                let answer = ServerFrame::Subscribed {
                    room: &room,
                    last_seq,
                    last_change,
                }
                .encode();
                self.subscriptions.insert(
                    room,
                    Subscription {
                        html,
                        stream: handle,
                        _attending: attending,
                    },
                );
                self.wire.say(answer).await
            }
        }
    }

    async fn pass_on(&mut self, news: RoomEvent) -> Flow {
        self.say_news(news).await?;
        for _ in 1..AT_ONCE {
            match self.rooms.next().now_or_never() {
                Some(Some(news)) => self.say_news(news).await?,
                _ => break,
            }
        }
        Ok(())
    }

    async fn say_news(&mut self, RoomEvent { room, update, .. }: RoomEvent) -> Flow {
        let update = match update {
            Ok(update) => update,
            Err(EndReason::Closed) => {
                return Err(End::Close(CloseCode::GOING_AWAY, "the store is closed"));
            }
            Err(EndReason::TurnedAway(error)) => {
                self.subscriptions.remove(&room);
                return self.refuse(&Subject::room(&room), &error).await;
            }
        };
        match update {
            Update::Messages(messages) => {
                for message in messages {
                    let frame = message.tagged_json().clone();
                    self.say_message(&message, frame).await?;
                }
            }
            Update::Changed(messages) => {
                for message in messages {
                    let frame = message.tagged_json_as_changed().clone();
                    self.say_message(&message, frame).await?;
                }
            }
            Update::Resync => {
                self.wire
                    .say(ServerFrame::Resync { room: &room }.encode())
                    .await?
            }
            Update::Topic(topic) => {
                self.wire
                    .say(
                        ServerFrame::Room {
                            room: &room,
                            topic: &topic,
                        }
                        .encode(),
                    )
                    .await?;
            }
            Update::Presence(presence) => self.wire.say(presence.tagged_json().clone()).await?,
            Update::Typing(mut users) => {
                users.retain(|user| {
                    self.session()
                        .is_none_or(|session| session.username != *user)
                });
                for username in &users {
                    self.wire
                        .say(
                            ServerFrame::Typing {
                                room: &room,
                                username,
                            }
                            .encode(),
                        )
                        .await?;
                }
            }
            // There is no frame for anything else.
            _ => {}
        }
        Ok(())
    }

    /// Passes a message on, with its row if the client draws pages.
    async fn say_message(&mut self, message: &SharedMessage, frame: Bytes) -> Flow {
        let subscription = self.subscriptions.get(&message.room);
        if !subscription.is_some_and(|subscription| subscription.html) {
            return self.wire.say(frame).await;
        }

        match draw_row(&self.app, self.language, message).await {
            Ok(row) => self.wire.say(with_html(&frame, &row)).await,
            // The client has the rest, and may ask for the row.
            Err(_) => self.wire.say(frame).await,
        }
    }

    async fn pass_on_of_user(&mut self, update: chatcore::Result<UserUpdate>) -> Flow {
        let closed = |_| End::Close(CloseCode::GOING_AWAY, "the store is closed");
        match update.map_err(closed)? {
            UserUpdate::Read(room, seq) => {
                self.wire
                    .say(ServerFrame::Read { room: &room, seq }.encode())
                    .await
            }
            UserUpdate::Mentioned(room, seq) => {
                self.look_up_mention(room, seq);
                Ok(())
            }
            // The proof hears of it too, and sees whether it is this one.
            UserUpdate::SessionsEnded | UserUpdate::Missed => Ok(()),
        }
    }

    /// Looks up a message that mentions the user, who may not be allowed to know of it.
    fn look_up_mention(&mut self, room: RoomName, seq: Seq) {
        let mention = (room.clone(), seq);
        if self.known_mentions.contains(&mention) {
            return;
        }
        if self.known_mentions.len() == MAX_KNOWN_MENTIONS {
            self.known_mentions.pop_front();
        }
        self.known_mentions.push_back(mention);

        let view = self.user_store();
        self.mentions.push_back(Box::pin(async move {
            let message = view.mention(&room, seq).await.ok().flatten();
            message.map(|_| ServerFrame::Mention { room: &room, seq }.encode())
        }));
    }

    async fn pass_on_mention(&mut self, frame: Option<Vec<u8>>) -> Flow {
        match frame {
            Some(frame) => self.wire.say(frame).await,
            None => Ok(()),
        }
    }

    async fn refuse(&mut self, subject: &Subject, error: &HttpError) -> Flow {
        self.wire
            .say(ServerFrame::error(subject, error).encode())
            .await
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

    /// Answers the frames that are under way. Those that wait are as if they had not been read.
    async fn finish(&mut self) {
        let finish = async {
            while let Some(done) = self.work.next().await {
                self.complete(done).await?;
            }
            self.wire.flush().await
        };
        let _ = timeout(FINISH, finish).await;
    }
}

fn refusal(subject: &Subject, error: &HttpError) -> Done {
    Done::Answer(Some(ServerFrame::error(subject, error).encode().into()))
}

#[cfg(test)]
mod tests;
