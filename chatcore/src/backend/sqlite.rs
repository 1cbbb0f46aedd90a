//! The embedded store: one SQLite file in WAL mode, held by one process.
//!
//! One thread writes and a few read, each with a connection of its own. A lock on the file keeps
//! other processes out, so no commit goes unnoticed: the committer may remember heads of rooms, and
//! followers learn of every message from the feed.

mod access;
mod accounts;
mod append;
mod columns;
mod commits;
mod database;
mod error;
mod history;
mod lock;
mod pool;
mod rooms;
mod schema;
mod sql;
mod statement;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use self::columns::head;
use self::database::Sqlite;
use self::statement::Statements as _;
use super::Backend;
use crate::error::{Error, Reason, Result};
use crate::options::Options;

/// Opens or creates the file at `path`.
pub(crate) async fn open(path: PathBuf, options: &Options) -> Result<Arc<dyn Backend>> {
    let session_idle = options.session_idle;
    let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path, session_idle));

    let sqlite = opened.await.map_err(|e| Error::Open(Reason::of(e)))??;
    Ok(Arc::new(sqlite))
}

#[async_trait]
impl Backend for Sqlite {
    async fn ping(&self) -> Result<()> {
        // A store that cannot be written is not ready, so this goes through the writer.
        self.write(|c| c.find(sql::HEAD, [""], head)).await?;

        self.check_file()
    }

    async fn close(&self) -> Result<()> {
        Sqlite::close(self).await;
        Ok(())
    }
}
