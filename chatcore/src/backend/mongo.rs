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
mod changes;
mod count_batcher;
mod counters;
mod documents;
mod echo;
mod evidence;
mod find;
mod lease;
mod moderation;
mod names;
mod peers;
mod pending_counts;
mod people;
mod reactions;
mod replica_set;
mod schema;
mod standalone;
mod step;
mod targets;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::doc;
use mongodb::error::{ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadPreference, WriteConcern};
use mongodb::{Client, Database};
use tokio::sync::Semaphore;

use self::count_batcher::CountBatcher;
use self::replica_set::ReplicaSet;
use self::schema::Server;
use self::standalone::Standalone;
use super::{Backend, ChangeSink, Commits, History};
use crate::error::{Error, Reason, Result};
use crate::model::{
    Append, Batch, Head, MessageChange, NonceKey, ProcessId, ProcessPresence, ReadState, RoomBatch,
    Signal, Stored, Target,
};
use crate::options::Options;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, RoomName, Seq, Username};

/// The database, if the URI names none.
const DATABASE: &str = "chat";
/// Connections: more than the driver's 10, because a poll of many clients comes in bursts.
const POOL: u32 = 64;
const WARM: u32 = 4;
/// Connections that reads leave to commits, other changes, and what watches the deployment.
const RESERVED: u32 = 16;
/// Changes besides commits that are made at once, and that may wait for their turn.
const MAX_CHANGES: usize = 8;
const MAX_WAITING: usize = 1_024;
/// How often a server says how it is, and how long that may be late: after both, the driver ends
/// all calls that hang on that server. A replica set elects another primary no faster.
const HEARTBEAT: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(2);

/// Look-ups by nonce that run side by side.
const LOOKUPS: usize = 16;

const DUPLICATE_KEY: i32 = 11_000;
const OUT_OF_DISK_SPACE: i32 = 14_031;

/// A write that was answered survives a failover and a crash.
fn durable(timeout: Duration) -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(timeout)
        .build()
}

struct Inner {
    database: Database,
    timeout: Duration,
    mode: Mode,
}

enum Mode {
    /// A replica set or a sharded cluster.
    ReplicaSet(Box<ReplicaSet>),
    /// A standalone mongod.
    Standalone(Standalone),
}

struct Mongo {
    inner: Arc<Inner>,
    /// Reads counts together. On a sharded cluster, where users are on many shards, and where this
    /// process alone writes, each is read alone.
    count_batcher: Option<CountBatcher>,
    /// Permits of reads: fewer than connections, so that commits never wait for one.
    reads: Arc<Semaphore>,
    /// Permits of changes that are no commits, and places to wait for one.
    changes: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Connects to the deployment at `uri` and prepares the database.
pub(crate) async fn open(uri: &str, options: &Options) -> Result<Arc<dyn Backend>> {
    let unusable =
        |e: mongodb::error::Error| Error::Open(Reason::with_cause(e.kind.to_string(), e));
    let timeout = options.timeout;
    let mut client_options = ClientOptions::parse(uri).await.map_err(unusable)?;
    client_options
        .app_name
        .get_or_insert_with(|| "chatcore".into());
    client_options.max_pool_size.get_or_insert(POOL);
    client_options.min_pool_size.get_or_insert(WARM);
    client_options.connect_timeout.get_or_insert(CONNECT);
    client_options.heartbeat_freq.get_or_insert(HEARTBEAT);
    client_options
        .server_selection_timeout
        .get_or_insert(timeout);
    client_options.write_concern = Some(durable(timeout));
    // What a secondary has may be old, and a transaction reads from the primary only.
    client_options.selection_criteria = Some(ReadPreference::Primary.into());
    let database_name = client_options
        .default_database
        .clone()
        .unwrap_or_else(|| DATABASE.into());
    let pool = client_options.max_pool_size.unwrap_or(POOL);
    let client = Client::with_options(client_options).map_err(unusable)?;
    let database = client.database(&database_name);

    let server = schema::prepare(&database, options.session_idle).await?;
    tracing::info!(
        version = server.version,
        kind = server.kind,
        database = database_name,
        "connected to MongoDB"
    );
    start(database, &server, options.timeout, pool).await
}

/// Takes this process's place among those that work on the database.
async fn start(
    database: Database,
    server: &Server,
    timeout: Duration,
    pool: u32,
) -> Result<Arc<dyn Backend>> {
    let mode = match server.transactions {
        true => Mode::ReplicaSet(Box::new(
            ReplicaSet::open(&database, !server.sharded).await?,
        )),
        false => Mode::Standalone(Standalone::open(&database).await?),
    };
    let inner = Arc::new(Inner {
        database,
        timeout,
        mode,
    });
    match &inner.mode {
        Mode::Standalone(guarded) => guarded.resolve(&inner).await?,
        Mode::ReplicaSet(replica_set) => replica_set.flush_all(&inner).await?,
    }

    let batches_counts = server.transactions && !server.sharded;
    let count_batcher = batches_counts.then(|| CountBatcher::start(inner.clone()));
    let reads =
        usize::try_from(pool.saturating_sub(RESERVED).max(pool / 2).max(1)).unwrap_or(usize::MAX);
    Ok(Arc::new(Mongo {
        inner,
        count_batcher,
        reads: Arc::new(Semaphore::new(reads)),
        changes: Arc::new(Semaphore::new(MAX_CHANGES)),
        waiting: Semaphore::new(MAX_WAITING),
    }))
}

fn error(e: mongodb::error::Error) -> Error {
    let code = match &*e.kind {
        ErrorKind::Command(e) => e.code,
        ErrorKind::Write(WriteFailure::WriteError(e)) => e.code,
        _ => 0,
    };
    if code == OUT_OF_DISK_SPACE {
        Error::Full
    } else {
        Error::Unavailable(Reason::with_cause(e.kind.to_string(), e))
    }
}

impl Mongo {
    /// Runs a read, once there is a permit for it.
    async fn run<T, F>(&self, call: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let permit = self
            .reads
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        self.run_holding(permit, call).await
    }

