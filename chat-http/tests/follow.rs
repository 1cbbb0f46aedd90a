//! Followers of every kind at once, cut off at random while several writers post, edit, react and
//! delete, and servers are killed: each is given every message once, in order, and ends with
//! exactly what the store holds.
//!
//! A short run by default; `CHAT_FOLLOW_POSTS=5000 cargo test --release -p chat-http --test follow`
//! makes it a long one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chat_client::wire::NewMessage;
use chat_client::{Event as ClientEvent, Options, Subscription};
use chat_testkit::announce;
use chat_testkit::http::Client;
use chat_testkit::live::{Event, Events, Socket, make_room};
use chat_testkit::mongod::{self, Kind, free_port};
use chat_testkit::server::{Server, Start};
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
const WRITERS: usize = 4;
const EACH_KIND: usize = 3;
/// Posts between two kills of a server.
const BETWEEN: usize = 150;

/// The ways to read.
#[derive(Debug, Clone, Copy)]
enum Way {
    Since,
    After,
    Wait,
    Events,
    Socket,
    /// `chat-client`.
    Client,
}
const WAYS: [Way; 6] = [
    Way::Since,
    Way::After,
    Way::Wait,
    Way::Events,
    Way::Socket,
    Way::Client,
];

fn posts() -> usize {
    std::env::var("CHAT_FOLLOW_POSTS")
        .map_or(600, |n| n.parse().expect("CHAT_FOLLOW_POSTS is a number"))
}

/// Numbers that look random and can be had again.
struct Random(u64);

impl Random {
    /// A number below `n`. Marsaglia's xorshift64.
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// State that all followers and writers of a run share.
struct Run {
    servers: Vec<SocketAddr>,
    posted: AtomicUsize,
    /// The numbers of the last message and of the last change, once all is posted and changed.
    last: OnceLock<(i64, i64)>,
    cuts: AtomicUsize,
    failed: AtomicBool,
}

impl Run {
    /// Ends the run, which has shown what should not be.
    fn fail(&self, what: &str) -> ! {
        self.failed.store(true, Ordering::SeqCst);
        panic!("{what}");
    }
}

/// One reader of the room, and the state of the room as far as it was read.
struct Follower {
    run: Arc<Run>,
    way: Way,
    random: Random,
    /// Messages by their number, each in the newest state that was read.
    state: BTreeMap<i64, Value>,
    /// `seq` of the last message that was taken, and number of the last change.
    position: (i64, i64),
}

fn seq_of(message: &Value) -> i64 {
    message["seq"].as_i64().expect("a seq")
}

/// Number of the last change to a message; 0 if there was none.
fn change_of(message: &Value) -> i64 {
    message["change"].as_i64().unwrap_or(0)
}

impl Follower {
    fn is_done(&self) -> bool {
        let is_behind = |last: &(i64, i64)| self.position.0 < last.0 || self.position.1 < last.1;
        self.run.last.get().is_some_and(|last| !is_behind(last))
            || self.run.failed.load(Ordering::SeqCst)
    }

    /// Takes a message, which must go on exactly where the follower stands.
    fn take(&mut self, message: Value) {
        let seq = seq_of(&message);
        if seq != self.position.0 + 1 {
            self.run.fail(&format!(
                "{:?} stands at {:?} and is given {seq}",
                self.way, self.position
            ));
        }
        self.position.0 = seq;
        self.keep(message);
    }

    /// Takes a changed message, which must be one that was given before, after the last change.
    fn take_changed(&mut self, message: Value) {
        let (seq, change) = (seq_of(&message), change_of(&message));
        if change <= self.position.1 || seq > self.position.0 {
            self.run.fail(&format!(
                "{:?} stands at {:?} and is given {message}",
                self.way, self.position
            ));
        }
        self.position.1 = change;
        self.keep(message);
    }

    /// Keeps a message unless a newer state of it is known. A server that has not heard of it yet
    /// may give an older one.
    fn keep(&mut self, message: Value) {
        let known = self.state.entry(seq_of(&message)).or_insert(Value::Null);
        if known.is_null() || change_of(known) <= change_of(&message) {
            *known = message;
        }
    }

