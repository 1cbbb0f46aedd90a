//! Drives posts and deletions with many clients, records every answer, then reads everything back
//! and verifies what the server promises.

mod judge;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::judge::judge;
use crate::http::{Client, Reply};

/// How long a client waits for one answer. The server's own limits are shorter.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The pause of a client that could not reach the server.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Clients that delete, and the pause of each between two deletions.
const DELETERS: usize = 3;
const DELETION_PAUSE: Duration = Duration::from_millis(10);
/// Who owns the rooms and deletes messages.
const OWNER: &str = "owner";
const PASSWORD: &str = "correct horse";
/// How long a nonce is repeated after the load has ended, before the server is taken for dead.
const LAST_TRIES: Duration = Duration::from_secs(60);

/// A post that was answered.
#[derive(Debug, Clone)]
struct Answered {
    room: String,
    sender: String,
    text: String,
    seq: i64,
    timestamp: String,
}

/// A post without an answer: it may be stored once, or not at all.
#[derive(Debug, Clone)]
struct Unanswered {
    room: String,
    sender: String,
    text: String,
}

#[derive(Debug, Default)]
struct Record {
    answered: Mutex<Vec<Answered>>,
    unanswered: Mutex<Vec<Unanswered>>,
    /// Rooms and places of messages whose deletion was answered, and of those where it was not.
    deleted: Mutex<HashSet<(String, i64)>>,
    perhaps_deleted: Mutex<HashSet<(String, i64)>>,
    wrong: Mutex<Vec<String>>,
    progress: AtomicU64,
    stop: AtomicBool,
}

/// Clients that post until they are told to stop.
#[derive(Debug)]
pub struct Load {
    record: Arc<Record>,
    clients: JoinSet<()>,
}

/// What a load amounted to. Every number but the first four should be what was promised: 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Posts that were answered.
    pub answered: usize,
    /// Posts that were not, and were not repeated.
    pub unanswered: usize,
    /// Of those, how many were stored.
    pub unanswered_stored: usize,
    /// Deletions that were answered.
    pub deleted: usize,
    /// Answered posts that are not where the answer said, and were not deleted.
    pub lost: usize,
    /// Posts that are stored more than once.
    pub doubled: usize,
    /// Everything else that is not as promised, in words.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.faults.is_empty()
    }
}

impl Load {
    /// Starts `clients` clients that spread their posts over `rooms` rooms and over the servers at
    /// `addresses`. Two in three posts carry a nonce and are repeated, to any server, until there
    /// is an answer; the third is given up when it fails. A few more have the session of who owns
    /// the rooms, and delete some of the messages that were answered.
    ///
    /// # Panics
    ///
    /// If the rooms cannot be made.
    pub async fn start(addresses: &[SocketAddr], clients: usize, rooms: usize) -> Self {
        let record = Arc::new(Record::default());
        let mut tasks = JoinSet::new();
        let session = own(addresses[0], rooms).await;
        for _ in 0..DELETERS {
            let servers = addresses.iter().map(|address| Client::new(*address).with_session(&session));
            tasks.spawn(Deleter { servers: servers.collect(), record: record.clone() }.run());
        }
        for number in 0..clients {
            let poster = Poster {
                number,
                rooms,
                servers: addresses.iter().map(|address| Client::new(*address)).collect(),
                record: record.clone(),
            };
            tasks.spawn(poster.run());
        }
        Self { record, clients: tasks }
    }

    /// How many posts have been answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.record.progress.load(Ordering::Relaxed)
    }

    /// Waits until `more` posts have been answered from now on.
    ///
    /// # Panics
    ///
    /// If that takes longer than two minutes: the server does not recover.
    pub async fn wait_for(&self, more: u64) {
        let goal = self.answered() + more;
        let started = Instant::now();
        while self.answered() < goal {
            assert!(started.elapsed() < Duration::from_secs(120), "the server does not recover");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets the clients finish, reads everything from the server at `address`, and judges.
    ///
    /// # Panics
    ///
    /// If the server cannot be read.
    pub async fn verify(mut self, address: SocketAddr) -> Verdict {
        self.record.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client");
        }
        judge(&self.record, address).await
    }
}

struct Poster {
    number: usize,
    rooms: usize,
    servers: Vec<Client>,
    record: Arc<Record>,
}

impl Poster {
    async fn run(mut self) {
        let sender = format!("client{}", self.number);
        let mut n = 0_usize;
        while !self.record.stop.load(Ordering::Relaxed) {
            n += 1;
            let room = room_name((self.number + n) % self.rooms);
            let text = format!("{sender} says {n}");
            let nonce = (!n.is_multiple_of(3)).then(|| format!("n{n}"));
            self.post(room, sender.clone(), text, nonce).await;
        }
    }

