//! Databases for the cases, and the calls that many of them make.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chat_testkit::mongod::{self, Kind};
use chatcore::{
    Actor, ChatStore, Error, Message, NewMessage, Options, Posted, Range, Result, RoomName, Seq,
    SharedMessage, Timestamp, UserStore, Username,
};

/// A new database for one case. It may be opened more than once, one store after the other.
pub(crate) struct Database {
    pub(crate) address: String,
    /// True if more than one process may work on it.
    pub(crate) shared: bool,
    /// The folder of the file, which is removed with the case.
    _folder: Option<tempfile::TempDir>,
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let address = folder
            .path()
            .join("chat.db")
            .to_str()
            .expect("a UTF-8 path")
            .to_owned();

        Self {
            address,
            shared: false,
            _folder: Some(folder),
        }
    }

    pub(crate) fn replica_set() -> Self {
        Self {
            address: mongod::database(Kind::ReplicaSet),
            shared: true,
            _folder: None,
        }
    }

    pub(crate) fn standalone() -> Self {
        Self {
            address: mongod::database(Kind::Standalone),
            shared: false,
            _folder: None,
        }
    }

    /// Opens two stores, like two processes, where that is possible; else returns one twice.
    pub(crate) async fn open_twice(&self) -> [ChatStore; 2] {
        let store = self.open().await;
        let other = if self.shared {
            self.open().await
        } else {
            store.clone()
        };
        [store, other]
    }

    pub(crate) async fn open(&self) -> ChatStore {
        self.open_with(Options::default()).await
    }

    pub(crate) async fn open_with(&self, options: Options) -> ChatStore {
        ChatStore::open_with(&self.address, options)
            .await
            .expect("the store opens")
    }
}

/// The time limit of events that must happen; no test passes by waiting this long.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn room(name: &str) -> RoomName {
    name.parse().expect(name)
}

pub(crate) fn user(name: &str) -> Username {
    name.parse().expect(name)
}

pub(crate) fn seq(number: i64) -> Seq {
    Seq::new(number).expect("a seq")
}

pub(crate) fn message(to: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage::new(room(to), user(sender), text.parse().expect(text))
}

/// Returns a message by the owner of an account.
pub(crate) fn verified(to: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage {
        verified: true,
        ..message(to, sender, text)
    }
}

pub(crate) fn with_nonce(to: &str, sender: &str, text: &str, nonce: &str) -> NewMessage {
    message(to, sender, text).with_nonce(nonce.parse().expect(nonce))
}

pub(crate) async fn post(store: &ChatStore, to: &str, sender: &str, text: &str) -> Posted {
    store
        .post(message(to, sender, text))
        .await
        .expect("the post is stored")
}

/// Returns the newest messages of a room, at most 200.
pub(crate) async fn newest(store: &ChatStore, name: &str) -> Vec<SharedMessage> {
    store
        .messages(&room(name), Range::Newest, 200)
        .await
        .expect("read")
}

/// Returns the number of a user's messages.
pub(crate) async fn count(store: &ChatStore, name: &str) -> u64 {
    store.message_count(&user(name)).await.expect("counted")
}

/// Posts `n` messages, "1" to "n", all under way at once; they are stored in that order.
pub(crate) async fn post_many(store: &ChatStore, to: &str, sender: &str, n: usize) -> Vec<Message> {
    let mut posts = tokio::task::JoinSet::new();
    let mut stored = Vec::new();
    for i in 1..=n {
        let (store, message) = (store.clone(), message(to, sender, &i.to_string()));
        // The queue is bounded.
        if posts.len() >= 1_000 {
            stored.push(posts.join_next().await.expect("a post").expect("no panic"));
        }
        posts.spawn(async move {
            store
                .post(message)
                .await
                .expect("the post is stored")
                .message
        });
    }

    stored.extend(posts.join_all().await);
    stored.sort_by_key(|message| message.seq);
    stored
}

/// Posts a message by the owner of an account.
pub(crate) async fn post_verified(store: &ChatStore, to: &str, sender: &str, text: &str) -> Seq {
    store
        .post(verified(to, sender, text))
        .await
        .expect("stored")
        .message
        .seq
}

/// Registers an account for each of these names.
pub(crate) async fn register_all(store: &ChatStore, names: &[&str]) {
    for name in names {
        let password = "correct horse".parse().expect("a password");
        store
            .register(&user(name), &password, "")
            .await
            .expect("registered");
    }
}

pub(crate) fn as_account(store: &ChatStore, name: &str) -> UserStore {
    store.as_user(Actor::Account(user(name)))
}

pub(crate) fn as_guest(store: &ChatStore, name: &str) -> UserStore {
    store.as_user(Actor::Guest(user(name)))
}

#[track_caller]
pub(crate) fn assert_hidden<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::RoomNotFound)), "{result:?}");
}

#[track_caller]
pub(crate) fn assert_forbidden<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::Forbidden(_))), "{result:?}");
}

/// A clock that a test moves.
#[derive(Clone)]
pub(crate) struct TestClock(pub(crate) Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn at(time: &str) -> Self {
        Self(Arc::new(AtomicI64::new(
            time.parse::<Timestamp>().expect(time).as_micros(),
        )))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(crate) fn options(&self) -> Options {
        let time = self.0.clone();
        Options::default()
            .clock(move || Timestamp::from_micros(time.load(Ordering::SeqCst)).expect("a time"))
    }
}
