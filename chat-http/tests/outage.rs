//! The store goes away and comes back: requests fail in bounded time, the server stays up, tells
//! that it is not ready, and recovers by itself.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_http::{App, Settings};
use chat_testkit::announce;
use chat_testkit::checker::Load;
use chat_testkit::http::{Client, Reply};
use chat_testkit::live::{Socket, make_room};
use chat_testkit::mongod::{Deployment, Kind, with_database};
use chat_testkit::server::{Server, Start};
use chatcore::{ChatStore, Options};
use futures_util::{SinkExt as _, StreamExt as _};
use mongodb::bson::doc;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
/// The limits of the store are 5 s for a call and 10 s for a post; the rest is for a slow machine.
const BOUND: Duration = Duration::from_secs(20);

/// Every kind of request that needs the store fails with `503`, `Retry-After` and a sentence,
/// within the bound; what does not need it is answered.
async fn is_out(address: SocketAddr) {
    let mut client = Client::new(address);
    let post = json!({ "sender": "ann", "text": "during the outage" });
    let started = Instant::now();
    let check = |what: &str, reply: Reply| {
        assert_eq!(reply.status, 503, "{what}: {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{what}");
        assert!(
            reply.json()["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("out of reach")),
            "{what}"
        );
    };
    check("post", client.post("/chat/a/messages", &post).await);
    let after_post = started.elapsed();
    for path in ["/chat/a/messages", "/chat/", "/users/ann/count", "/readyz"] {
        check(path, client.get(path).await);
    }
    assert!(
        after_post < BOUND && started.elapsed() < BOUND * 3,
        "{after_post:?}, {:?}",
        started.elapsed()
    );
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.get("/static/style.css").await.status, 200);
}

/// The server takes posts again, without a restart.
async fn recovers(address: SocketAddr) {
    let started = Instant::now();
    let mut client = Client::new(address);
    while client.get("/readyz").await.status != 200 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it does not recover"
        );
    }
    let posted = client
        .post(
            "/chat/a/messages",
            &json!({ "sender": "bob", "text": "after it" }),
        )
        .await;
    assert_eq!(posted.status, 201, "{}", posted.text());
}

