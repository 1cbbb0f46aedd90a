//! The connections to the file, and the two ways to use them.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::error;
use super::lock::FileLock;
use super::pool::{Pool, Priority};
use super::{schema, sql};
use crate::error::{Error, Reason, Result};

/// Time for which a statement waits for a lock that another program holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const READERS: usize = 3;

/// A database file that this process holds: one connection that writes, and a few that read.
pub(super) struct Sqlite {
    writer: Pool,
    readers: Pool,
    /// The threads of both pools hold the lock.
    lock: Weak<FileLock>,
    pub(super) session_idle: Duration,
}

impl Sqlite {
    /// Opens or creates the file at `path`. Blocks the thread.
    pub(super) fn open(path: &Path, session_idle: Duration) -> Result<Self> {
        let lock = Arc::new(FileLock::acquire(path)?);
        let mut writer = connect(lock.path())?;
        schema::prepare(&mut writer)?;
        let readers = (0..READERS)
            .map(|_| connect(lock.path()))
            .collect::<Result<Vec<_>>>()?;
        lock.check()?;

        Ok(Self {
            writer: Pool::start("chat-writer", vec![writer], Some(&lock))?,
            readers: Pool::start("chat-reader", readers, Some(&lock))?,
            lock: Arc::downgrade(&lock),
            session_idle,
        })
    }

    /// Runs a read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.run(Priority::Normal, job).await
    }

    /// Runs a read of the committer, before other reads that wait.
    pub(super) async fn read_for_commit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.run(Priority::Commit, job).await
    }

    /// Runs a write that is no commit of a batch.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.run(Priority::Normal, job).await
    }

    /// Runs a call of the committer on the connection that writes, before other writes that wait.
    pub(super) async fn write_for_commit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.run(Priority::Commit, job).await
    }

    /// Fails if the file was removed or replaced, or is not held any more.
    pub(super) fn check_file(&self) -> Result<()> {
        match self.lock.upgrade() {
            Some(lock) => lock.check(),
            None => Err(Error::Closed),
        }
    }

    /// Waits for the calls that are under way, closes the connections, and releases the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| {
        let text = format!("{}: {e}", path.display());
        Error::Open(Reason::with_cause(text, e))
    })?;

    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    connection.set_prepared_statement_cache_capacity(sql::ALL.len());
    Ok(connection)
}