    async fn follow(mut self) -> (Way, Vec<Value>) {
        while !self.is_done() {
            let servers = &self.run.servers;
            let server = servers[self.random.below(servers.len() as u64) as usize];
            // Cut off by the clock, in the middle of whatever it is.
            let patience = Duration::from_micros(500 + self.random.below(60_000));
            let quota = 1 + self.random.below(50) as usize;
            match self.way {
                Way::Since | Way::After | Way::Wait if self.random.below(2) == 0 => {
                    self.poll(server, patience, quota).await;
                }
                Way::Since | Way::After | Way::Wait => {
                    self.poll_changes(server, patience, quota).await
                }
                Way::Events => self.events(server, patience, quota).await,
                Way::Socket => self.socket(server, patience, quota).await,
                Way::Client => self.client(server, patience, quota).await,
            }
            self.run.cuts.fetch_add(1, Ordering::Relaxed);
        }
        (self.way, self.state.into_values().collect())
    }

    /// Asks once for messages, or for changes; `None` if there is no answer in time.
    async fn ask(&self, server: SocketAddr, path: &str, patience: Duration) -> Option<Vec<Value>> {
        let mut client = Client::new(server);
        match timeout(
            patience,
            client.request(Method::GET, path, None, Default::default()),
        )
        .await
        {
            Ok(Ok(reply)) if reply.status == 200 => {
                Some(reply.json().as_array().expect("an array").clone())
            }
            Ok(Ok(reply)) if reply.status != 503 => {
                self.run.fail(&format!("{path}: {}", reply.text()))
            }
            // A server that was killed is not asked again at once.
            Ok(_) => {
                sleep(Duration::from_millis(10)).await;
                None
            }
            Err(_) => None,
        }
    }

    async fn poll(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let query = match self.way {
            Way::Since => {
                let last = self.state.get(&self.position.0);
                let time = last.map_or("1970-01-01T00:00:00Z", |m| {
                    m["timestamp"].as_str().expect("a time")
                });
                format!("since={time}")
            }
            Way::Wait => format!("after={}&wait=1", self.position.0),
            _ => format!("after={}", self.position.0),
        };
        let path = format!("/chat/a/messages?{query}&limit={quota}");
        for message in self.ask(server, &path, patience).await.unwrap_or_default() {
            self.take(message);
        }
    }

    /// Polls the log of changes, which may have messages that were not read yet: they are kept, and
    /// come again by their number.
    async fn poll_changes(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let wait = if matches!(self.way, Way::Wait) {
            "&wait=1"
        } else {
            ""
        };
        let path = format!(
            "/chat/a/changes?after={}&limit={quota}{wait}",
            self.position.1
        );
        for message in self.ask(server, &path, patience).await.unwrap_or_default() {
            if change_of(&message) <= self.position.1 {
                self.run.fail(&format!(
                    "{:?} stands at {:?} and is given {message}",
                    self.way, self.position
                ));
            }
            self.position.1 = change_of(&message);
            self.keep(message);
        }
    }

    async fn events(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let (seq, change) = self.position;
        // The position is sent in the header, as a browser does it, or in the query.
        let (path, id) = match self.random.below(2) {
            0 => (
                "/chat/a/events?after=0".to_owned(),
                Some(format!("{seq}.{change}")),
            ),
            _ => (
                format!("/chat/a/events?after={seq}&changes_after={change}"),
                None,
            ),
        };
        let id = id.as_ref().map(|id| ("last-event-id", id.as_str()));
        let opened = Events::open_with(server, &path, id.as_slice()).await;
        let Ok(mut events) = opened else {
            return sleep(Duration::from_millis(10)).await;
        };
        let deadline = Instant::now() + patience;
        for _ in 0..quota {
            match timeout(deadline - Instant::now().min(deadline), events.event()).await {
                Ok(Some(event)) => self.take_event(event),
                _ => break,
            }
        }
    }

    fn take_event(&mut self, event: Event) {
        let reached = event.position();
        match event.kind.as_str() {
            "message" => self.take(event.data),
            "changed" => self.take_changed(event.data),
            kind => self.run.fail(&format!("{kind}: {}", event.data)),
        }
        // It may have reached a change of a message that was not given yet, and is as changed.
        if reached.0 != self.position.0 || reached.1 < self.position.1 {
            self.run.fail(&format!(
                "an event has the id {reached:?} at {:?}",
                self.position
            ));
        }
        self.position = reached;
    }

