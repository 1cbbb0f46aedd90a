//! Drives posts, edits, deletions, reactions and mentions with many clients, records every answer,
//! then reads everything back and verifies what the server promises.

mod caller;
mod changing;
mod judge;
mod posting;
mod reading;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chat_client::{Client, Options};
use tokio::task::JoinSet;

use self::caller::{ANSWER_LIMIT, Caller};
use self::changing::{Author, Deleter, Reactor};
use self::judge::judge;
use self::posting::Poster;
use self::reading::Reader;
use crate::{http, mount};

/// Clients that delete.
const DELETERS: usize = 3;
/// Accounts that post and edit what they posted, and mention others.
const AUTHORS: usize = 3;
/// Accounts that are mentioned, mark rooms as read, and react.
const READERS: usize = 3;
/// User who owns the rooms and deletes messages.
const OWNER: &str = "owner";
const PASSWORD: &str = "correct horse";

/// A message: its room and its `seq`.
type MessageId = (String, i64);

/// A post that was answered.
#[derive(Debug, Clone)]
struct Answered {
    room: String,
    sender: String,
    text: String,
    seq: i64,
    timestamp: String,
    reply_to: Option<i64>,
}

impl Answered {
    fn id(&self) -> MessageId {
        (self.room.clone(), self.seq)
    }
}

/// A post without an answer: it may be stored once, or not at all.
#[derive(Debug, Clone)]
struct Unanswered {
    room: String,
    sender: String,
    text: String,
}

/// Last request for something that one client changes: a text, or whether there is a
/// reaction.
///
/// Nothing else is asked for once it is in doubt whether an earlier attempt may still have an
/// effect, so a state has at most one doubt.
#[derive(Debug, Clone)]
struct Asked<T> {
    /// The last one that was answered.
    answered: Option<T>,
    /// One that was sent after it and not answered.
    unanswered: Option<T>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self {
            answered: None,
            unanswered: None,
        }
    }
}

impl<T: PartialEq> Asked<T> {
    /// Returns true if the state may be this one, where `before` is the one before anything was
    /// asked.
    fn allows(&self, state: &T, before: &T) -> bool {
        self.answered.as_ref().unwrap_or(before) == state || self.unanswered.as_ref() == Some(state)
    }
}

/// A reaction: of which message, by whom, with which emoji.
type ReactionKey = (MessageId, String, &'static str);

#[derive(Debug, Default)]
struct Record {
    answered: Mutex<Vec<Answered>>,
    unanswered: Mutex<Vec<Unanswered>>,
    /// Messages whose deletion was answered, that were found deleted, and whose deletion was not
    /// answered.
    deleted: Mutex<HashSet<MessageId>>,
    found_deleted: Mutex<HashSet<MessageId>>,
    perhaps_deleted: Mutex<HashSet<MessageId>>,
    /// Texts by which messages were edited.
    texts: Mutex<HashMap<MessageId, Asked<String>>>,
    /// Reactions that were added (`true`) or removed.
    reactions: Mutex<HashMap<ReactionKey, Asked<bool>>>,
    wrong: Mutex<Vec<String>>,
    /// Numbers of answered posts, edits and reactions.
    posts: AtomicU64,
    edits: AtomicU64,
    reacted: AtomicU64,
    stop: AtomicBool,
}

fn lock<T>(of_record: &Mutex<T>) -> MutexGuard<'_, T> {
    of_record.lock().expect("a record")
}

impl Record {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    /// Picks one of the latest messages that were answered, so that a message and its changes are
    /// under way together.
    fn latest(&self, back: usize) -> Option<Answered> {
        let answered = lock(&self.answered);
        answered
            .len()
            .checked_sub(1 + back)
            .and_then(|at| answered.get(at))
            .cloned()
    }
}

/// An account of the load.
#[derive(Debug)]
struct Account {
    name: String,
    /// The token of its session.
    token: String,
}

impl Account {
    async fn register(address: SocketAddr, name: String) -> Self {
        let mut client = connect(address).await;
        client
            .register(&name, PASSWORD)
            .await
            .expect("a new account");
        let token = client.token().expect("a session").to_owned();
        Self { name, token }
    }

    async fn client(&self, address: SocketAddr) -> Client {
        let client = connect(address).await.with_token(&self.token);
        client.expect("a header")
    }
}

/// A client of one server whose calls are made once.
async fn connect(address: SocketAddr) -> Client {
    let options = Options::new()
        .retry_for(Duration::ZERO)
        .timeout(ANSWER_LIMIT);
    let url = format!("http://{address}{}", mount::prefix());
    Client::connect_with(&url, options).await.expect("a client")
}