    /// Runs a change that is no commit, once it is its turn.
    async fn run_change<T, F>(&self, call: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let _place = self.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let permit = self
            .changes
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        self.run_holding(permit, call).await
    }

    /// Runs a call of the committer, which never waits for a permit.
    async fn run_commit<T, F>(&self, call: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.run_holding((), call).await
    }

    /// Runs a call in a task of its own, so that a caller that goes away ends nothing half done.
    async fn run_holding<T, F>(
        &self,
        permit: impl Send + 'static,
        call: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let call = call(self.inner.clone());
        let task = tokio::spawn(async move {
            let result = call.await;
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|e| {
            Err(Error::Unavailable(
                format!("a call ended without an answer: {e}").into(),
            ))
        })
    }
}

#[async_trait]
impl Commits for Mongo {
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>> {
        self.run_commit(|this| async move {
            if let Mode::Standalone(guarded) = &this.mode {
                guarded.resolve(&this).await?;
            }
            let read = |document: &_| {
                let room = documents::room_name(document).map_err(|e| e.to_string());
                Ok((room, documents::head(document).map(|(_, head)| head)))
            };
            let found = this.find(find::heads(&rooms), read).await?;
            let mut found: HashMap<_, _> = found
                .into_iter()
                .filter_map(|(room, head)| Some((room.ok()?, head)))
                .collect();
            Ok(rooms
                .iter()
                .map(|room| found.remove(room).transpose())
                .collect())
        })
        .await
    }

    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.run_commit(|this| async move {
            match &this.mode {
                Mode::ReplicaSet(replica_set) => replica_set.append(&this, &batch).await,
                Mode::Standalone(guarded) => guarded.append(&this, &batch).await,
            }
        })
        .await
    }

    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool> {
        self.run_commit(|this| async move {
            match &this.mode {
                Mode::ReplicaSet(replica_set) => replica_set.is_stored(&this, &batch).await,
                Mode::Standalone(guarded) => Ok(guarded.is_stored(&batch).await),
            }
        })
        .await
    }

    async fn targets(
        &self,
        targets: Vec<Target>,
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>> {
        self.run_commit(move |this| async move { this.targets(&targets, state).await })
            .await
    }

    fn locations_of(&self, part: &RoomBatch) -> Vec<i64> {
        buckets::locations(part)
    }

    fn location_after(&self, change: &MessageChange) -> i64 {
        changes::location_after(change)
    }

    async fn messages_by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>> {
        self.run_commit(|this| async move {
            let one = async |key: NonceKey| match this.by_nonce(&key).await {
                Err(unreadable @ Error::Corrupt(_)) => Ok(Err(unreadable)),
                found => Ok(Ok(found?)),
            };
            futures_util::stream::iter(keys)
                .map(one)
                .buffered(LOOKUPS)
                .try_collect()
                .await
        })
        .await
    }
}

#[async_trait]
impl History for Mongo {
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        self.run(|this| async move { this.messages(&room, range, limit).await })
            .await
    }

    async fn changed_messages(
        &self,
        room: RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.run(move |this| async move { this.changed(&room, after, limit).await })
            .await
    }

    async fn message_count(&self, user: Username) -> Result<u64> {
        if let Some(count_batcher) = &self.count_batcher {
            return count_batcher.message_count(user).await;
        }
        let one = |this: Arc<Inner>| async move { this.message_counts(&[user]).await };
        Ok(self.run(one).await?.pop().unwrap_or(0))
    }

    async fn mentions(
        &self,
        user: Username,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.run(move |this| async move { this.mentions(&user, before, limit).await })
            .await
    }

    async fn newest_mentions(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>> {
        self.run(move |this| async move {
            this.find(
                find::mentions(&user, Timestamp::MAX, limit),
                documents::place,
            )
            .await
        })
        .await
    }
}

#[async_trait]
impl Backend for Mongo {
    fn is_shared(&self) -> bool {
        matches!(self.inner.mode, Mode::ReplicaSet(_))
    }

    async fn watch(&self, sink: Arc<dyn ChangeSink>) -> Result<()> {
        match &self.inner.mode {
            Mode::ReplicaSet(replica_set) => {
                watch::watch(&self.inner, &replica_set.peers, &*sink).await
            }
            Mode::Standalone(guarded) => watch::watch_lease(guarded, &*sink).await,
        }
    }

    async fn publish_presence(&self, room: RoomName, attendance: ProcessPresence) -> Result<()> {
        self.run_change(|this| async move { this.attend(&room, &attendance).await })
            .await
    }

    async fn presence(&self, room: RoomName) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        self.run(|this| async move { this.attendance(&room).await })
            .await
    }

    async fn publish_signal(&self, signal: Signal) -> Result<()> {
        self.run_change(|this| async move { this.announce(&signal).await })
            .await
    }

    async fn ping(&self) -> Result<()> {
        self.run(|this| async move {
            if let Mode::Standalone(guarded) = &this.mode {
                guarded.may_write()?;
            }
            this.database
                .run_command(doc! { "ping": 1 })
                .await
                .map(drop)
                .map_err(error)
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.run_commit(|this| async move {
            match &this.mode {
                Mode::ReplicaSet(replica_set) => replica_set.close().await,
                Mode::Standalone(guarded) => guarded.close(&this).await,
            }
            Ok(())
        })
        .await
    }
}
