//! The store, as the program that owns it uses it.
//!
//! - [`open`]: opening and closing
//! - [`rooms`]: creating and listing rooms, topics
//! - [`members`]: who belongs to a room, and who is banned from it
//! - [`messages`]: posting and reading
//! - [`changes`]: editing, deleting and reacting
//! - [`follow`]: following rooms and users, presence and typing
//! - [`read_marks`]: what users have read
//! - [`lists`]: everything there is, private rooms included
//! - [`accounts`], [`sessions`]: names with passwords, and who is logged in
//!
//! The calls for one user are in [`UserStore`](crate::UserStore).

mod accounts;
mod changes;
mod follow;
mod lists;
mod members;
mod messages;
mod open;
mod read_marks;
mod rooms;
mod sessions;

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::stats::Stats;

/// Rooms, messages, counters, accounts and sessions, kept in SQLite or MongoDB.
///
/// A clone is another handle on the same store. All handles may be used at once from any number of
/// tasks. Once the store [is closed](Self::is_closed), every call fails with [`Error::Closed`].
/// Dropping the last handle, [`Follower`], [`Watcher`], [`UserWatcher`] and [`PresenceGuard`]
/// closes it in the background.
///
/// Its methods are for the program that owns the store, which may do everything.
/// [`as_user`](Self::as_user) gives the store as one user may see and change it.
///
/// # Guarantees
///
/// - **Durable**: a post that was answered survives the death of the process, of the database, and
///   of both.
/// - **Ordered**: in each room `seq` is 1, 2, 3, … without holes, `timestamp` strictly increases
///   with it, and a reader who sees a message can see every one before it.
/// - **Once**: the same sender's same nonce in the same room makes one message.
/// - **Counted**: [`message_count`](Self::message_count) equals the number of the user's stored
///   messages.
///
/// # Cancellation and panics
///
/// Every future may be dropped at any time. A read has no effect. A call that changes something has
/// then been made whole or not at all; it may go on after its future is dropped.
///
/// The futures need a Tokio runtime with its timer. Polled outside of one they panic; so do
/// [`type_in`](Self::type_in) on a store that is shared, and dropping a handle never.
///
/// # Example
///
/// ```
/// use chatcore::{ChatStore, NewMessage, Range};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let address = path.to_str().ok_or("path")?;
/// let store = ChatStore::open(address).await?;
/// let post = NewMessage::new("general".parse()?, "ann".parse()?, "hello".parse()?);
/// let posted = store.post(post).await?;
/// assert_eq!(posted.message.seq.get(), 1);
///
/// let read = store.messages(&"general".parse()?, Range::Newest, 50).await?;
/// assert_eq!(read, [posted.message]);
/// assert_eq!(store.message_count(&"ann".parse()?).await?, 1);
/// store.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// [`Error::Closed`]: crate::Error::Closed
/// [`Follower`]: crate::Follower
/// [`Watcher`]: crate::Watcher
/// [`UserWatcher`]: crate::UserWatcher
/// [`PresenceGuard`]: crate::PresenceGuard
#[derive(Clone)]
pub struct ChatStore {
    pub(crate) engine: Arc<Engine>,
}

impl fmt::Debug for ChatStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStore")
            .field("options", &self.engine.options)
            .finish_non_exhaustive()
    }
}

impl ChatStore {
    /// Succeeds if the store answers and this process may write to it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable), also if the file of the store was removed
    /// or replaced; [`Error::InUse`](crate::Error::InUse) and then
    /// [`Error::Closed`](crate::Error::Closed) if another process took the store over.
    pub async fn ping(&self) -> Result<()> {
        self.engine.call(self.engine.backend.ping()).await
    }

    /// Returns the counters of this process since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let queued = self.engine.committer.queued();
        self.engine.counters.snapshot(queued)
    }

    /// Returns true once nothing will be read or stored any more: the store was closed, was lost to
    /// another process, or cannot commit any more. Every call fails from then on.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.engine.feed.is_closed()
    }
}