/// Clients that post, and change what was posted, until they are told to stop.
#[derive(Debug)]
pub struct Load {
    record: Arc<Record>,
    readers: Vec<Account>,
    clients: JoinSet<()>,
}

/// Result of a load. Every number but the first six should be what was promised: 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Posts that were answered.
    pub answered: usize,
    /// Posts that were not, and were not repeated.
    pub unanswered: usize,
    /// Unanswered posts that were stored.
    pub unanswered_stored: usize,
    /// Deletions that were answered.
    pub deleted: usize,
    /// Edits that were answered.
    pub edited: usize,
    /// Reactions, added or removed, that were answered.
    pub reacted: usize,
    /// Answered posts that are not where the answer said, and were not deleted.
    pub lost: usize,
    /// Posts that are stored more than once.
    pub doubled: usize,
    /// Everything else that is not as promised, in words.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Returns true if every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.faults.is_empty()
    }

    /// Returns true if there was enough of everything to judge.
    #[must_use]
    pub fn is_telling(&self, answered: u64) -> bool {
        self.answered as u64 >= answered && self.deleted > 0 && self.edited > 0 && self.reacted > 0
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            answered,
            unanswered,
            unanswered_stored,
            deleted,
            edited,
            reacted,
            ..
        } = self;
        write!(
            f,
            "{answered} posts answered, {deleted} of them deleted, {edited} edits, {reacted} reactions, {} lost, \
             {} doubled, {unanswered} not answered ({unanswered_stored} of them stored), {} faults",
            self.lost,
            self.doubled,
            self.faults.len()
        )
    }
}

impl Load {
    /// Starts `clients` clients that spread their posts over `rooms` rooms and over the servers at
    /// `addresses`. Two in three posts carry a nonce and are repeated, to any server, until there
    /// is an answer; the third is given up when it fails. A few more have the sessions of accounts:
    /// the owner of the rooms deletes messages, authors edit their own and mention readers, and
    /// readers react and mark rooms as read.
    ///
    /// # Panics
    ///
    /// If the rooms cannot be made.
    pub async fn start(addresses: &[SocketAddr], clients: usize, rooms: usize) -> Self {
        let record = Arc::new(Record::default());
        let owner = own(addresses[0], rooms).await;
        let mut authors = Vec::new();
        for number in 0..AUTHORS {
            authors.push(Account::register(addresses[0], format!("author{number}")).await);
        }
        let mut readers = Vec::new();
        for number in 0..READERS {
            let reader = Account::register(addresses[0], reader_name(number)).await;
            join_all(&reader.client(addresses[0]).await, rooms).await;
            readers.push(reader);
        }

        let caller = async |account: &Account| {
            let mut servers = Vec::new();
            for address in addresses {
                servers.push(account.client(*address).await);
            }
            Caller::new(servers, record.clone())
        };
        let mut tasks = JoinSet::new();
        for _ in 0..DELETERS {
            tasks.spawn(Deleter::new(caller(&owner).await).run());
        }
        for (number, author) in authors.iter().enumerate() {
            let caller = caller(author).await;
            tasks.spawn(Author::new(caller, author.name.clone(), number, rooms).run());
        }
        for (number, reader) in readers.iter().enumerate() {
            tasks.spawn(Reader::new(caller(reader).await).run());
            let caller = caller(reader).await;
            tasks.spawn(Reactor::new(caller, reader.name.clone(), number).run());
        }
        for number in 0..clients {
            let plain = |address: &SocketAddr| Arc::new(http::Client::new(*address).into());
            let servers = addresses.iter().map(plain).collect();
            tasks.spawn(Poster::new(Caller::new(servers, record.clone()), number, rooms).run());
        }
        Self {
            record,
            readers,
            clients: tasks,
        }
    }

    /// Returns the number of posts answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.record.posts.load(Ordering::Relaxed)
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
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "the server does not recover"
            );
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
        judge(&self.record, &self.readers, address).await
    }
}

fn room_name(number: usize) -> String {
    format!("room {number}")
}

fn reader_name(number: usize) -> String {
    format!("reader{number}")
}

/// Makes an account that owns all rooms.
async fn own(address: SocketAddr, rooms: usize) -> Account {
    let owner = Account::register(address, OWNER.to_owned()).await;
    let client = owner.client(address).await;
    for number in 0..rooms {
        let made = client.create_room(&room_name(number)).await;
        assert!(made.expect("a room"), "room {number} was there");
    }
    owner
}

async fn join_all(client: &Client, rooms: usize) {
    for number in 0..rooms {
        client.join(&room_name(number)).await.expect("joined");
    }
}
