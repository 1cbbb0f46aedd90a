//! Rates of the databases with the same messages when nothing is promised but durability.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, ClientOptions, IndexOptions, WriteConcern};
use mongodb::{Client, Collection, Database, IndexModel};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{TEXT, shares};

/// Messages in one call or one transaction of a floor.
pub const BATCH: u64 = 64;

/// A database whose writes are acknowledged by a majority and journaled, as the store's are.
pub async fn mongodb(address: &str) -> Database {
    let mut options = ClientOptions::parse(address).await.expect("an address");
    options.write_concern = Some(
        WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build(),
    );
    options.max_pool_size = Some(64);
    let database = Client::with_options(options)
        .expect("a client")
        .default_database()
        .expect("named in the address");
    for name in ["floor", "messages", "users", "rooms"] {
        database
            .create_collection(name)
            .await
            .expect("a collection");
    }
    for (name, keys) in [
        ("messages", doc! { "room": 1, "timestamp": 1 }),
        ("users", doc! { "username": 1 }),
        ("rooms", doc! { "name": 1 }),
    ] {
        let unique = IndexOptions::builder().unique(name != "messages").build();
        let index = IndexModel::builder().keys(keys).options(unique).build();
        database
            .collection::<Document>(name)
            .create_index(index)
            .await
            .expect("an index");
    }
    database
}

fn message(seq: u64) -> Document {
    let seq = seq.cast_signed();
    doc! {
        "_id": { "room": "floor", "seq": seq },
        "sender": format!("writer{}", seq % 64),
        "text": TEXT,
        "timestamp": seq,
        "verified": false,
    }
}

async fn start(floor: &Collection<Document>) -> u64 {
    floor.estimated_document_count().await.expect("a count")
}

/// `n` messages by `insert_many`, 64 in each call, one call after the other.
pub async fn insert_many(database: &Database, n: u64) -> Duration {
    let floor = database.collection("floor");
    let first = start(&floor).await;
    let started = Instant::now();
    let mut done = 0;
    while done < n {
        let batch = (done..n.min(done + BATCH)).map(|i| message(first + i));
        floor.insert_many(batch).await.expect("stored");
        done += BATCH;
    }
    started.elapsed()
}

/// `n` messages by `insert_one`, one after the other.
pub async fn insert_one(database: &Database, n: u64) -> Duration {
    let floor = database.collection("floor");
    let first = start(&floor).await;
    let started = Instant::now();
    for i in 0..n {
        floor.insert_one(message(first + i)).await.expect("stored");
    }
    started.elapsed()
}

/// `n` messages by `writers` writers with three writes each: the message, the sender's counter, the
/// room's member; with the indexes that an app with such documents has. Nothing keeps the three
/// together, and there is no `seq`.
pub async fn three_writes(database: &Database, writers: usize, n: u64) -> Duration {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (writer, share) in shares(writers, n) {
        let messages: Collection<Document> = database.collection("messages");
        let users: Collection<Document> = database.collection("users");
        let rooms: Collection<Document> = database.collection("rooms");
        let sender = format!("writer{writer}");
        tasks.spawn(async move {
            for _ in 0..share {
                let now = mongodb::bson::DateTime::now();
                let message =
                    doc! { "room": "floor", "sender": &sender, "text": TEXT, "timestamp": now };
                messages.insert_one(message).await.expect("stored");
                let count = doc! { "$inc": { "message_count": 1 } };
                users
                    .update_one(doc! { "username": &sender }, count)
                    .upsert(true)
                    .await
                    .expect("counted");
                let join = doc! { "$addToSet": { "users": &sender } };
                rooms
                    .update_one(doc! { "name": "floor" }, join)
                    .upsert(true)
                    .await
                    .expect("joined");
            }
        });
    }
    tasks.join_all().await;
    started.elapsed()
}

/// An SQLite file with a table of messages, as durable as the store's.
#[must_use]
pub fn sqlite() -> (Connection, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let connection = Connection::open(folder.path().join("floor.db")).expect("a file");
    let tables = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE messages (room INTEGER, seq INTEGER, timestamp INTEGER, sender TEXT, text TEXT,
            PRIMARY KEY (room, seq)) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX by_time ON messages (room, timestamp);";
    connection.execute_batch(tables).expect("tables");
    (connection, folder)
}

/// `n` messages, 64 in each transaction.
pub fn transactions(connection: &mut Connection, n: u64) -> Duration {
    let first: i64 = connection
        .query_row(
            "SELECT coalesce(max(seq), 0) FROM messages WHERE room = 1",
            [],
            |row| row.get(0),
        )
        .expect("a number");
    let started = Instant::now();
    let mut done = 0;
    while done < n {
        let transaction = connection.transaction().expect("begun");
        for i in done..n.min(done + BATCH) {
            let seq = first + 1 + i.cast_signed();
            let sender = format!("writer{}", seq % 64);
            let mut insert = transaction
                .prepare_cached("INSERT INTO messages VALUES (1, ?1, ?2, ?3, ?4)")
                .expect("a statement");
            insert
                .execute(rusqlite::params![seq, seq, sender, TEXT])
                .expect("stored");
        }
        transaction.commit().expect("committed");
        done += BATCH;
    }
    started.elapsed()
}
