//! Followers of every kind at once, cut off at random while several writers post and servers are
//! killed: each ends with the full sequence, once, in order.
//!
//! A short run by default; `CHAT_FOLLOW_POSTS=5000 cargo test --release -p chat-http --test follow`
//! makes it a long one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_testkit::announce;
use chat_testkit::http::Client;
use chat_testkit::live::{Events, Socket};
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
}
const WAYS: [Way; 5] = [Way::Since, Way::After, Way::Wait, Way::Events, Way::Socket];

fn posts() -> usize {
    std::env::var("CHAT_FOLLOW_POSTS").map_or(600, |n| n.parse().expect("CHAT_FOLLOW_POSTS is a number"))
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

/// What all followers and writers of a run share.
struct Run {
    servers: Vec<SocketAddr>,
    posted: AtomicUsize,
    /// The place of the last message, once all are posted.
    last: AtomicI64,
    cuts: AtomicUsize,
    failed: AtomicBool,
}

struct Follower {
    run: Arc<Run>,
    way: Way,
    random: Random,
    seen: Vec<Value>,
}

impl Follower {
    fn position(&self) -> i64 {
        self.seen.last().map_or(0, |message| message["seq"].as_i64().expect("a seq"))
    }

    fn is_done(&self) -> bool {
        let last = self.run.last.load(Ordering::SeqCst);
        last >= 0 && self.position() >= last || self.run.failed.load(Ordering::SeqCst)
    }

    /// Takes what a server gave, which must go on exactly where the follower stands.
    fn take(&mut self, message: Value) {
        let seq = message["seq"].as_i64().expect("a seq");
        if seq != self.position() + 1 {
            self.run.failed.store(true, Ordering::SeqCst);
            panic!("{:?} stands at {} and is given {seq}", self.way, self.position());
        }
        self.seen.push(message);
    }

    async fn follow(mut self) -> (Way, Vec<Value>) {
        while !self.is_done() {
            let servers = &self.run.servers;
            let server = servers[self.random.below(servers.len() as u64) as usize];
            // Cut off by the clock, in the middle of whatever it is.
            let patience = Duration::from_micros(500 + self.random.below(60_000));
            let quota = 1 + self.random.below(50) as usize;
            match self.way {
                Way::Since | Way::After | Way::Wait => self.poll(server, patience, quota).await,
                Way::Events => self.events(server, patience, quota).await,
                Way::Socket => self.socket(server, patience, quota).await,
            }
            self.run.cuts.fetch_add(1, Ordering::Relaxed);
        }
        (self.way, self.seen)
    }

    async fn poll(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let query = match self.way {
            Way::Since => {
                let time = self
                    .seen
                    .last()
                    .map_or("1970-01-01T00:00:00Z", |m| m["timestamp"].as_str().expect("a time"));
                format!("since={time}")
            }
            Way::Wait => format!("after={}&wait=1", self.position()),
            _ => format!("after={}", self.position()),
        };
        let mut client = Client::new(server);
        let path = format!("/chat/a/messages?{query}&limit={quota}");
        let asked = timeout(patience, client.request(Method::GET, &path, None, Default::default())).await;
        match asked {
            Ok(Ok(reply)) if reply.status == 200 => {
                reply.json().as_array().expect("an array").iter().for_each(|m| self.take(m.clone()));
            }
            // A server that was killed is not asked again at once.
            Ok(_) => sleep(Duration::from_millis(10)).await,
            Err(_) => {}
        }
    }

    async fn events(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let opened = Events::open(server, "/chat/a/events?after=0", Some(self.position())).await;
        let Ok(mut events) = opened else { return sleep(Duration::from_millis(10)).await };
        let deadline = Instant::now() + patience;
        for _ in 0..quota {
            match timeout(deadline - Instant::now().min(deadline), events.next()).await {
                Ok(Some((id, message))) => {
                    assert_eq!(message["seq"], id);
                    self.take(message);
                }
                _ => break,
            }
        }
    }

    async fn socket(&mut self, server: SocketAddr, patience: Duration, quota: usize) {
        let opened = Socket::open(server, &[]).await;
        let Ok(mut socket) = opened else { return sleep(Duration::from_millis(10)).await };
        socket.say(&json!({ "type": "subscribe", "room": "a", "after": self.position() })).await;
        let deadline = Instant::now() + patience;
        for _ in 0..quota {
            match timeout(deadline - Instant::now().min(deadline), socket.next()).await {
                Ok(Some(mut frame)) if frame["type"] == "message" => {
                    frame.as_object_mut().expect("an object").remove("type");
                    self.take(frame);
                }
                Ok(Some(_)) => {}
                _ => break,
            }
        }
    }
}

/// Posts its share, each message until it is answered.
async fn write(run: Arc<Run>, number: usize, share: usize) {
    let mut random = Random(number as u64 + 1);
    for i in 0..share {
        let nonce = format!("{number}-{i}");
        let message =
            json!({ "sender": format!("writer{number}"), "text": nonce, "nonce": nonce }).to_string();
        loop {
            let server = run.servers[random.below(run.servers.len() as u64) as usize];
            let mut client = Client::new(server);
            let json = Some("application/json");
            let posting = client.request(Method::POST, "/chat/a/messages", json, message.clone().into());
            match timeout(Duration::from_secs(20), posting).await {
                Ok(Ok(reply)) if reply.status < 300 => break,
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
        run.posted.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs writers and followers against servers that are killed in turns.
async fn everybody(what: &str, starts: Vec<Start>) {
    let mut servers: Vec<Server> = starts.iter().map(|start| start.run().expect("it starts")).collect();
    let run = Arc::new(Run {
        servers: servers.iter().map(|server| server.address).collect(),
        posted: AtomicUsize::new(0),
        last: AtomicI64::new(-1),
        cuts: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    });
    let mut followers = JoinSet::new();
    for (number, way) in WAYS.into_iter().cycle().take(EACH_KIND * WAYS.len()).enumerate() {
        let random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
        followers.spawn(Follower { run: run.clone(), way, random, seen: Vec::new() }.follow());
    }
    let posts = posts();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(write(run.clone(), number, posts / WRITERS));
    }
    let mut kills = 0;
    while !writers.is_empty() {
        while writers.try_join_next().is_some() {}
        if run.posted.load(Ordering::SeqCst) > BETWEEN * (kills + 1) {
            let victim = kills % servers.len();
            servers[victim].kill();
            servers[victim] = starts[victim].run().expect("it starts again");
            kills += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let mut reader = Client::new(run.servers[0]);
    let last = reader.get("/chat/a").await.json()["last_seq"].as_i64().expect("a seq");
    assert_eq!(last as usize, posts / WRITERS * WRITERS, "every post is stored once");
    run.last.store(last, Ordering::SeqCst);
    let mut history = Vec::new();
    while history.len() < last as usize {
        let page = reader.get(&format!("/chat/a/messages?after={}&limit=200", history.len())).await.json();
        history.extend(page.as_array().expect("an array").iter().cloned());
    }
    let finish = async {
        while let Some(done) = followers.join_next().await {
            let (way, seen) = done.expect("no panic");
            assert!(seen == history, "{way:?} saw something else than the history");
        }
    };
    timeout(Duration::from_secs(120), finish).await.expect("every follower gets to the end");
    let cuts = run.cuts.load(Ordering::SeqCst);
    announce(&format!(
        "{what}: {} followers of {} ways, cut off {cuts} times, {kills} servers killed, \
         {last} messages each: none missed, none twice",
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
    everybody("SQLite, one server", vec![start(folder.path().join("chat.db").to_str().expect("UTF-8"))])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_misses_anything_at_two_servers() {
    let store = mongod::database(Kind::ReplicaSet);
    everybody("replica set, two servers", vec![start(&store), start(&store)]).await;
}
