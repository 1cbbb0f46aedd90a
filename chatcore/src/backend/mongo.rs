//! The shared store: MongoDB from 4.4.
//!
//! On a replica set, or a sharded cluster, a batch is one transaction and any number of processes
//! work on one database. A standalone mongod has no transactions: there a batch is stored in an
//! order that can be completed or cut off after a crash, by one process at a time.
//!
//! Writes are acknowledged by a majority and journaled. Reads see what a majority has, so that
//! nothing that was read can be rolled back.

mod access;
mod accounts;
mod buckets;
mod counters;
mod deletion;
mod documents;
mod find;
mod guarded;
mod lease;
mod looks;
mod moderation;
mod names;
mod peers;
mod people;
mod schema;
mod step;
mod tally;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::doc;
use mongodb::error::{ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadPreference, WriteConcern};
use mongodb::{Client, ClientSession, Database};
use tokio::sync::{Mutex, Semaphore};

use self::buckets::Bucket;
use self::counters::Counters;
use self::guarded::Guarded;
use self::looks::Looks;
use self::peers::Peers;
use self::schema::Server;
use self::tally::Tally;
use super::{Append, Attendance, Backend, Batch, Head, Joined, NonceKey, Page, ProcessId, Signal};
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::store::Options;
use crate::timestamp::Timestamp;
use crate::types::{Message, Range, Room, RoomName, Seq, UserRoom, Username};

/// The database, if the URI names none.
const DATABASE: &str = "chat";
/// Connections: more than the driver's 10, because a poll of many clients comes in bursts.
const POOL: u32 = 64;
const WARM: u32 = 4;
/// Calls under way. The rest wait until their time is up.
const CALLS: usize = 512;
/// How often a server is asked how it is, and how long it may take to answer: after both, calls
/// that hang on a stalled server are ended by the driver.
const HEARTBEAT: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(2);

/// Look-ups by nonce that run side by side.
const LOOKUPS: usize = 16;

const DUPLICATE_KEY: i32 = 11_000;
const OUT_OF_DISK_SPACE: i32 = 14_031;

/// A write that was answered survives a failover and a crash.
fn durable(timeout: Duration) -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(timeout).build()
}

struct Inner {
    database: Database,
    timeout: Duration,
    counters: Counters,
    mode: Mode,
}

enum Mode {
    /// A replica set or a sharded cluster.
    Transactions {
        /// The session of every transaction of this process. A new transaction in it ends one that
        /// was left open; the lock makes sure that nobody waits for that one any more.
        session: Box<Mutex<ClientSession>>,
        peers: Peers,
        tally: Option<Tally>,
    },
    /// A standalone mongod.
    Guarded(Guarded),
}

struct Mongo {
    inner: Arc<Inner>,
    /// Where counts are looked at together. On a sharded cluster, where users are on many shards, and
    /// where this process alone writes, each is asked for alone.
    looks: Option<Looks>,
    calls: Arc<Semaphore>,
}

/// Connects to the deployment at `uri` and prepares the database.
pub(crate) async fn open(uri: &str, options: &Options) -> Result<Arc<dyn Backend>> {
    let unusable = |e: mongodb::error::Error| Error::Open(e.kind.to_string());
    let timeout = options.timeout;
    let mut client_options = ClientOptions::parse(uri).await.map_err(unusable)?;
    client_options.app_name.get_or_insert_with(|| "chatcore".into());
    client_options.max_pool_size.get_or_insert(POOL);
    client_options.min_pool_size.get_or_insert(WARM);
    client_options.connect_timeout.get_or_insert(CONNECT);
    client_options.heartbeat_freq.get_or_insert(HEARTBEAT);
    client_options.server_selection_timeout.get_or_insert(timeout);
    client_options.write_concern = Some(durable(timeout));
    // What a secondary has may be old, and a transaction reads from the primary only.
    client_options.selection_criteria = Some(ReadPreference::Primary.into());
    let database_name = client_options.default_database.clone().unwrap_or_else(|| DATABASE.into());
    let client = Client::with_options(client_options).map_err(unusable)?;
    let database = client.database(&database_name);

    let server = schema::prepare(&database, options.session_idle).await?;
    tracing::info!(
        version = server.version,
        kind = server.kind,
        database = database_name,
        "connected to MongoDB"
    );
    start(database, &server, options.timeout).await
}

/// Takes this process's place among those that work on the database.
async fn start(database: Database, server: &Server, timeout: Duration) -> Result<Arc<dyn Backend>> {
    let mode = if server.transactions {
        let session = database.client().start_session().await.map_err(error)?;
        let (peers, slot) = Peers::join(&database, session.id()).await?;
        let tally = (!server.sharded).then(|| Tally::new(slot));
        Mode::Transactions { session: Box::new(Mutex::new(session)), peers, tally }
    } else {
        Mode::Guarded(Guarded::open(&database).await?)
    };
    schema::upgrade(&database).await?;
    let inner = Inner { database, timeout, counters: Counters::default(), mode };
    match &inner.mode {
        Mode::Guarded(guarded) => guarded.settle(&inner).await?,
        Mode::Transactions { session, tally, .. } => {
            let mut session = session.lock().await;
            // Without tallies, what they held when this was a replica set is in the counters.
            let slots = tally.as_ref().map_or(0..tally::SLOTS, |tally| tally.slot()..tally.slot() + 1);
            for slot in slots {
                transaction::fold(&inner, &mut session, slot).await?;
            }
        }
    }
    let inner = Arc::new(inner);
    let has_tallies = matches!(inner.mode, Mode::Transactions { tally: Some(_), .. });
    let looks = has_tallies.then(|| Looks::start(inner.clone()));
    Ok(Arc::new(Mongo { inner, looks, calls: Arc::new(Semaphore::new(CALLS)) }))
}

