//! Many readers, slow readers, and readers who go without a word.

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use chat_testkit::live::{Events, Socket, make_room};
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::{Server, Start};
use chat_testkit::{announce, http::Client};
use futures_util::{FutureExt as _, SinkExt as _, future};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use support::Running;

on_every_store! {
    nothing_stays_of_readers_who_go_without_a_word,
    many_readers_of_one_room_all_get_everything,
}

/// For what must happen.
const SOON: Duration = Duration::from_secs(60);

/// Waits until `is_so` holds; fails with what it was last.
async fn until<T: std::fmt::Debug>(mut look: impl AsyncFnMut() -> T, is_so: impl Fn(&T) -> bool) {
    let began = Instant::now();
    loop {
        let now = look().await;
        if is_so(&now) {
            return;
        }
        assert!(began.elapsed() < SOON, "still {now:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn post(client: &mut Client, text: &str) {
    let reply = client
        .post(
            "/chat/a/messages",
            &json!({ "sender": "eve", "text": text }),
        )
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
}

async fn subscribed(
    address: std::net::SocketAddr,
    headers: &[(&'static str, &str)],
    after: i64,
) -> Socket {
    make_room(address, "a").await;
    let mut socket = Socket::open(address, headers).await.expect("a socket");
    socket
        .say(&json!({ "type": "subscribe", "room": "a", "after": after }))
        .await;
    socket.expect("subscribed").await;
    socket
}

async fn nothing_stays_of_readers_who_go_without_a_word(server: &Running) {
    const EACH: usize = 60;
    let mut client = server.client();
    post(&mut client, "x").await;
    let cookie = client
        .post("/auth/login", &json!({ "username": "ann" }))
        .await
        .cookie()
        .expect("a cookie");
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let headers = [("cookie", cookie.as_str())];
    let sockets =
        future::join_all((0..EACH).map(|_| subscribed(server.address, &headers, 0))).await;
    let streams = (0..EACH).map(|_| Events::open(server.address, "/chat/a/events", None));
    let streams = future::try_join_all(streams).await.expect("streams");
    let polls: Vec<_> = (0..EACH)
        .map(|_| {
            let mut client = server.client();
            tokio::spawn(async move { client.get("/chat/a/messages?after=1&wait=30").await.status })
        })
        .collect();
    until(
        async || server.store.live_counts(),
        |counts| counts.followers == 3 * EACH,
    )
    .await;
    let counts = server.store.live_counts();
    assert_eq!((counts.present, counts.users), (EACH, 1));
    assert!(tasks() > before + 3 * EACH);
    drop((sockets, streams));
    polls.iter().for_each(tokio::task::JoinHandle::abort);
    let left = async || {
        let counts = server.store.live_counts();
        (counts.followers, counts.present, counts.users, tasks())
    };
    until(left, |(followers, attending, users, tasks)| {
        (*followers, *attending, *users) == (0, 0, 0) && *tasks <= before
    })
    .await;
    assert_eq!(client.metric("chat_http_sockets").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_does_not_read_holds_up_nobody_and_little_memory_on_sqlite() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    hold_up_nobody(folder.path().join("chat.db").to_str().expect("UTF-8")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_does_not_read_holds_up_nobody_and_little_memory_on_a_replica_set() {
    hold_up_nobody(&mongod::database(Kind::ReplicaSet)).await;
}

/// The server is a process of its own, so that its memory is nobody else's.
async fn hold_up_nobody(store: &str) {
    const POSTS: i64 = 6_000;
    let server: Server = Start::new(env!("CARGO_BIN_EXE_chat-http"), store)
        .run()
        .expect("it starts");
    let mut reader = subscribed(server.address, &[], 0).await;
    let mut slow = future::join_all((0..10).map(|_| subscribed(server.address, &[], 0))).await;
    let text = "x".repeat(4_000);
    let writers = (0..4).map(|_| {
        let (address, text) = (server.address, text.clone());
        tokio::spawn(async move {
            let mut client = Client::new(address);
            for _ in 0..POSTS / 4 {
                post(&mut client, &text).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for seq in 1..=POSTS {
        assert_eq!(reader.expect("message").await["seq"], seq);
    }
    future::join_all(writers)
        .await
        .into_iter()
        .for_each(|writer| writer.expect("no panic"));
    let memory = server.memory_kib();
    announce(&format!(
        "10 sockets that do not read 24 MB each: the server has {} MiB",
        memory / 1024
    ));
    // Each of them would hold 24 MB if it was kept for it.
    assert!(memory < 120 * 1024, "{memory} KiB");

    // Whoever reads again is caught up, from wherever; if it was closed, it resumes.
    let mut late = slow.pop().expect("a socket");
    let mut seen = 0;
    while seen < POSTS {
        match late.next().await {
            Some(frame) if frame["type"] == "message" => {
                assert_eq!(frame["seq"], seen + 1);
                seen += 1;
            }
            Some(_) => {}
            None => late = subscribed(server.address, &[], seen).await,
        }
    }
    // The others are let go.
    let mut client = Client::new(server.address);
    drop((late, reader));
    until(
        async || client.metric("chat_http_sockets").await,
        |open| *open == 0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_is_read_slowly_and_disturbs_nobody() {
    const FLOOD: usize = 450;
    let server = Running::sqlite().await;
    let mut flooding = Socket::open(server.address, &[]).await.expect("a socket");
    let mut calm = subscribed(server.address, &[], 0).await;
    let began = Instant::now();
    for _ in 0..FLOOD {
        flooding
            .stream
            .feed(Message::text("{}"))
            .await
            .expect("sent");
    }
    flooding.stream.flush().await.expect("sent");
    post(&mut server.client(), "meanwhile").await;
    assert_eq!(calm.expect("message").await["text"], "meanwhile");
    for _ in 0..FLOOD {
        assert_eq!(flooding.next().await.expect("an answer")["status"], 400);
    }
    // 400 at once, then 100 a second.
    assert!(
        began.elapsed() >= Duration::from_millis(450),
        "{:?}",
        began.elapsed()
    );
}

async fn many_readers_of_one_room_all_get_everything(server: &Running) {
    const READERS: usize = 500;
    const POSTS: i64 = 50;
    let readers = future::join_all((0..READERS).map(|_| subscribed(server.address, &[], 0))).await;
    let mut client = server.client();
    let writing = async {
        for i in 1..=POSTS {
            post(&mut client, &i.to_string()).await;
        }
    };
    let reading = future::join_all(readers.into_iter().map(|mut reader| async move {
        for seq in 1..=POSTS {
            let message: Value = reader.expect("message").await;
            assert_eq!(
                (&message["seq"], &message["text"]),
                (&json!(seq), &json!(seq.to_string()))
            );
        }
        reader
    }));
    let (_, readers) = timeout(SOON, future::join(writing, reading))
        .await
        .expect("in time");
    // And nothing more.
    assert!(
        readers
            .into_iter()
            .all(|mut reader| reader.next().now_or_never().is_none())
    );
}
