//! Kind of the deployment, and the collections and indexes that must be there.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};

use super::error::error;
use crate::error::{Error, Result};

/// The version of the documents.
const VERSION: i64 = 7;
/// The oldest server that has what is used: transactions that read a majority, `hello`.
const OLDEST_SERVER: (i32, i32) = (4, 4);

const COLLECTIONS: [&str; 14] = [
    "counters",
    "messages",
    "changes",
    "reactions",
    "mentions",
    "members",
    "bans",
    "marks",
    "names",
    "sessions",
    "state",
    "processes",
    "presence",
    "signals",
];

/// Time after which a signal is removed. Everyone received it when it was made.
const SIGNALS: Duration = Duration::from_secs(60);

/// Kind and version of the deployment.
pub(super) struct Server {
    pub(super) version: String,
    pub(super) kind: &'static str,
    pub(super) transactions: bool,
    pub(super) sharded: bool,
}

/// Checks the server and the version of the documents, and makes what is missing.
pub(super) async fn prepare(database: &Database, session_idle: Duration) -> Result<Server> {
    let server = server(database).await?;
    let state = database.collection::<Document>("state");
    let stored = state
        .find_one(doc! { "_id": "schema" })
        .await
        .map_err(error)?;
    match stored.as_ref().map(|schema| schema.get_i64("version")) {
        None | Some(Ok(VERSION)) => {}
        Some(Ok(newer)) if newer > VERSION => {
            return Err(Error::Open(format!(
                "it was written by a newer version (schema {newer}, this version knows {VERSION})"
            ).into()));
        }
        Some(Ok(older)) if older > 0 => {
            return Err(Error::Open(format!(
                "it was written by an older version (schema {older}, this version knows {VERSION})"
            ).into()));
        }
        Some(_) => {
            return Err(Error::Open(
                "the database belongs to another program".into(),
            ));
        }
    }
    let existing = database.list_collection_names().await.map_err(error)?;
    for name in COLLECTIONS
        .into_iter()
        .filter(|name| !existing.iter().any(|e| e == name))
    {
        // A transaction must not have to create a collection. Another process may be faster.
        match database.create_collection(name).await {
            Err(e) if !is_code(&e, NAMESPACE_EXISTS) => return Err(error(e)),
            _ => {}
        }
    }
    create_indexes(database, session_idle).await?;
    if stored.is_none() {
        let version = doc! { "$setOnInsert": { "version": VERSION } };
        state
            .update_one(doc! { "_id": "schema" }, version)
            .upsert(true)
            .await
            .map_err(error)?;
    }
    Ok(server)
}

const NAMESPACE_EXISTS: i32 = 48;
const INDEX_OPTIONS_CONFLICT: i32 = 85;

fn is_code(e: &mongodb::error::Error, code: i32) -> bool {
    matches!(&*e.kind, mongodb::error::ErrorKind::Command(e) if e.code == code)
}

async fn server(database: &Database) -> Result<Server> {
    let admin = database.client().database("admin");
    let build = admin
        .run_command(doc! { "buildInfo": 1 })
        .await
        .map_err(error)?;
    let version = build.get_str("version").unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map_while(|n| n.parse().ok());
    if numbers
        .next()
        .zip(numbers.next())
        .is_none_or(|found| found < OLDEST_SERVER)
    {
        let (major, minor) = OLDEST_SERVER;
        return Err(Error::Open(
            format!("MongoDB {version} is older than {major}.{minor}").into(),
        ));
    }
    let hello = admin
        .run_command(doc! { "hello": 1 })
        .await
        .map_err(error)?;
    let (kind, transactions) = if hello.contains_key("setName") {
        ("replica set", true)
    } else if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        ("sharded cluster", true)
    } else if hello.get_bool("isreplicaset").unwrap_or(false) {
        return Err(Error::Unavailable(
            "the replica set has not been initiated".into(),
        ));
    } else {
        ("standalone", false)
    };
    Ok(Server {
        version,
        kind,
        transactions,
        sharded: kind == "sharded cluster",
    })
}

/// Creates an index unless it is there.
async fn create_index(
    database: &Database,
    collection: &str,
    keys: Document,
    options: IndexOptions,
) -> mongodb::error::Result<()> {
    let index = IndexModel::builder().keys(keys).options(options).build();
    let collection = database.collection::<Document>(collection);
    collection.create_index(index).await.map(drop)
}