async fn goes_away(kind: Kind, out: impl Fn(&mut Deployment), back: impl Fn(&mut Deployment)) {
    let mut mongo = Deployment::start(kind, 1);
    let server = Start::new(SERVER, &with_database(&mongo.uri(), "outage"))
        .run()
        .expect("it starts");
    let load = Load::start(&[server.address], 8, 2).await;
    load.wait_for(100).await;
    out(&mut mongo);
    is_out(server.address).await;
    back(&mut mongo);
    recovers(server.address).await;
    load.wait_for(100).await;
    // The messages of this test are not the load's; they are in a room of their own.
    let verdict = load.verify(server.address).await;
    let strangers = verdict
        .faults
        .iter()
        .filter(|fault| !fault.contains("nobody sent"))
        .count();
    assert!(
        verdict.lost == 0 && verdict.doubled == 0 && strangers == 0,
        "{verdict:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_set_is_survived() {
    goes_away(
        Kind::ReplicaSet,
        |mongo| mongo.nodes[0].kill(),
        |mongo| mongo.nodes[0].run(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_standalone_is_survived() {
    goes_away(
        Kind::Standalone,
        |mongo| mongo.nodes[0].kill(),
        |mongo| mongo.nodes[0].run(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_replica_set_is_survived() {
    goes_away(
        Kind::ReplicaSet,
        |mongo| mongo.nodes[0].signal("STOP"),
        |mongo| mongo.nodes[0].signal("CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_standalone_is_survived() {
    goes_away(
        Kind::Standalone,
        |mongo| mongo.nodes[0].signal("STOP"),
        |mongo| mongo.nodes[0].signal("CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_steps_down_is_followed() {
    let mongo = Deployment::start(Kind::ReplicaSet, 3);
    let server = Start::new(SERVER, &with_database(&mongo.uri(), "outage"))
        .run()
        .expect("it starts");
    let load = Load::start(&[server.address], 8, 2).await;
    for _ in 0..2 {
        load.wait_for(100).await;
        let primary = mongo.wait_for_primary();
        mongo.nodes[primary]
            .admin(doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 3, "force": true });
    }
    load.wait_for(100).await;
    recovers(server.address).await;
    let verdict = load.verify(server.address).await;
    let strangers = verdict
        .faults
        .iter()
        .filter(|fault| !fault.contains("nobody sent"))
        .count();
    assert!(
        verdict.lost == 0 && verdict.doubled == 0 && strangers == 0,
        "{verdict:#?}"
    );
}

/// Commands that fail in the middle of a batch: each is repeated or found, and the post is answered
/// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_fails_in_the_middle_of_a_batch_is_made_good() {
    // The commands of a post, and how many of the same name go before.
    let on_replica_set = [
        ("update", 0),
        ("insert", 0),
        ("update", 1),
        ("commitTransaction", 0),
    ];
    let on_standalone = [("update", 0), ("insert", 0), ("update", 1), ("update", 2)];
    for (kind, commands) in [
        (Kind::ReplicaSet, on_replica_set),
        (Kind::Standalone, on_standalone),
    ] {
        let mongo = Arc::new(Deployment::start(kind, 1));
        let uri = with_database(&mongo.uri(), "outage");
        let separator = if uri.contains('?') { '&' } else { '?' };
        let server = Start::new(SERVER, &format!("{uri}{separator}appName=under-test"))
            .run()
            .expect("it starts");
        let mut expected = 0;
        let mut failed = 0;
        for (command, skip) in commands {
            for failure in [
                doc! { "closeConnection": true },
                doc! { "errorCode": 91, "errorLabels": ["TransientTransactionError"] },
                doc! { "errorCode": 11_600 },
                // Done, and answered as if it were not known whether it will last.
                doc! { "writeConcernError": { "code": 64, "errmsg": "by plan" } },
            ] {
                let context = format!("{kind:?} {command} {skip} {failure}");
                let mut data = doc! { "failCommands": [command], "appName": "under-test" };
                data.extend(failure);
                let point = mongo.clone();
                let fail = move || {
                    // Every such command from then on, until the first one has failed.
                    let point = &point.nodes[0];
                    let switch = doc! { "configureFailPoint": "failCommand", "mode": { "skip": skip }, "data": data };
                    let entered = point.admin(switch).get_i32("count").expect("a count");
                    move |mongo: &Deployment| {
                        let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": entered + 1, "maxTimeMS": 2_000 };
                        let hit = mongo.nodes[0].try_admin(wait).is_ok();
                        mongo.nodes[0]
                            .admin(doc! { "configureFailPoint": "failCommand", "mode": "off" });
                        hit
                    }
                };
                let until_hit = tokio::task::spawn_blocking(fail)
                    .await
                    .expect("the point is set");
                let address = server.address;
                let body = json!({ "sender": "ann", "text": context });
                let post = tokio::spawn(async move {
                    Client::new(address).post("/chat/a/messages", &body).await
                });
                let point = mongo.clone();
                let hit = tokio::task::spawn_blocking(move || until_hit(&point))
                    .await
                    .expect("the point is off");
                let posted = post.await.expect("an answer");
                expected += 1;
                failed += u32::from(hit);
                assert_eq!(posted.status, 201, "{context}: {}", posted.text());
                assert_eq!(posted.json()["seq"], expected, "{context}");
            }
        }
        assert!(
            failed >= 12,
            "{kind:?}: only {failed} of {expected} commands failed"
        );
        let mut client = Client::new(server.address);
        let read = client.get("/chat/a/messages?limit=200").await.json();
        assert_eq!(
            read.as_array().map(Vec::len),
            usize::try_from(expected).ok()
        );
        assert_eq!(
            client.get("/users/ann/count").await.json()["message_count"],
            expected
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_lease_writes_no_more() {
    let mongo = Deployment::start(Kind::Standalone, 1);
    let start = Start::new(SERVER, &with_database(&mongo.uri(), "outage"));
    let first = start.run().expect("it starts");
    let mut client = Client::new(first.address);
    assert_eq!(
        client
            .post("/chat/a/messages", &json!({ "sender": "ann", "text": "1" }))
            .await
            .status,
        201
    );
    first.signal("STOP");
    // Waits until the lease has stood still for long enough.
    let second = start.run().expect("it takes over");
    let mut successor = Client::new(second.address);
    assert_eq!(
        successor
            .post("/chat/a/messages", &json!({ "sender": "ann", "text": "2" }))
            .await
            .json()["seq"],
        2
    );
    first.signal("CONT");
    let mut late = Client::new(first.address);
    assert_eq!(
        late.post(
            "/chat/a/messages",
            &json!({ "sender": "ann", "text": "late" })
        )
        .await
        .status,
        503
    );
    assert_eq!(late.get("/readyz").await.status, 503);
    assert_eq!(
        successor
            .post("/chat/a/messages", &json!({ "sender": "ann", "text": "3" }))
            .await
            .json()["seq"],
        3
    );
    assert_eq!(
        successor.get("/users/ann/count").await.json()["message_count"],
        3
    );
}

/// Reads an event stream until a line begins so.
async fn line(lines: &mut Lines<BufReader<TcpStream>>, start: &str) -> String {
    let until = async {
        loop {
            let line = lines
                .next_line()
                .await
                .expect("read")
                .expect("the stream goes on");
            if line.starts_with(start) {
                return line;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until)
        .await
        .unwrap_or_else(|_| panic!("no {start}"))
}

/// A frame that waits for the store delays neither pings, nor other rooms, nor the end of the
/// server; an event stream goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_and_event_streams_stay_open_and_are_served_meanwhile() {
    let mongo = Deployment::start(Kind::Standalone, 1);
    let store = ChatStore::open(&with_database(&mongo.uri(), "outage"))
        .await
        .expect("a store");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let app = App::new(
        store,
        Settings {
            post_rate: 0,
            ..Settings::default()
        },
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(chat_http::run(listener, app, async { drop(stopped.await) }));

    let mut client = Client::new(address);
    let post = async |client: &mut Client, text: &str| {
        let posted = client
            .post(
                "/chat/a/messages",
                &json!({ "sender": "eve", "text": text }),
            )
            .await;
        assert_eq!(posted.status, 201, "{}", posted.text());
    };
    post(&mut client, "1").await;
    make_room(address, "b").await;
    let mut sockets = Vec::new();
    for name in ["ann", "bob"] {
        let login = client
            .post("/auth/login", &json!({ "username": name }))
            .await;
        let cookie = login.cookie().expect("a cookie");
        let mut socket = Socket::open(address, &[("cookie", &cookie)])
            .await
            .expect("a socket");
        socket
            .say(&json!({ "type": "subscribe", "room": "a" }))
            .await;
        socket.expect("subscribed").await;
        sockets.push(socket);
    }
    let [mut ann, mut bob] = <[Socket; 2]>::try_from(sockets).expect("two");
    let mut events = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /chat/a/events?after=0 HTTP/1.1\r\nhost: {address}\r\n\r\n");
    events.write_all(request.as_bytes()).await.expect("sent");
    let mut events = BufReader::new(events).lines();
    line(&mut events, "id: 1").await;

    mongo.nodes[0].signal("STOP");
    ann.say(&json!({ "type": "subscribe", "room": "b" })).await;
    ann.say(&json!({ "type": "read", "room": "a", "seq": 1 }))
        .await;
    ann.stream
        .send(Message::Ping("there?".into()))
        .await
        .expect("sent");
    bob.say(&json!({ "type": "typing", "room": "a" })).await;
    let began = Instant::now();
    let (mut pong, mut typing) = (false, false);
    while !(pong && typing) {
        match ann
            .stream
            .next()
            .await
            .expect("a frame")
            .expect("a connection")
        {
            Message::Pong(_) => pong = true,
            Message::Text(text) if text.contains("presence") => {}
            Message::Text(text) if text.contains("typing") => typing = true,
            other => panic!("before the store could answer: {other:?}"),
        }
    }
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    for room in ["b", "a"] {
        let error = ann.expect("error").await;
        assert_eq!(
            (&error["status"], &error["room"]),
            (&json!(503), &json!(room)),
            "{error}"
        );
    }

    // The first comment comes while nothing can be read.
    line(&mut events, ":").await;
    mongo.nodes[0].signal("CONT");
    recovers(address).await;
    post(&mut client, "back again").await;
    loop {
        let data = line(&mut events, "data: ").await;
        if data.contains("back again") {
            break;
        }
    }
    ann.say(&json!({ "type": "subscribe", "room": "b" })).await;
    assert_eq!(ann.expect("subscribed").await["room"], "b");

    mongo.nodes[0].signal("STOP");
    ann.say(&json!({ "type": "subscribe", "room": "c" })).await;
    let began = Instant::now();
    drop(stop);
    server.await.expect("no panic");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        ann.closed().await.map(|close| u16::from(close.code)),
        Some(1001)
    );
    mongo.nodes[0].signal("CONT");
}

/// While the store stands still posts wait in a bounded queue; what finds no room is refused at
/// once, and is not stored later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_answers_503_and_stores_nothing_of_it() {
    let mongo = Deployment::start(Kind::ReplicaSet, 1);
    let address = with_database(&mongo.uri(), "outage");
    let store = ChatStore::open_with(&address, Options::default().queue(2))
        .await
        .expect("a store");
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

    mongo.nodes[0].signal("STOP");
    let mut posts = JoinSet::new();
    let (mut refused, mut stored) = (Vec::new(), Vec::new());
    let mut sort = |text: u32, reply: Reply| match (reply.status, reply.json()["detail"].as_str()) {
        (201, _) => stored.push(text),
        (503, Some(detail)) if detail.contains("nothing was stored") => {
            assert_eq!(reply.header("retry-after"), Some("1"));
            refused.push(text);
        }
        other => panic!("{other:?}"),
    };
    let mut next = 0_u32;
    // One is being committed and two wait, unless more of them came together at first.
    let (text, first) = loop {
        let text = next;
        next += 1;
        posts.spawn(async move {
            let body = json!({ "sender": "ann", "text": text.to_string() });
            (
                text,
                Client::new(address).post("/chat/a/messages", &body).await,
            )
        });
        match tokio::time::timeout(Duration::from_millis(100), posts.join_next()).await {
            Ok(answered) => break answered.expect("a post").expect("no panic"),
            Err(_) => assert!(next < 40, "none of {next} posts was refused"),
        }
    };
    sort(text, first);
    mongo.nodes[0].signal("CONT");
    for (text, reply) in posts.join_all().await {
        sort(text, reply);
    }
    assert!(
        !refused.is_empty() && stored.len() >= 2,
        "{refused:?} {stored:?}"
    );
    let read = Client::new(address)
        .get("/chat/a/messages?limit=200")
        .await
        .json();
    let mut texts: Vec<u32> = read
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["text"].as_str()?.parse().ok())
        .collect();
    texts.sort_unstable();
    stored.sort_unstable();
    assert_eq!(texts, stored);
}

/// Runs a server whose files cannot grow beyond a size, by the limit that the system has for it.
fn limited(start: &Start, bytes: u64) -> Server {
    let server = start.command();
    let mut shell = Command::new("sh");
    // The signal that goes with the limit would end the server; a full disk sends none.
    shell
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(server.get_program())
        .args(server.get_args());
    shell
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let server = Server::spawn(shell).expect("it starts");
    limit(&server, &bytes.to_string());
    server
}

fn limit(server: &Server, bytes: &str) {
    let set = Command::new("prlimit")
        .args([
            "--pid",
            &server.pid().to_string(),
            &format!("--fsize={bytes}:"),
        ])
        .status();
    assert!(set.is_ok_and(|status| status.success()), "prlimit");
}

/// Posts until the store is full, then makes room and goes on.
async fn fills_up(server: &Server, make_room: impl FnOnce()) {
    let mut client = Client::new(server.address);
    let text = "x".repeat(3_000);
    let mut stored = 0_u64;
    let refused = loop {
        let reply = client
            .post(
                "/chat/a/messages",
                &json!({ "sender": "ann", "text": text }),
            )
            .await;
        if reply.status != 201 {
            break reply;
        }
        stored += 1;
        assert!(stored < 10_000, "the disk was never full");
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    // Posts that were answered are there, and reading goes on.
    assert_eq!(
        client.get("/users/ann/count").await.json()["message_count"],
        stored
    );
    make_room();
    let next = client
        .post(
            "/chat/a/messages",
            &json!({ "sender": "ann", "text": "there is room" }),
        )
        .await;
    assert_eq!(
        (next.status, next.json()["seq"].clone()),
        (201, json!(stored + 1))
    );
    assert_eq!(
        client.get("/users/ann/count").await.json()["message_count"],
        stored + 1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_grow_answers_503_and_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let start = Start::new(
        SERVER,
        folder.path().join("chat.db").to_str().expect("UTF-8"),
    );
    let server = limited(&start, 512 * 1024);
    fills_up(&server, || limit(&server, "unlimited")).await;
}

/// The same on a file system that is really full, where this test may mount one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_503_and_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mount = folder.path().join("disk");
    std::fs::create_dir(&mount).expect("a folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&mount)
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        announce(
            "NOT TESTED: a full tmpfs, which needs the right to mount one; a limit on the size of files was tested",
        );
        return;
    }
    let start = Start::new(SERVER, mount.join("chat.db").to_str().expect("UTF-8"));
    let mut server = start.run().expect("it starts");
    let filler = mount.join("filler");
    std::fs::write(&filler, vec![0; 1024 * 1024]).expect("a file in the way");
    fills_up(&server, || std::fs::remove_file(&filler).expect("removed")).await;
    server.kill();
    let unmounted = Command::new("umount").arg(&mount).status();
    assert!(unmounted.is_ok_and(|status| status.success()), "umount");
}
