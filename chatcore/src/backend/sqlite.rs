//! The embedded store: one SQLite file in WAL mode, held by one process.
//!
//! One thread writes and a few read, each with a connection of its own. A lock on the file keeps
//! other processes out, which is what makes it right that the committer remembers
//! room heads, and that followers hear of every message.

mod access;
mod accounts;
mod append;
mod columns;
mod commits;
mod history;
mod lock;
mod pool;
mod rooms;
mod schema;
mod sql;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use self::columns::head;
use self::lock::FileLock;
use self::pool::{Pool, Priority};
use super::Backend;
use crate::error::{Error, Reason, Result};
use crate::options::Options;

/// How long a statement waits for a lock that another program holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const READERS: usize = 3;

struct Sqlite {
    writer: Pool,
    readers: Pool,
    /// The threads of both pools have it.
    lock: Weak<FileLock>,
    session_idle: Duration,
}

/// Opens or creates the file at `path`.
pub(crate) async fn open(path: PathBuf, options: &Options) -> Result<Arc<dyn Backend>> {
    let session_idle = options.session_idle;
    let opened = tokio::task::spawn_blocking(move || -> Result<Sqlite> {
        let lock = Arc::new(FileLock::acquire(&path)?);
        let mut writer = connect(lock.path())?;
        schema::prepare(&mut writer)?;
        let readers = (0..READERS)
            .map(|_| connect(lock.path()))
            .collect::<Result<Vec<_>>>()?;
        lock.check()?;

        let writer = Pool::start("chat-writer", vec![writer], Some(&lock))?;
        let readers = Pool::start("chat-reader", readers, Some(&lock))?;
        Ok(Sqlite {
            writer,
            readers,
            lock: Arc::downgrade(&lock),
            session_idle,
        })
    });
    let sqlite = opened.await.map_err(|e| Error::Open(Reason::of(e)))??;
    Ok(Arc::new(sqlite))
}

fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|e| Error::Open(Reason::with_cause(format!("{}: {e}", path.display()), e)))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    connection.set_prepared_statement_cache_capacity(sql::ALL.len());
    Ok(connection)
}

fn error(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(e.to_string()),
        None => Error::Corrupt(e.to_string()),
        Some(_) => Error::Unavailable(Reason::of(e)),
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn ping(&self) -> Result<()> {
        let lock = self.lock.clone();
        // Through the writer, because a store that cannot be written is not ready.
        self.writer
            .run(Priority::Normal, move |c| {
                c.prepare_cached(sql::HEAD)?
                    .query_row([""], head)
                    .optional()?;
                Ok(lock
                    .upgrade()
                    .map_or(Err(Error::Closed), |lock| lock.check()))
            })
            .await?
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await;
        self.writer.close().await;
        Ok(())
    }
}
