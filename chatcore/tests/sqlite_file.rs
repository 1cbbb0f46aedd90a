//! The file of an SQLite store: who may have it, under which names, and what becomes of it.
#![cfg(feature = "sqlite")]

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use chatcore::{ChatStore, Error, NewMessage, Range};

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

async fn open(path: &Path) -> Result<ChatStore, Error> {
    ChatStore::open(text(path)).await
}

async fn post(store: &ChatStore) -> i64 {
    let message = NewMessage::new(
        "a".parse().expect("a name"),
        "ann".parse().expect("a name"),
        "x".parse().expect("a text"),
    );
    store.post(message).await.expect("stored").message.seq.get()
}

/// SQLite's locks on a file, as Linux tells them.
fn sqlite_locks(path: &Path) -> Vec<String> {
    let inode = format!(":{} ", std::fs::metadata(path).expect("a file").ino());
    let locks = std::fs::read_to_string("/proc/locks").expect("the table of locks");
    let of_file = locks
        .lines()
        .filter(|line| line.contains("POSIX") && line.contains(&inode));

    // Without the running number.
    of_file
        .filter_map(|line| line.split_once(' '))
        .map(|(_, lock)| lock.to_owned())
        .collect()
}

#[tokio::test]
async fn a_file_is_one_store_by_whatever_name() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    let file = at("chat.db");
    let store = open(&file).await.expect("opened");
    assert_eq!(post(&store).await, 1);

    symlink(&file, at("link.db")).expect("a symbolic link");
    symlink(folder.path(), at("folder")).expect("a symbolic link");
    std::fs::hard_link(&file, at("hard.db")).expect("a hard link");
    let names: Vec<PathBuf> = [
        "chat.db",
        "./chat.db",
        "link.db",
        "folder/link.db",
        "hard.db",
    ]
    .map(at)
    .into();

    let locks = sqlite_locks(&file);
    assert!(
        !locks.is_empty(),
        "SQLite keeps a lock on a file that is open"
    );

    for name in &names {
        match open(name).await {
            Err(Error::InUse(reason)) => {
                assert!(reason.contains(&std::process::id().to_string()), "{reason}");
            }
            other => panic!("{}: {other:?}", name.display()),
        }
    }

    // A closed descriptor of the file would have cost the store these.
    assert_eq!(sqlite_locks(&file), locks);

    store.close().await.expect("closed");
    for (name, seq) in names.iter().zip(2..) {
        let store = open(name).await.expect("it is free");
        assert_eq!(post(&store).await, seq);
        store.close().await.expect("closed");
    }

    // Dropped, it is free as soon as its threads have ended.
    drop(open(&file).await.expect("opened"));
    while let Err(error) = open(&file).await {
        assert!(matches!(error, Error::InUse(_)), "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_address_that_is_no_path_is_refused() {
    for address in [
        "",
        ":memory:",
        "file:chat.db",
        "file::memory:",
        "sqlite:chat.db",
        "sqlite::memory:",
    ] {
        let refused = ChatStore::open(address).await;
        assert!(
            matches!(refused, Err(Error::Open(_))),
            "{address}: {refused:?}"
        );
        assert!(
            address.is_empty() || !Path::new(address).exists(),
            "{address}"
        );
    }

    // A file can still have such a name.
    let folder = tempfile::tempdir().expect("a temporary directory");
    for name in [":memory:", "file:chat.db?mode=memory"] {
        let path = folder.path().join(name);
        let store = open(&path).await.expect("opened");
        post(&store).await;
        store.close().await.expect("closed");
        assert_eq!(post(&open(&path).await.expect("opened")).await, 2, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (file, aside) = (
        folder.path().join("chat.db"),
        folder.path().join("aside.db"),
    );
    let store = open(&file).await.expect("opened");
    store.ping().await.expect("it is there");

    std::fs::rename(&file, &aside).expect("moved");
    let removed = store.ping().await;
    assert!(
        matches!(&removed, Err(Error::Unavailable(reason)) if reason.contains("removed")),
        "{removed:?}"
    );

    std::fs::copy(&aside, &file).expect("copied");
    let replaced = store.ping().await;
    assert!(
        matches!(&replaced, Err(Error::Unavailable(reason)) if reason.contains("replaced")),
        "{replaced:?}"
    );

    std::fs::rename(&aside, &file).expect("moved back");
    store.ping().await.expect("it is there again");
}

#[tokio::test]
async fn a_time_that_cannot_be_is_reported_and_ends_nothing() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("chat.db");
    let store = open(&file).await.expect("opened");
    post(&store).await;
    store.close().await.expect("closed");

    for column in ["messages SET timestamp", "rooms SET last_timestamp"] {
        let connection = rusqlite::Connection::open(&file).expect("opened");
        connection
            .execute(&format!("UPDATE {column} = {}", i64::MAX), [])
            .expect("changed");
    }

    let store = open(&file).await.expect("opened");
    let room = "a".parse().expect("a name");
    let read = store.messages(&room, Range::Newest, 1).await;
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");

    let refused = store.room(&room).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");

    let message = NewMessage::new(
        room,
        "ann".parse().expect("a name"),
        "x".parse().expect("a text"),
    );
    let refused = store.post(message.clone()).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");

    let elsewhere = NewMessage {
        room: "b".parse().expect("a name"),
        ..message
    };
    assert_eq!(
        store
            .post(elsewhere)
            .await
            .expect("stored")
            .message
            .seq
            .get(),
        1
    );
}