fn error(e: mongodb::error::Error) -> Error {
    let code = match &*e.kind {
        ErrorKind::Command(e) => e.code,
        ErrorKind::Write(WriteFailure::WriteError(e)) => e.code,
        _ => 0,
    };
    if code == OUT_OF_DISK_SPACE { Error::Full } else { Error::Unavailable(e.kind.to_string()) }
}

impl Mongo {
    /// Runs a call in a task of its own, because a future of the driver must not be dropped before
    /// it is done.
    async fn run<T, F>(&self, call: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let permit = self.calls.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::Unavailable("it is closed".into()))?;
        let call = call(self.inner.clone());
        let task = tokio::spawn(async move {
            let result = call.await;
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|e| Err(Error::Unavailable(format!("a call ended without an answer: {e}"))))
    }
}

#[async_trait]
impl Backend for Mongo {
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Option<Head>>> {
        self.run(|this| async move {
            if let Mode::Guarded(guarded) = &this.mode {
                guarded.settle(&this).await?;
            }
            let found = this.find(find::heads(&rooms), documents::head).await?;
            let mut found: std::collections::HashMap<_, _> = found.into_iter().collect();
            Ok(rooms.iter().map(|room| found.remove(room.as_str())).collect())
        })
        .await
    }

    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.run(|this| async move {
            match &this.mode {
                Mode::Transactions { session, tally, .. } => {
                    transaction::append(&this, &mut *session.lock().await, tally.as_ref(), &batch).await
                }
                Mode::Guarded(guarded) => guarded.append(&this, &batch).await,
            }
        })
        .await
    }

    async fn holds(&self, batch: Arc<Batch>) -> Result<bool> {
        self.run(|this| async move {
            match &this.mode {
                Mode::Transactions { session, .. } => {
                    let _no_attempt_is_under_way = session.lock().await;
                    transaction::holds(&this, &batch).await
                }
                Mode::Guarded(guarded) => Ok(guarded.holds(&batch).await),
            }
        })
        .await
    }

    async fn by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Option<Message>>> {
        self.run(|this| async move {
            let one = async |key: NonceKey| {
                let read = |d: &_| Bucket::new(&key.0, d)?.by_nonce(&key);
                let found = this.find(find::by_nonce(&key), read).await;
                found.map(|mut found| found.pop().flatten())
            };
            futures_util::stream::iter(keys).map(one).buffered(LOOKUPS).try_collect().await
        })
        .await
    }

    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.run(|this| async move { this.create_room(&room, now).await }).await
    }

    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.run(|this| async move { this.find(find::rooms(&page), documents::room_name).await }).await
    }

    async fn room(&self, room: RoomName) -> Result<Option<Room>> {
        self.run(|this| async move { this.room(&room).await }).await
    }

    async fn users(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.run(|this| async move {
            let users = this.find(find::members(&room, &page), documents::member).await?;
            // A room with members exists; only an empty answer needs the question.
            let exists = !users.is_empty() || this.room_exists(&room).await?;
            Ok(exists.then_some(users))
        })
        .await
    }

    async fn join(&self, room: RoomName, user: Username, invited: bool, now: Timestamp) -> Result<Joined> {
        self.run(move |this| async move { this.join(&room, &user, invited, now).await }).await
    }

    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.run(|this| async move { this.leave(&room, &user).await }).await
    }

    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        self.run(|this| async move { this.messages(&room, range, limit).await }).await
    }

    async fn message_count(&self, user: Username) -> Result<u64> {
        if let Some(looks) = &self.looks {
            return looks.message_count(user).await;
        }
        let one = |this: Arc<Inner>| async move { this.message_counts(&[user]).await };
        Ok(self.run(one).await?.pop().unwrap_or(0))
    }

    async fn mark_read(&self, user: Username, room: RoomName, seq: Seq) -> Result<Seq> {
        self.run(|this| async move { this.mark_read(&user, &room, seq).await }).await
    }

    async fn rooms_of(&self, user: Username, limit: u32) -> Result<Vec<UserRoom>> {
        self.run(|this| async move { this.rooms_of(&user, limit).await }).await
    }

    async fn attend(&self, room: RoomName, attendance: Attendance) -> Result<()> {
        self.run(|this| async move { this.attend(&room, &attendance).await }).await
    }

    async fn attendance(&self, room: RoomName) -> Result<Vec<(ProcessId, Attendance)>> {
        self.run(|this| async move { this.attendance(&room).await }).await
    }

    async fn announce(&self, signal: Signal) -> Result<()> {
        self.run(|this| async move { this.announce(&signal).await }).await
    }

    fn is_shared(&self) -> bool {
        matches!(self.inner.mode, Mode::Transactions { .. })
    }

    async fn watch(&self, feed: Arc<Feed>) -> Result<()> {
        match &self.inner.mode {
            Mode::Transactions { .. } => watch::watch(&self.inner, &feed).await,
            Mode::Guarded(guarded) => watch::watch_lease(guarded, &feed).await,
        }
    }

    async fn ping(&self) -> Result<()> {
        self.run(|this| async move {
            if let Mode::Guarded(guarded) = &this.mode {
                guarded.may_write()?;
            }
            this.database.run_command(doc! { "ping": 1 }).await.map(drop).map_err(error)
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.run(|this| async move {
            match &this.mode {
                Mode::Transactions { session, peers, .. } => {
                    let _no_attempt_is_under_way = session.lock().await;
                    peers.leave().await;
                }
                Mode::Guarded(guarded) => guarded.close().await,
            }
            Ok(())
        })
        .await
    }
}
