//! The binary: options, start line, signals, and who may use a store.

use std::io::Read as _;
use std::process::{Command, Stdio};

use chat_testkit::http::Client;
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::Start;
use hyper::Method;
use serde_json::json;

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");

fn post() -> serde_json::Value {
    json!({ "sender": "ann", "text": "x" })
}

#[tokio::test]
async fn it_says_where_it_listens_and_keeps_what_it_answered() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = folder.path().join("chat.db");
    let start = Start::new(SERVER, store.to_str().expect("UTF-8"));
    let mut server = start.run().expect("it starts");
    let mut client = Client::new(server.address);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(client.post("/chat/a/messages", &post()).await.status, 201);
    let metrics = client.get("/metrics").await.text();
    assert!(
        metrics.contains("chat_posts_total 1\n") && metrics.contains("chat_http_connections 1\n"),
        "{metrics}"
    );
    assert_eq!(client.get("/openapi.json").await.json()["openapi"], "3.1.0");
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(
        !folder.path().join("chat.db-wal").exists(),
        "the log was written back"
    );

    let mut server = start.run().expect("it starts again");
    assert_eq!(
        Client::new(server.address)
            .get("/users/ann/count")
            .await
            .json()["message_count"],
        1
    );
    server.kill();
    let server = start.run().expect("the lock went with the process");
    assert_eq!(
        Client::new(server.address)
            .get("/users/ann/count")
            .await
            .json()["message_count"],
        1
    );
}

#[tokio::test]
async fn a_shutdown_answers_what_is_under_way() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut server = Start::new(
        SERVER,
        folder.path().join("chat.db").to_str().expect("UTF-8"),
    )
    .run()
    .expect("it starts");
    let address = server.address;
    // The head of a request is there and its body is not.
    let body = post().to_string();
    let head = format!(
        "POST /chat/a/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .expect("sent");
    let mut reply = vec![0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut reply)
        .await
        .expect("100 Continue");
    server.signal("TERM");
    // New connections are refused once the signal has arrived.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::io::AsyncWriteExt::write_all(&mut stream, body.as_bytes())
        .await
        .expect("sent");
    let mut reply = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut reply)
        .await
        .expect("the answer, and the end");
    assert!(reply.starts_with("HTTP/1.1 201 "), "{reply}");
    assert!(server.wait().success());
}

/// Other names of the file that a store is in, if it is in one.
fn other_names(store: &str) -> Vec<String> {
    if !std::path::Path::new(store).exists() {
        return Vec::new();
    }
    let names = [format!("{store}.soft"), format!("{store}.hard")];
    std::os::unix::fs::symlink(store, &names[0]).expect("a symbolic link");
    std::fs::hard_link(store, &names[1]).expect("a hard link");
    names.into()
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_why() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let sqlite = folder
        .path()
        .join("chat.db")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    for (store, reason) in [
        (sqlite, "holds"),
        (
            mongod::database(Kind::Standalone),
            "takes one process at a time",
        ),
    ] {
        let start = Start::new(SERVER, &store);
        let mut first = start.run().expect("it starts");
        let others: Vec<_> = other_names(&store)
            .iter()
            .map(|name| Start::new(SERVER, name))
            .collect();
        for start in [&start].into_iter().chain(&others) {
            let refused = start.run().expect_err("it is refused");
            assert!(
                refused.contains("the store is in use") && refused.contains(reason),
                "{refused}"
            );
            assert!(
                refused.contains(&first.pid().to_string()),
                "{refused} names {}",
                first.pid()
            );
        }
        assert_eq!(
            Client::new(first.address)
                .post("/chat/a/messages", &post())
                .await
                .status,
            201
        );
        first.signal("TERM");
        first.wait();
        let mut next = start.run().expect("the store is free");
        assert_eq!(
            Client::new(next.address)
                .post("/chat/a/messages", &post())
                .await
                .json()["seq"],
            2
        );
        // A killed one leaves it behind, and is succeeded within seconds.
        next.kill();
        let last = start.run().expect("the store is taken over");
        assert_eq!(
            Client::new(last.address)
                .post("/chat/a/messages", &post())
                .await
                .json()["seq"],
            3
        );
    }
}

#[tokio::test]
async fn processes_on_a_replica_set_are_one_server() {
    let start = Start::new(SERVER, &mongod::database(Kind::ReplicaSet));
    let (one, two) = (
        start.run().expect("it starts"),
        start.run().expect("so does another"),
    );
    let (mut a, mut b) = (Client::new(one.address), Client::new(two.address));
    for i in 0..5 {
        assert_eq!(
            a.post("/chat/a/messages", &post()).await.json()["seq"],
            2 * i + 1
        );
        assert_eq!(
            b.post("/chat/a/messages", &post()).await.json()["seq"],
            2 * i + 2
        );
    }
    let nonce = json!({ "sender": "ann", "text": "x", "nonce": "n" });
    assert_eq!(a.post("/chat/a/messages", &nonce).await.status, 201);
    assert_eq!(b.post("/chat/a/messages", &nonce).await.status, 200);
    let login = a.post("/auth/login", &json!({ "username": "ann" })).await;
    let mut there = Client::new(two.address).with_session(&login);
    assert_eq!(there.get("/auth/me").await.status, 200);
    there.send(Method::POST, "/auth/logout", "").await;
    let mut here = Client::new(one.address).with_session(&login);
    assert_eq!(here.get("/auth/me").await.status, 401);
    assert_eq!(b.get("/users/ann/count").await.json()["message_count"], 11);
}

#[test]
fn a_wrong_option_ends_it_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let foreign = folder.path().join("other.db");
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "this is not a database, and long enough to be read as one".repeat(20),
    )
    .expect("written");
    let sql = "CREATE TABLE t (x); PRAGMA user_version = 7;";
    let python = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    let made = Command::new("python3")
        .args(["-c", python])
        .arg(&foreign)
        .arg(sql)
        .status();
    assert!(made.is_ok_and(|status| status.success()), "python3");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    for (arguments, sentence) in [
        (
            ["--store", "redis://localhost"].map(str::to_owned),
            "addresses that begin with redis://",
        ),
        (["--store".into(), path(folder.path())], "cannot be opened"),
        (
            [
                "--store".into(),
                path(&folder.path().join("no/such/folder/chat.db")),
            ],
            "No such file",
        ),
        (
            ["--store".into(), path(&foreign)],
            "database of another program",
        ),
        (["--store".into(), path(&text)], "not a database"),
        (
            ["--listen", "nowhere"].map(str::to_owned),
            "cannot listen on nowhere",
        ),
        (["--guests", "maybe"].map(str::to_owned), "maybe"),
        (
            ["--public-url", "chat.example"].map(str::to_owned),
            "must begin with http",
        ),
        (
            [
                "--store",
                "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100",
            ]
            .map(str::to_owned),
            "out of reach",
        ),
    ] {
        let mut command = Command::new(SERVER);
        command.args(["--store", &path(&folder.path().join("unused.db"))]);
        if arguments[0] == "--store" {
            command = Command::new(SERVER);
        }
        let mut child = command
            .args(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let status = child.wait().expect("ended");
        let mut said = String::new();
        child
            .stderr
            .take()
            .expect("stderr")
            .read_to_string(&mut said)
            .expect("UTF-8");
        assert!(
            !status.success() && said.contains(sentence),
            "{arguments:?}: {said}"
        );
    }
}
