//! The store: checks, hands posts to the committer and the rest to the backend.

mod accounts;
mod changes;
mod moderation;
mod sessions;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::account::Hasher;
use crate::backend::Backend;
use crate::committer::Committer;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::live;
use crate::model::Page;
use crate::options::{MAX_MESSAGES, MAX_NAMES, Options, check_limit};
use crate::session::expired_before;
use crate::shared::SharedMessage;
use crate::timestamp::Timestamp;
use crate::types::{NewMessage, Posted, Privacy, Range, Room, RoomName, Username};

/// Rooms, messages, counters, accounts and sessions, kept in SQLite or MongoDB.
///
/// A clone is another handle on the same store. All handles may be used at once from any number of
/// tasks. Every future may be dropped at any time: a post is then stored whole or not at all. Once
/// the store [is closed](Self::is_closed), every call fails with [`Error::Closed`].
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
#[derive(Clone)]
pub struct ChatStore(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) feed: Arc<Feed>,
    committer: Committer,
    /// Tells if the store is closed to the end. Held while that is done.
    ended: Mutex<bool>,
    hasher: Hasher,
    pub(crate) options: Options,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Ends what follows the store on its behalf.
        self.feed.close();
    }
}

impl fmt::Debug for ChatStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStore")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl ChatStore {
    /// Opens the store at `address` with the default [`Options`]. See
    /// [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// Those of [`open_with`](Self::open_with).
    pub async fn open(address: &str) -> Result<Self> {
        Self::open_with(address, Options::default()).await
    }

    /// Opens the store at `address`: a `mongodb://` or `mongodb+srv://` URI, whose path names the
    /// database (`chat` if it names none), else the path of an SQLite file, which is created. No
    /// other forms of SQLite addresses are taken (`:memory:`, `file:…`, `sqlite:…`).
    ///
    /// Must be called in a Tokio runtime; the store works on that runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an option out of its range, [`Error::Open`] for an address that
    /// cannot be a store or a store of a newer version, [`Error::InUse`] if another process holds
    /// it (SQLite and standalone MongoDB have one user at a time), [`Error::Unavailable`] if the
    /// database does not answer.
    pub async fn open_with(address: &str, options: Options) -> Result<Self> {
        options.check()?;
        let backend = open_backend(address, &options).await?;
        Ok(Self::over(backend, options))
    }

    pub(crate) fn over(backend: Arc<dyn Backend>, options: Options) -> Self {
        let (feed, due) = Feed::new(!backend.is_shared());
        let feed = Arc::new(feed);
        let committer = Committer::start(
            backend.clone(),
            feed.clone(),
            options.clock.clone(),
            options.queue,
            options.timeout,
        );
        let (hasher, ended) = (Hasher::default(), Mutex::new(false));
        let shared = Arc::new(Shared {
            backend,
            feed,
            committer,
            ended,
            hasher,
            options,
        });
        live::start(&shared, due);
        Self(shared)
    }

    /// Stores a message, and returns it as stored.
    ///
    /// When this returns `Ok` the message is durable, visible to every reader, and counted; the
    /// room exists and the sender is a member of it. With a nonce that the sender used before in
    /// the room, nothing is stored and the earlier message comes back as
    /// [`repeated`](Posted::repeated).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is to answer a message that the room does not have.
    ///
    /// [`Error::NameClaimed`] and [`Error::NameReserved`] for a message that is not
    /// [`verified`](NewMessage::verified), if the sender's name, in any case, has an account: this
    /// is decided by the commit itself, so that once [`register`](Self::register) has returned, in
    /// any process, no such message is stored. In the same way, [`Error::RoomNotFound`] if the room
    /// is private and the sender no member, or if it does not exist and the post [may not create
    /// it](NewMessage::may_create_room), and [`Error::Banned`]; that holds for a repeat of an
    /// earlier post too, which is stored as it was. [`Error::NonceConflict`], [`Error::Busy`] and
    /// [`Error::Full`]. After all of these nothing was stored.
    ///
    /// [`Error::Unavailable`]: stored once or not at all; a repeat with the same nonce is safe.
    pub async fn post(&self, message: NewMessage) -> Result<Posted> {
        self.check_open()?;
        let mentions = self.mentioned_in(&message.room, &message.text).await?;
        within(
            self.0.options.timeout * 2,
            self.0.committer.post(message, mentions),
        )
        .await
    }

    /// Reads at most `limit` messages of a room, in `seq` order; none if there is no such room.
    ///
    /// The newest messages of rooms that are read or followed are kept in memory, and reading them
    /// does not touch the database. What this process posted is there at once; what another
    /// process posted, as soon as the database has told of it, which takes milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_MESSAGES`], [`Error::Unavailable`].
    pub async fn messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let limit = check_limit(limit, MAX_MESSAGES)?;
        self.read(room, range, limit, None, false).await
    }

    /// How many messages a user has stored; 0 for a name never seen.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn message_count(&self, user: &Username) -> Result<u64> {
        // What another process counts is heard of too late for a number that must be exact.
        if self.0.backend.is_shared() {
            return self.call(self.0.backend.message_count(user.clone())).await;
        }
        self.check_open()?;
        let feed = &self.0.feed;
        if let Some(known) = feed.count(user) {
            return Ok(known);
        }
        let reading = feed.begin_count(user);
        let count = self
            .call(self.0.backend.message_count(user.clone()))
            .await?;
        feed.end_count(user, reading, count);
        Ok(count)
    }

    /// Creates a public room that nobody owns; says whether it did, `false` meaning that it was
    /// there.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Full`].
    pub async fn create_room(&self, room: &RoomName) -> Result<bool> {
        self.call(self.0.backend.create_room(room.clone(), self.now()))
            .await
    }

    /// Lists at most `limit` public rooms in code point order, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::Unavailable`].
    pub async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<Vec<RoomName>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        self.call(self.0.backend.rooms(page)).await
    }

    /// What is known of a room.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn room(&self, room: &RoomName) -> Result<Room> {
        self.call(self.0.backend.room(room.clone()))
            .await?
            .ok_or(Error::RoomNotFound)
    }

    /// Lists at most `limit` members of a room in code point order, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`], [`Error::RoomNotFound`],
    /// [`Error::Unavailable`].
    pub async fn users(
        &self,
        room: &RoomName,
        after: Option<&Username>,
        limit: u32,
    ) -> Result<Vec<Username>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        self.call(self.0.backend.members(room.clone(), page))
            .await?
            .ok_or(Error::RoomNotFound)
    }

    /// Makes a user a member of a room, which is created if need be. Posting does it too.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`] for a private room that the user is not a member of,
    /// [`Error::Banned`], [`Error::Unavailable`], [`Error::Full`].
    pub async fn join(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.add_member(room, user, false).await
    }

    /// Ends a user's membership of a room, if there is one. Messages stay.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Unavailable`].
    pub async fn leave(&self, room: &RoomName, user: &Username) -> Result<()> {
        let left = self
            .call(self.0.backend.leave(room.clone(), user.clone()))
            .await;
        // Who leaves a private room sees no more of it. Whatever the result was, it may be done.
        if self.0.feed.privacy(room) != Some(Privacy::Public) {
            self.0.feed.evict(room, user);
        }
        if left? {
            Ok(())
        } else {
            Err(Error::RoomNotFound)
        }
    }

    /// Succeeds if the store answers and this process may write to it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], also if the file of the store was removed or replaced;
    /// [`Error::InUse`] and then [`Error::Closed`] if another process took the store over.
    pub async fn ping(&self) -> Result<()> {
        self.call(self.0.backend.ping()).await
    }

    /// Commits what was posted and writes what was marked as read before this call, refuses what
    /// comes after with [`Error::Closed`], and gives the store free for another process. Followers
    /// and watchers end. Dropping the last handle does the same in the background.
    ///
    /// It goes on if the future is dropped. It may be called again: each call waits until the store
    /// is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; calling again tries again.
    pub async fn close(&self) -> Result<()> {
        // First, so that nothing more is given to the committer.
        self.0.feed.close();
        self.0.committer.close();

        let store = self.clone();
        let ending = tokio::spawn(async move { store.end().await });
        ending.await.unwrap_or_else(|e| {
            Err(Error::Unavailable(
                format!("closing was cut off: {e}").into(),
            ))
        })
    }

    /// Waits for the last commit, writes the last marks and closes the backend, once.
    async fn end(&self) -> Result<()> {
        let mut ended = self.0.ended.lock().await;
        if *ended {
            return Ok(());
        }
        let Shared {
            backend,
            feed,
            committer,
            options,
            ..
        } = &*self.0;
        committer.ended().await;
        feed.read_marks.close();
        let write = |marks| within(options.timeout, backend.store_read_marks(marks));
        let marked = feed.read_marks.flush(write).await;
        // Marks that cannot be written must not keep the store from other processes.
        within(options.timeout, backend.close()).await?;
        *ended = true;
        marked
    }

    /// Returns true once nothing will be read or stored any more: the store was closed, was lost to
    /// another process, or cannot commit any more. Every call fails from then on.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.feed.is_closed()
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn now(&self) -> Timestamp {
        (self.0.options.clock)()
    }

    fn alive_since(&self, now: Timestamp) -> Timestamp {
        expired_before(now, self.0.options.session_idle)
    }

    pub(crate) async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.check_open()?;
        within(self.0.options.timeout, call).await
    }
}

pub(crate) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = |_| Err(Error::Unavailable("it did not answer in time".into()));
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(late)
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
    if address.is_empty() {
        return Err(Error::Open(
            "the address is empty; name a file, such as chat.db".into(),
        ));
    }
    // SQLite would take these for other than a file of that name.
    if address == ":memory:"
        || ["file:", "sqlite:"]
            .iter()
            .any(|scheme| address.starts_with(scheme))
    {
        return Err(Error::Open(
            format!("{address} is no path; name a file by its path, such as ./chat.db").into(),
        ));
    }
    if let Some((scheme, _)) = address.split_once("://") {
        return Err(Error::Open(
            format!("no kind of store has addresses that begin with {scheme}://").into(),
        ));
    }
    #[cfg(feature = "sqlite")]
    return crate::backend::sqlite::open(address.into(), options).await;
    #[cfg(not(feature = "sqlite"))]
    Err(Error::Open(
        "it is a path, and this program was built without SQLite".into(),
    ))
}
