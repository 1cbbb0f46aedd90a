//! The work that the benchmarks time. Each function does `n` of something and returns how long it
//! took; the floors do by hand what the database itself can do with the same messages.

pub mod changes;
pub mod diverse;
mod fixed;
pub mod floor;
pub mod load;
pub mod mounts;
pub mod process;
mod raw;
pub mod sockets;
pub mod turns;

pub use fixed::keep;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chat_http::{App, Settings};
use chat_testkit::http::Client;
use chatcore::{ChatStore, NewMessage, Range, RoomName};
use hyper::Method;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A message of usual length.
pub const TEXT: &str =
    "The quick brown fox jumps over the lazy dog, and the dog does not mind it very much today.";

/// A store in a temporary SQLite file.
pub async fn sqlite() -> (ChatStore, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = ChatStore::open(folder.path().join("chat.db").to_str().expect("UTF-8"))
        .await
        .expect("a store");
    (store, folder)
}

/// Starts a server on a store; it runs until the runtime ends.
pub async fn serve(store: ChatStore) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let app = App::new(
        store,
        Settings {
            post_rate: 0,
            ..Settings::default()
        },
    );
    tokio::spawn(chat_http::run(listener, app, std::future::pending()));
    address
}

fn new_message(room: &RoomName, writer: usize) -> NewMessage {
    let sender = format!("writer{writer}").parse().expect("a name");
    NewMessage::new(room.clone(), sender, TEXT.parse().expect("a text"))
}

/// `n` posts by `writers` writers into one room, each waiting for its answer before the next.
pub async fn posts(store: &ChatStore, room: &str, writers: usize, n: u64) -> Duration {
    let room: RoomName = room.parse().expect("a name");
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (writer, share) in shares(writers, n) {
        let (store, message) = (store.clone(), new_message(&room, writer));
        tasks.spawn(async move {
            for _ in 0..share {
                store.post(message.clone()).await.expect("stored");
            }
        });
    }
    tasks.join_all().await;
    started.elapsed()
}

/// The same over HTTP, each writer with a connection of its own.
pub async fn http_posts(address: SocketAddr, room: &str, writers: usize, n: u64) -> Duration {
    let path = format!("/chat/{room}/messages");
    let mut clients = Vec::new();
    for (writer, share) in shares(writers, n) {
        let mut client = Client::new(address);
        client.get("/healthz").await;
        let body =
            serde_json::json!({ "sender": format!("writer{writer}"), "text": TEXT }).to_string();
        clients.push((client, share, body));
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut client, share, body) in clients {
        let path = path.clone();
        tasks.spawn(async move {
            for _ in 0..share {
                assert_eq!(client.send(Method::POST, &path, &body).await.status, 201);
            }
        });
    }
    tasks.join_all().await;
    started.elapsed()
}

/// The same over two stores on one database, as two processes have them; half of the writers each.
pub async fn posts_from_two(
    stores: [&ChatStore; 2],
    room: &str,
    writers: usize,
    n: u64,
) -> Duration {
    let started = Instant::now();
    tokio::join!(
        posts(stores[0], room, writers / 2, n / 2),
        posts(stores[1], room, writers / 2, n / 2)
    );
    started.elapsed()
}

/// `n` reads of the newest 50 messages, one after the other.
pub async fn newest(store: &ChatStore, room: &RoomName, n: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..n {
        let read = store.messages(room, Range::Newest, 50).await.expect("read");
        assert_eq!(read.len(), 50);
    }
    started.elapsed()
}

/// `n` looks at a user's counter, one after the other.
pub async fn counts(store: &ChatStore, n: u64) -> Duration {
    let user = "writer0".parse().expect("a name");
    let started = Instant::now();
    for _ in 0..n {
        assert!(store.message_count(&user).await.expect("read") > 0);
    }
    started.elapsed()
}

/// Shares of `n` pieces of work, one for each of `writers`.
pub(crate) fn shares(writers: usize, n: u64) -> impl Iterator<Item = (usize, u64)> {
    let all = writers as u64;
    (0..writers).map(move |writer| (writer, n / all + u64::from((writer as u64) < n % all)))
}
