//! Posts to many rooms by many users, and the same row changes made by the bare engine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use chatcore::{ChatStore, NewMessage};
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::options::{Acknowledgment, IndexOptions, ReadConcern, WriteConcern};
use mongodb::{Client, ClientSession, Database, IndexModel};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{TEXT, shares};

/// Posters at once; posts in one transaction of the bare engine.
pub const POSTERS: usize = 256;

/// A kind of load: each post goes to a random room, from a random user.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Name in the table.
    pub name: &'static str,
    /// Rooms that are posted to.
    pub rooms: u64,
    /// Users who post.
    pub users: u64,
}

/// One room, and a user for each poster.
pub const HOT: Load = Load {
    name: "hot",
    rooms: 1,
    users: POSTERS as u64,
};

/// Xorshift64: Marsaglia, "Xorshift RNGs", 2003.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

impl Load {
    /// Room and user of the next post.
    fn pick(&self, random: &mut Random) -> (String, String) {
        (
            room(random.below(self.rooms)),
            user(random.below(self.users)),
        )
    }

    /// Rooms and users of `n` posts, 256 in a batch.
    fn batches(&self, n: u64, seed: u64) -> Vec<Vec<(String, String)>> {
        let mut random = Random::new(seed);
        let all: Vec<_> = (0..n).map(|_| self.pick(&mut random)).collect();
        all.chunks(POSTERS).map(<[_]>::to_vec).collect()
    }

    /// Each room and each user once, before anything is timed.
    fn all(&self) -> impl Iterator<Item = (String, String)> {
        let (rooms, users) = (self.rooms, self.users);
        (0..rooms.max(users)).map(move |i| (room(i % rooms), user(i % users)))
    }
}

fn room(i: u64) -> String {
    format!("room{i}")
}

fn user(i: u64) -> String {
    format!("user{i}")
}

fn message((room, user): &(String, String)) -> NewMessage {
    let (room, user) = (room.parse().expect("a name"), user.parse().expect("a name"));
    NewMessage::new(room, user, TEXT.parse().expect("a text"))
}

/// Posts once to each room and by each user.
pub async fn fill(store: &ChatStore, load: Load) {
    let all: Vec<_> = load.all().collect();
    let mut tasks = JoinSet::new();
    for chunk in all.chunks(all.len().div_ceil(POSTERS)) {
        let (store, chunk) = (store.clone(), chunk.to_vec());
        tasks.spawn(async move {
            for pair in &chunk {
                store.post(message(pair)).await.expect("stored");
            }
        });
    }
    tasks.join_all().await;
}

/// `n` posts by 256 posters, each of whom waits for an answer before the next.
pub async fn posts(store: &ChatStore, load: Load, n: u64, seed: u64) -> Duration {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (poster, share) in shares(POSTERS, n) {
        let store = store.clone();
        let mut random = Random::new(seed * 1_000 + poster as u64 + 1);
        tasks.spawn(async move {
            for _ in 0..share {
                store
                    .post(message(&load.pick(&mut random)))
                    .await
                    .expect("stored");
            }
        });
    }
    tasks.join_all().await;
    started.elapsed()
}

/// The bare SQLite, with tables as the store has them.
#[derive(Debug)]
pub struct BareSqlite {
    connection: Connection,
    members: HashSet<(String, String)>,
    _folder: TempDir,
}