    async fn post(&mut self, room: String, sender: String, text: String, nonce: Option<String>) {
        let mut body = json!({ "sender": sender, "text": text });
        if let Some(nonce) = &nonce {
            body["nonce"] = json!(nonce);
        }
        let path = format!("{}/messages", room_path(&room));
        let mut stopped: Option<Instant> = None;
        loop {
            let reply = self.send(&path, &body).await;
            match reply.as_ref().map(|reply| reply.status) {
                Some(201) => return self.answered(room, sender, &text, reply.as_ref()),
                Some(200) if nonce.is_some() => return self.answered(room, sender, &text, reply.as_ref()),
                Some(503) | None => {}
                Some(_) => {
                    let what = format!("{text}: {}", reply.map(|reply| reply.text()).unwrap_or_default());
                    self.record.wrong.lock().expect("a record").push(what);
                    return;
                }
            }
            let give_up = self.record.stop.load(Ordering::Relaxed)
                && stopped.get_or_insert_with(Instant::now).elapsed() > LAST_TRIES;
            if nonce.is_none() || give_up {
                self.record.unanswered.lock().expect("a record").push(Unanswered { room, sender, text });
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Sends to one of the servers, and to another one next time if there was no answer.
    async fn send(&mut self, path: &str, body: &Value) -> Option<Reply> {
        let at = self.number % self.servers.len();
        let sent =
            self.servers[at].request(Method::POST, path, Some("application/json"), body.to_string().into());
        let reply = tokio::time::timeout(ANSWER_LIMIT, sent).await.ok().and_then(Result::ok);
        if reply.as_ref().is_none_or(|reply| reply.status == 503) {
            self.servers.rotate_left(1);
        }
        if reply.is_none() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        reply
    }

    fn answered(&self, room: String, sender: String, text: &str, reply: Option<&Reply>) {
        let message = reply.map(Reply::json).unwrap_or_default();
        let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        if field("text") != text || field("room") != room || field("sender") != sender {
            self.record.wrong.lock().expect("a record").push(format!("{text} was answered with {message}"));
        }
        let (seq, timestamp) = (message["seq"].as_i64().unwrap_or(0), field("timestamp"));
        let answered = Answered { room, sender, text: text.to_owned(), seq, timestamp };
        self.record.answered.lock().expect("a record").push(answered);
        self.record.progress.fetch_add(1, Ordering::Relaxed);
    }
}

fn room_name(number: usize) -> String {
    format!("room {number}")
}

fn room_path(room: &str) -> String {
    format!("/chat/{}", room.replace(' ', "%20"))
}

/// Makes an account that owns all rooms; returns the answer with its session.
async fn own(address: SocketAddr, rooms: usize) -> Reply {
    let mut client = Client::new(address);
    let account = json!({ "username": OWNER, "password": PASSWORD });
    let registered = client.post("/auth/register", &account).await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    let mut owner = client.with_session(&registered);
    for number in 0..rooms {
        let made = owner.send(Method::PUT, &room_path(&room_name(number)), "").await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    registered
}

struct Deleter {
    servers: Vec<Client>,
    record: Arc<Record>,
}

impl Deleter {
    async fn run(mut self) {
        while !self.record.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(DELETION_PAUSE).await;
            // Of the latest, so that messages and their deletions are under way together.
            let latest = self.record.answered.lock().expect("a record").last().cloned();
            if let Some(Answered { room, seq, .. }) = latest {
                self.delete(room, seq).await;
            }
        }
    }

    async fn delete(&mut self, room: String, seq: i64) {
        let path = format!("{}/messages/{seq}", room_path(&room));
        let mut stopped: Option<Instant> = None;
        loop {
            let sent = self.servers[0].request(Method::DELETE, &path, None, Default::default());
            let reply = tokio::time::timeout(ANSWER_LIMIT, sent).await.ok().and_then(Result::ok);
            match reply.as_ref().map(|reply| reply.status) {
                Some(204) => {
                    self.record.deleted.lock().expect("a record").insert((room, seq));
                    return;
                }
                Some(503) | None => self.servers.rotate_left(1),
                Some(_) => {
                    let what = reply.map(|reply| reply.text()).unwrap_or_default();
                    self.record.wrong.lock().expect("a record").push(format!("DELETE {path}: {what}"));
                    return;
                }
            }
            if self.record.stop.load(Ordering::Relaxed)
                && stopped.get_or_insert_with(Instant::now).elapsed() > LAST_TRIES
            {
                self.record.perhaps_deleted.lock().expect("a record").insert((room, seq));
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}