async fn create_indexes(database: &Database, session_idle: Duration) -> Result<()> {
    create_indexes_of_messages(database).await?;
    create_indexes_of_changes(database).await?;
    create_indexes_of_rooms(database).await?;
    create_indexes_of_processes(database).await?;
    create_indexes_of_sessions(database, session_idle).await
}

async fn create_indexes_of_messages(database: &Database) -> Result<()> {
    // Not unique: the guard on the head sees to that, and a check here would cost every insert.
    let by_time = doc! { "_id.room": 1, "milestone": 1 };
    let of_milestones = IndexOptions::builder()
        .partial_filter_expression(doc! { "milestone": { "$exists": true } })
        .build();
    create_index(database, "messages", by_time, of_milestones)
        .await
        .map_err(error)?;

    // Refuses a nonce of another document. Within a batch the committer has seen to that.
    let by_nonce = doc! { "_id.room": 1, "nonces.sender": 1, "nonces.nonce": 1 };
    let unique = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! { "nonces": { "$exists": true } })
        .build();
    create_index(database, "messages", by_nonce, unique)
        .await
        .map_err(error)
}

async fn create_indexes_of_rooms(database: &Database) -> Result<()> {
    let of_private = || {
        IndexOptions::builder()
            .partial_filter_expression(doc! { "private": { "$exists": true } })
            .build()
    };
    let all = IndexOptions::default;
    for (collection, keys, options) in [
        ("counters", doc! { "private": 1, "_id": 1 }, of_private()),
        ("members", doc! { "_id.user": 1, "_id.room": 1 }, all()),
        (
            "members",
            doc! { "private": 1, "_id.user": 1, "_id.room": 1 },
            of_private(),
        ),
        ("bans", doc! { "_id.room": 1, "username": 1 }, all()),
    ] {
        create_index(database, collection, keys, options)
            .await
            .map_err(error)?;
    }
    Ok(())
}

async fn create_indexes_of_processes(database: &Database) -> Result<()> {
    let all = IndexOptions::default();
    let passing = IndexOptions::builder().expire_after(SIGNALS).build();
    let slots = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! { "tally": { "$exists": true } })
        .build();
    for (collection, keys, options) in [
        ("presence", doc! { "_id.process": 1 }, all),
        ("signals", doc! { "at": 1 }, passing),
        ("processes", doc! { "tally": 1 }, slots),
    ] {
        create_index(database, collection, keys, options)
            .await
            .map_err(error)?;
    }
    Ok(())
}

async fn create_indexes_of_sessions(database: &Database, session_idle: Duration) -> Result<()> {
    let sparse = IndexOptions::builder().sparse(true).build();
    create_index(database, "sessions", doc! { "guest": 1 }, sparse)
        .await
        .map_err(error)?;
    let by_user = doc! { "username": 1, "created_at": 1 };
    create_index(database, "sessions", by_user, IndexOptions::default())
        .await
        .map_err(error)?;

    let expiring = IndexOptions::builder().expire_after(session_idle).build();
    match create_index(database, "sessions", doc! { "used": 1 }, expiring).await {
        // Made earlier for another idle time.
        Err(e) if is_code(&e, INDEX_OPTIONS_CONFLICT) => {
            let seconds = i64::try_from(session_idle.as_secs()).unwrap_or(i64::MAX);
            let change = doc! {
                "collMod": "sessions",
                "index": { "keyPattern": { "used": 1 }, "expireAfterSeconds": seconds },
            };
            database.run_command(change).await.map(drop).map_err(error)
        }
        created => created.map_err(error),
    }
}

async fn create_indexes_of_changes(database: &Database) -> Result<()> {
    for (collection, keys) in [
        ("changes", doc! { "_id.room": 1, "change": 1 }),
        (
            "reactions",
            doc! { "_id.room": 1, "_id.seq": 1, "_id.emoji": 1, "position": 1 },
        ),
        ("mentions", doc! { "_id.user": 1, "timestamp": -1 }),
    ] {
        create_index(database, collection, keys, IndexOptions::default())
            .await
            .map_err(error)?;
    }
    Ok(())
}