impl BareSqlite {
    /// A file with each room and each user in it.
    #[must_use]
    pub fn new(load: Load) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let connection = Connection::open(folder.path().join("bare.db")).expect("a file");
        let tables = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;
            CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_seq INTEGER,
                last_timestamp INTEGER) STRICT;
            CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, message_count INTEGER) STRICT;
            CREATE TABLE messages (room_id INTEGER, seq INTEGER, timestamp INTEGER, sender_id INTEGER,
                verified INTEGER, text TEXT, PRIMARY KEY (room_id, seq)) STRICT, WITHOUT ROWID;
            CREATE UNIQUE INDEX messages_by_time ON messages (room_id, timestamp);
            CREATE TABLE members (room_id INTEGER, username TEXT, joined_at INTEGER,
                PRIMARY KEY (room_id, username)) STRICT, WITHOUT ROWID;
            CREATE INDEX members_by_user ON members (username, room_id);";
        connection.execute_batch(tables).expect("tables");

        let mut this = Self {
            connection,
            members: HashSet::new(),
            _folder: folder,
        };
        let all: Vec<_> = load.all().collect();
        all.chunks(4_096).for_each(|batch| this.store(batch));
        this
    }

    /// `n` messages, 256 in each transaction.
    pub fn posts(&mut self, load: Load, n: u64, seed: u64) -> Duration {
        let batches = load.batches(n, seed);
        let started = Instant::now();
        batches.iter().for_each(|batch| self.store(batch));
        started.elapsed()
    }

    fn store(&mut self, batch: &[(String, String)]) {
        let Grouped { rooms, users } = group(batch);
        let transaction = self.connection.transaction().expect("begun");
        {
            let prepare = |sql| transaction.prepare_cached(sql).expect("a statement");
            let mut advance = prepare(
                "INSERT INTO rooms (name, last_seq, last_timestamp) VALUES (?1, ?2, ?2) ON CONFLICT DO UPDATE
                 SET last_seq = last_seq + ?2, last_timestamp = last_timestamp + ?2 RETURNING id, last_seq",
            );
            let mut count = prepare(
                "INSERT INTO users (name, message_count) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET message_count = message_count + ?2 RETURNING id",
            );
            let mut add = prepare("INSERT INTO messages VALUES (?1, ?2, ?2, ?3, 0, ?4)");
            let mut join = prepare("INSERT INTO members VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING");

            let count = |(user, n): (&str, i64)| {
                (
                    user.to_owned(),
                    count
                        .query_row(params![user, n], |row| row.get(0))
                        .expect("a counter"),
                )
            };
            let ids: HashMap<String, i64> = users.into_iter().map(count).collect();
            for (room, senders) in rooms {
                let n = senders.len() as i64;
                let (room_id, last): (i64, i64) = advance
                    .query_row(params![room, n], |row| Ok((row.get(0)?, row.get(1)?)))
                    .expect("a head");
                for (seq, sender) in (last - n + 1..).zip(senders) {
                    add.execute(params![room_id, seq, ids[sender], TEXT])
                        .expect("stored");
                    if self.members.insert((room.to_owned(), sender.to_owned())) {
                        join.execute(params![room_id, sender]).expect("joined");
                    }
                }
            }
        }
        transaction.commit().expect("committed");
    }
}

/// A batch by room and by user.
struct Grouped<'a> {
    rooms: BTreeMap<&'a str, Vec<&'a str>>,
    users: BTreeMap<&'a str, i64>,
}

fn group(batch: &[(String, String)]) -> Grouped<'_> {
    let mut grouped = Grouped {
        rooms: BTreeMap::new(),
        users: BTreeMap::new(),
    };
    for (room, user) in batch {
        grouped.rooms.entry(room).or_default().push(user);
        *grouped.users.entry(user).or_insert(0) += 1;
    }
    grouped
}

/// The bare MongoDB replica set, with documents as the store has them.
#[derive(Debug)]
pub struct BareMongo {
    database: Database,
    session: ClientSession,
    ends: HashMap<String, i64>,
    members: HashSet<(String, String)>,
}