    async fn socket(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let opened = Socket::open(server, &[]).await;
        let Ok(mut socket) = opened else {
            return sleep(Duration::from_millis(10)).await;
        };
        let (after, changes_after) = self.position;
        let frame = json!({ "type": "subscribe", "room": "a", "after": after, "changes_after": changes_after });
        socket.say(&frame).await;
        let deadline = Instant::now() + patience;
        for _ in 0..quota {
            let next = timeout(deadline - Instant::now().min(deadline), socket.next()).await;
            let Ok(Some(mut frame)) = next else { break };
            let kind = frame
                .as_object_mut()
                .and_then(|fields| fields.remove("type"));
            match kind.as_ref().and_then(Value::as_str) {
                Some("message") => self.take(frame),
                Some("changed") => self.take_changed(frame),
                Some("resync") => self.run.fail("a socket is told to read everything again"),
                _ => {}
            }
        }
    }

    async fn client(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let Ok(client) = connect(server).await else {
            return sleep(Duration::from_millis(10)).await;
        };
        let (seq, change) = self.position;
        let position = chat_client::Position { seq, change };
        let mut events = client.follow([Subscription::resume("a", position)]);

        let deadline = Instant::now() + patience;
        for _ in 0..quota {
            let rest = deadline - Instant::now().min(deadline);
            let Ok(Some(event)) = timeout(rest, events.next()).await else {
                break;
            };
            let value = |message| serde_json::to_value(message).expect("JSON");
            match event {
                Ok(ClientEvent::Message(message)) => self.take(value(message)),
                Ok(ClientEvent::Changed(message)) => self.take_changed(value(message)),
                Ok(ClientEvent::Resync { .. } | ClientEvent::Ended { .. }) | Err(_) => {
                    self.run.fail(&format!("a client is told {event:?}"));
                }
                Ok(_) => {}
            }
        }
    }
}

/// A client of one server whose calls are made once.
async fn connect(server: SocketAddr) -> chat_client::Result<chat_client::Client> {
    let options = Options::new()
        .retry_for(Duration::ZERO)
        .timeout(Duration::from_secs(20));
    chat_client::Client::connect_with(&format!("http://{server}"), options).await
}

/// An account that posts, and changes what was posted.
struct Writer {
    run: Arc<Run>,
    name: String,
    /// Clients of all servers.
    clients: Vec<chat_client::Client>,
    random: Random,
}

impl Writer {
    /// Posts its share, and changes messages between two posts.
    async fn write(mut self, share: usize) {
        let mut own: Vec<i64> = Vec::new();
        for i in 0..share {
            let nonce = format!("{}-{i}", self.name);
            let message = NewMessage::new(&nonce).with_nonce(&nonce);
            let post = |client: chat_client::Client| {
                let message = message.clone();
                async move { client.post("a", message).await }
            };
            let posted = self.call(post).await;
            own.push(posted.expect("its nonce is its own").message.seq);
            self.run.posted.fetch_add(1, Ordering::SeqCst);

            let last = own[own.len() - 1];
            let mine = own[self.random.below(own.len() as u64) as usize];
            // Most of the time it is one of the latest.
            let any = (last - self.random.below(20) as i64).max(1);
            match self.random.below(8) {
                0 | 1 => self.edit(mine, &nonce).await,
                2 | 3 => self.edit(last, &nonce).await,
                4 | 5 => self.react(any).await,
                6 => self.delete(mine).await,
                _ => {}
            }
        }
    }

    async fn edit(&mut self, seq: i64, nonce: &str) {
        let text = &*format!("{nonce} edits {seq}");
        self.call(|client| async move { client.edit("a", seq, text).await })
            .await;
    }

    async fn delete(&mut self, seq: i64) {
        self.call(|client| async move { client.delete("a", seq).await })
            .await;
    }

    async fn react(&mut self, seq: i64) {
        let is_removed = self.random.below(3) == 0;
        self.call(|client| async move {
            match is_removed {
                true => client.remove_reaction("a", seq, "👍").await,
                false => client.add_reaction("a", seq, "👍").await,
            }
        })
        .await;
    }

