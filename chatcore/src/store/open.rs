//! Opening and closing a store.

#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;

use super::ChatStore;
use crate::backend::Backend;
use crate::background;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::options::Options;

impl ChatStore {
    /// Opens the store at `address` with the default [`Options`], as
    /// [`open_with`](Self::open_with) does.
    ///
    /// # Errors
    ///
    /// Those of [`open_with`](Self::open_with).
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn open(address: &str) -> Result<Self> {
        Self::open_with(address, Options::default()).await
    }

    /// Opens the store at `address`: a `mongodb://` or `mongodb+srv://` URI, whose path names the
    /// database (`chat` if it names none), else the path of an SQLite file, which is created. No
    /// other forms of SQLite addresses are taken (`:memory:`, `file:…`, `sqlite:…`).
    ///
    /// The store works on the Tokio runtime in which it is opened. If the future is dropped,
    /// nothing stays open.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an option out of its range, [`Error::Open`] for an address that
    /// cannot be a store or a store of a newer version, [`Error::InUse`] if another process holds
    /// it (SQLite and standalone MongoDB have one user at a time), [`Error::Unavailable`] if the
    /// database does not answer.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn open_with(address: &str, options: Options) -> Result<Self> {
        options.check()?;
        let backend = open_backend(address, &options).await?;
        Ok(Self::over(backend, options))
    }

    /// Opens the store in an SQLite file, which is created unless it exists.
    ///
    /// The store works on the Tokio runtime in which it is opened. If the future is dropped,
    /// nothing stays open.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an option out of its range, [`Error::Open`] for a path that cannot be
    /// a store or a store of a newer version, [`Error::InUse`] if another process holds it,
    /// [`Error::Unavailable`] if the file cannot be read or written.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[cfg(feature = "sqlite")]
    pub async fn open_sqlite(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        options.check()?;
        let path = path.as_ref().to_owned();
        let backend = crate::backend::sqlite::open(path, &options).await?;
        Ok(Self::over(backend, options))
    }

    /// Opens the store in a MongoDB database: `uri` is a `mongodb://` or `mongodb+srv://` URI,
    /// whose path names the database (`chat` if it names none).
    ///
    /// The store works on the Tokio runtime in which it is opened. If the future is dropped,
    /// nothing stays open.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an option out of its range, [`Error::Open`] for a URI that cannot be
    /// read or a store of a newer version, [`Error::InUse`] if another process holds a standalone
    /// mongod, [`Error::Unavailable`] if no server answers within the time limit.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[cfg(feature = "mongodb")]
    pub async fn open_mongodb(uri: &str, options: Options) -> Result<Self> {
        options.check()?;
        let backend = crate::backend::mongo::open(uri, &options).await?;
        Ok(Self::over(backend, options))
    }

    /// Returns the store that keeps its data in `backend`.
    pub(crate) fn over(backend: Arc<dyn Backend>, options: Options) -> Self {
        let (engine, presence_updates) = Engine::new(backend, options);
        let engine = Arc::new(engine);
        background::start(&engine, presence_updates);
        tracing::info!(shared = engine.backend.is_shared(), "the store is open");
        Self { engine }
    }

    /// Commits what was posted and writes what was marked as read before this call, refuses what
    /// comes after with [`Error::Closed`], and releases the store to another process. Followers
    /// and watchers end.
    ///
    /// It goes on if the future is dropped. It may be called again: each call waits until the store
    /// is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; calling again tries again.
    pub async fn close(&self) -> Result<()> {
        self.engine.close().await
    }
}

async fn open_backend(address: &str, options: &Options) -> Result<Arc<dyn Backend>> {
    if address.starts_with("mongodb://") || address.starts_with("mongodb+srv://") {
        #[cfg(feature = "mongodb")]
        return crate::backend::mongo::open(address, options).await;
        #[cfg(not(feature = "mongodb"))]
        return Err(Error::Open(
            "it is a MongoDB address, and this program was built without MongoDB".into(),
        ));
    }

    check_path(address)?;
    #[cfg(feature = "sqlite")]
    return crate::backend::sqlite::open(address.into(), options).await;
    #[cfg(not(feature = "sqlite"))]
    Err(Error::Open(
        "it is a path, and this program was built without SQLite".into(),
    ))
}

/// Fails for an address that is no path, though SQLite or a file system would take it.
fn check_path(address: &str) -> Result<()> {
    if address.is_empty() {
        return Err(Error::Open(
            "the address is empty; name a file, such as chat.db".into(),
        ));
    }
    let is_sqlite_uri = address.starts_with("file:") || address.starts_with("sqlite:");
    if address == ":memory:" || is_sqlite_uri {
        let reason = format!("{address} is no path; name a file by its path, such as ./chat.db");
        return Err(Error::Open(reason.into()));
    }
    if let Some((scheme, _)) = address.split_once("://") {
        let reason = format!("no kind of store has addresses that begin with {scheme}://");
        return Err(Error::Open(reason.into()));
    }
    Ok(())
}