impl BareMongo {
    /// A database with each room and each user in it.
    pub async fn new(address: &str, load: Load) -> Self {
        let client = Client::with_uri_str(address).await.expect("a client");
        let database = client.default_database().expect("named in the address");
        for name in ["counters", "messages", "members"] {
            database
                .create_collection(name)
                .await
                .expect("a collection");
        }
        let milestones = IndexOptions::builder()
            .partial_filter_expression(doc! { "milestone": { "$exists": true } })
            .build();
        for (name, keys, options) in [
            (
                "messages",
                doc! { "_id.room": 1, "milestone": 1 },
                milestones,
            ),
            (
                "members",
                doc! { "_id.user": 1, "_id.room": 1 },
                IndexOptions::default(),
            ),
        ] {
            let collection = database.collection::<RawDocumentBuf>(name);
            collection
                .create_index(IndexModel::builder().keys(keys).options(options).build())
                .await
                .expect("an index");
        }

        let session = client.start_session().await.expect("a session");
        let mut this = Self {
            database,
            session,
            ends: HashMap::new(),
            members: HashSet::new(),
        };
        let all: Vec<_> = load.all().collect();
        for batch in all.chunks(1_024) {
            this.store(batch).await;
        }
        this
    }

    /// `n` messages, 256 in each transaction.
    pub async fn posts(&mut self, load: Load, n: u64, seed: u64) -> Duration {
        let batches = load.batches(n, seed);
        let started = Instant::now();
        for batch in &batches {
            self.store(batch).await;
        }
        started.elapsed()
    }

    /// Heads and counters by one command, buckets of up to 16 messages and members by one each.
    async fn store(&mut self, batch: &[(String, String)]) {
        let commands = self.commands(batch);
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build();
        let begin = self
            .session
            .start_transaction()
            .read_concern(ReadConcern::majority());
        begin.write_concern(durable).await.expect("begun");
        for command in commands {
            let run = self
                .database
                .run_raw_command(command)
                .session(&mut self.session);
            run.await.expect("stored");
        }
        self.session.commit_transaction().await.expect("committed");
    }

    fn commands(&mut self, batch: &[(String, String)]) -> Vec<RawDocumentBuf> {
        let Grouped { rooms, users } = group(batch);
        let mut counters = RawArrayBuf::new();
        let mut messages = RawArrayBuf::new();
        let mut members = RawArrayBuf::new();
        for (room, senders) in &rooms {
            let first = self.ends.get(*room).map_or(1, |end| end + 1);
            let last = first + senders.len() as i64 - 1;
            self.ends.insert((*room).to_owned(), last);
            let head = rawdoc! { "last_seq": last, "last_timestamp": last };
            counters
                .push(rawdoc! { "q": { "_id": { "room": *room } }, "u": { "$set": head }, "upsert": true });
            for (bucket, senders) in (first..).step_by(16).zip(senders.chunks(16)) {
                messages.push(bucket_of(room, bucket, senders));
            }
            for user in senders {
                if self
                    .members
                    .insert(((*room).to_owned(), (*user).to_owned()))
                {
                    members.push(
                        rawdoc! { "_id": { "room": *room, "user": *user }, "joined_at": first },
                    );
                }
            }
        }
        for (user, n) in users {
            let grow = rawdoc! { "$inc": { "message_count": n } };
            counters.push(rawdoc! { "q": { "_id": { "user": user } }, "u": grow, "upsert": true });
        }

        let mut commands = vec![
            rawdoc! { "update": "counters", "updates": counters },
            rawdoc! { "insert": "messages", "documents": messages },
        ];
        if !members.is_empty() {
            commands.push(rawdoc! { "insert": "members", "documents": members });
        }
        commands
    }
}

fn bucket_of(room: &str, first: i64, senders: &[&str]) -> RawDocumentBuf {
    let last = first + senders.len() as i64 - 1;
    let list: RawArrayBuf = (first..)
        .zip(senders)
        .map(|(seq, sender)| rawdoc! { "sender": *sender, "text": TEXT, "timestamp": seq, "verified": false })
        .collect();
    let mut bucket = rawdoc! {
        "_id": { "room": room, "seq": first },
        "last_seq": last,
        "last_timestamp": last,
        "messages": list,
    };
    if last / 64 > (first - 1) / 64 {
        bucket.append(cstr!("milestone"), last);
    }
    bucket
}