    /// Makes a call until it is answered. Returns `None` if the message is deleted.
    async fn call<T, F>(&mut self, call: impl Fn(chat_client::Client) -> F) -> Option<T>
    where
        F: Future<Output = chat_client::Result<T>>,
    {
        loop {
            let at = self.random.below(self.clients.len() as u64) as usize;
            match call(self.clients[at].clone()).await {
                Ok(value) => return Some(value),
                Err(error) if error.status() == Some(409) => return None,
                Err(error) if error.is_temporary() => sleep(Duration::from_millis(10)).await,
                Err(error) => self.run.fail(&error.to_string()),
            }
        }
    }
}

/// Makes the writers, and the room that they write to.
async fn writers(run: &Arc<Run>) -> Vec<Writer> {
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let name = format!("writer{number}");
        let mut first = connect(run.servers[0]).await.expect("a client");
        first
            .register(&name, "correct horse")
            .await
            .expect("an account");
        let token = first.token().expect("a session").to_owned();
        let mut clients = vec![first];
        for server in &run.servers[1..] {
            let client = connect(*server).await.expect("a client");
            clients.push(client.with_token(&token).expect("a header"));
        }
        writers.push(Writer {
            run: run.clone(),
            name,
            clients,
            random: Random(number as u64 + 1),
        });
    }
    make_room(run.servers[0], "a").await;
    writers
}

/// Runs writers and followers against servers that are killed in turns.
async fn everybody(what: &str, starts: Vec<Start>) {
    let mut servers: Vec<Server> = starts
        .iter()
        .map(|start| start.run().expect("it starts"))
        .collect();
    let run = Arc::new(Run {
        servers: servers.iter().map(|server| server.address).collect(),
        posted: AtomicUsize::new(0),
        last: OnceLock::new(),
        cuts: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    });
    let at_work = writers(&run).await;
    let mut followers = JoinSet::new();
    for (number, way) in WAYS
        .into_iter()
        .cycle()
        .take(EACH_KIND * WAYS.len())
        .enumerate()
    {
        let random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
        let follower = Follower {
            run: run.clone(),
            way,
            random,
            state: BTreeMap::new(),
            position: (0, 0),
        };
        followers.spawn(follower.follow());
    }
    let posts = posts();
    let mut writers = JoinSet::new();
    for writer in at_work {
        writers.spawn(writer.write(posts / WRITERS));
    }
    let mut kills = 0;
    while !writers.is_empty() {
        while let Some(ended) = writers.try_join_next() {
            ended.expect("no panic");
        }
        if run.posted.load(Ordering::SeqCst) > BETWEEN * (kills + 1) {
            let victim = kills % servers.len();
            servers[victim].kill();
            servers[victim] = starts[victim].run().expect("it starts again");
            kills += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let mut reader = Client::new(run.servers[0]);
    let room = reader.get("/chat/a").await.json();
    let [last, last_change] =
        ["last_seq", "last_change"].map(|end| room[end].as_i64().expect("a number"));
    assert_eq!(
        last as usize,
        posts / WRITERS * WRITERS,
        "every post is stored once"
    );
    run.last.set((last, last_change)).expect("once");
    let mut history = Vec::new();
    while history.len() < last as usize {
        let page = reader
            .get(&format!(
                "/chat/a/messages?after={}&limit=200",
                history.len()
            ))
            .await
            .json();
        history.extend(page.as_array().expect("an array").iter().cloned());
    }
    let finish = async {
        while let Some(done) = followers.join_next().await {
            let (way, state) = done.expect("no panic");
            let differing = state
                .iter()
                .zip(&history)
                .find(|(seen, stored)| seen != stored);
            assert!(
                state.len() == history.len() && differing.is_none(),
                "{way:?} ends with {differing:?}"
            );
        }
    };
    timeout(Duration::from_secs(120), finish)
        .await
        .expect("every follower gets to the end");
    let cuts = run.cuts.load(Ordering::SeqCst);
    announce(&format!(
        "{what}: {} followers of {} ways, cut off {cuts} times, {kills} servers killed, \
         {last} messages and {last_change} changes each: none missed, no message twice",
        EACH_KIND * WAYS.len(),
        WAYS.len()
    ));
    assert!(cuts > 100, "{cuts}");
}

/// A server that comes back at the same address.
fn start(store: &str) -> Start {
    Start::new(SERVER, store).with("--listen", &format!("127.0.0.1:{}", free_port()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_misses_anything_at_one_server() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    everybody(
        "SQLite, one server",
        vec![start(
            folder.path().join("chat.db").to_str().expect("UTF-8"),
        )],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_misses_anything_at_two_servers() {
    let store = mongod::database(Kind::ReplicaSet);
    everybody(
        "replica set, two servers",
        vec![start(&store), start(&store)],
    )
    .await;
}
