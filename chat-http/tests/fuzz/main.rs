//! Requests and frames that nobody would write by hand: never a panic, never a `500`.

#[path = "../support/peer.rs"]
mod peer;
mod sockets;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chat_testkit::http::Client;
use chat_testkit::live::Socket;
use hyper::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use support::{PASSWORD, Running};
use values::{text, value};

on_every_store! {
    operators_of_a_database_are_values_and_nothing_else,
}

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);

/// Cases of each kind; `CHAT_FUZZ_CASES` for more.
fn cases() -> u32 {
    std::env::var("CHAT_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500)
}

/// A server, and what proves that one is ann.
struct Target {
    server: Running,
    cookie: String,
}

impl Target {
    async fn new(server: Running) -> Self {
        let cookie = server.account("ann").await.header("cookie").expect("a cookie").to_owned();
        Self { server, cookie }
    }

    /// Whether it serves as before, and nothing is left of those who are gone.
    async fn check(&self) {
        let mut client = self.server.client();
        assert_eq!(client.get("/readyz").await.status, 200);
        let login = client.post("/auth/login", &json!({ "username": "ann", "password": PASSWORD })).await;
        assert_eq!(login.status, 200, "the account is as it was");
        let began = Instant::now();
        // A socket that panicked would be counted for ever.
        while client.metric("chat_http_sockets").await > 0 {
            assert!(began.elapsed() < SOON, "a socket is left");
        }
        let mut socket =
            Socket::open(self.server.address, &[("cookie", &self.cookie)]).await.expect("a socket");
        socket.say(&json!({ "type": "subscribe", "room": "after all" })).await;
        assert_eq!(socket.expect("subscribed").await["last_seq"], 0);
        socket.say(&json!({ "type": "post", "room": "after all", "text": "still here" })).await;
        assert_eq!(socket.expect("message").await["text"], "still here");
    }
}

/// Runs the cases of one kind: most of them on SQLite, which is fast, and one in ten on a replica set.
fn run<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    case: impl AsyncFn(&Target, T) -> TestCaseResult,
) {
    let runtime = Runtime::new().expect("a runtime");
    let targets = [
        (runtime.block_on(async { Target::new(Running::sqlite().await).await }), cases()),
        (runtime.block_on(async { Target::new(Running::replica_set().await).await }), cases().div_ceil(10)),
    ];
    for (target, cases) in targets {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&strategy, |value| runtime.block_on(case(&target, value)));
        outcome.unwrap_or_else(|e| panic!("{e}"));
        runtime.block_on(target.check());
    }
}

/// Checks that requests are answered, and not that the server failed.
fn check<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, ask: impl Fn(&T) -> Vec<u8>) {
    run(strategy, async |target, value| {
        let reply = answer(target.server.address, &ask(&value)).await;
        let reply = String::from_utf8_lossy(&reply);
        // Hyper itself answers what is no HTTP; it may say nothing at all to what is no request.
        let status = reply.get(9..12).unwrap_or("400");
        prop_assert!(!status.starts_with('5') && status.parse::<u16>().is_ok(), "{}", reply);
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        // Encoded within a value it is harmless; a header of its own it must not become.
        prop_assert!(!head.lines().any(|line| line.starts_with("x-injected")), "{}", reply);
        prop_assert!(!body.contains("<script>alert"), "{}", reply);
        Ok(())
    });
}

async fn answer(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // The server may have closed already.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    reply
}

fn head(method: &str, target: &[u8], more: &str) -> Vec<u8> {
    let mut request = method.as_bytes().to_vec();
    request.push(b' ');
    request.extend_from_slice(target);
    request.extend_from_slice(format!(" HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n{more}").as_bytes());
    request
}

#[test]
fn any_target_is_answered() {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]);
    let start =
        prop::sample::select(vec!["/", "/chat/", "/rooms/", "/users/", "/static/", "/auth/sessions/", ""]);
    check((method, start, text()), |(method, start, rest)| {
        head(method, format!("{start}{rest}").as_bytes(), "content-length: 0\r\n\r\n")
    });
}

#[test]
fn any_query_is_answered() {
    let path =
        prop::sample::select(vec!["/chat/a/messages", "/chat/", "/chat/a/users", "/login", "/", "/rooms/a"]);
    check((path, text(), text()), |(path, name, value)| {
        head("GET", format!("{path}?{name}={value}&limit=1").as_bytes(), "\r\n")
    });
}

#[test]
fn any_header_is_answered() {
    let name = prop::sample::select(vec![
        "cookie",
        "authorization",
        "origin",
        "sec-fetch-site",
        "x-forwarded-for",
        "if-none-match",
        "user-agent",
        "idempotency-key",
        "content-type",
        "last-event-id",
        "transfer-encoding",
        "content-length",
        "upgrade",
    ]);
    let start = prop::sample::select(vec!["", "session=", "Bearer ", "http://", "\"", "application/json;"]);
    let bytes = prop::collection::vec(any::<u8>(), 0..64);
    check((name, start, text(), bytes), |(name, start, text, bytes)| {
        let mut request = head("POST", b"/auth/logout", "");
        request.extend_from_slice(format!("{name}: {start}{text}").as_bytes());
        request.extend_from_slice(bytes);
        request.extend_from_slice(b"\r\ncontent-length: 0\r\n\r\n");
        request
    });
}

#[test]
fn any_json_is_answered() {
    let path = prop::sample::select(vec![
        "/auth/login",
        "/auth/register",
        "/auth/password",
        "/chat/a/messages",
        "/chat/a/read",
        "/chat/a/join",
    ]);
    let field =
        prop::sample::select(vec!["username", "password", "new_password", "sender", "text", "nonce", "seq"]);
    let body = prop::collection::hash_map(field, value(), 0..5);
    // Broken somewhere, too.
    check((path, body, 0..200_usize, any::<u8>(), any::<bool>()), |(path, body, at, byte, breaks)| {
        let mut body = json!(body).to_string().into_bytes();
        if *breaks && let Some(place) = body.get_mut(*at) {
            *place = *byte;
        }
        let more = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut request = head("POST", path.as_bytes(), &more);
        request.extend(body);
        request
    });
}

#[test]
fn any_form_is_answered() {
    let path =
        prop::sample::select(vec!["/auth/login", "/auth/register", "/auth/password", "/rooms", "/rooms/a"]);
    let field = prop::sample::select(vec!["username", "password", "next", "room", "text", "nonce"]);
    check((path, prop::collection::vec((field, text()), 0..5)), |(path, fields)| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = fields.join("&");
        let kind = "application/x-www-form-urlencoded";
        let more = format!("content-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut request = head("POST", path.as_bytes(), &more);
        request.extend(body.into_bytes());
        request
    });
}

async fn operators_of_a_database_are_values_and_nothing_else(server: &Running) {
    server.account("ann").await;
    let mut client: Client = server.client();
    for operator in [json!({ "$gt": "" }), json!({ "$ne": null }), json!(["ann"]), json!({ "$regex": ".*" })]
    {
        let login = json!({ "username": operator, "password": operator });
        assert_eq!(client.post("/auth/login", &login).await.status, 400);
        let login = json!({ "username": "ann", "password": operator });
        assert_eq!(client.post("/auth/login", &login).await.status, 400);
        let post = json!({ "sender": "bob", "text": "x", "nonce": operator });
        assert_eq!(client.post("/chat/a/messages", &post).await.status, 400);
    }
    // As text they are names like any other.
    let post = json!({ "sender": "$where", "text": "{\"$gt\": \"\"}" });
    assert_eq!(client.post("/chat/%24gt/messages", &post).await.status, 201);
    assert_eq!(client.get("/users/%24where/count").await.json()["message_count"], 1);
    for path in [
        "/static/..%2f..%2fCargo.toml",
        "/static/%2e%2e/Cargo.toml",
        "/static/style.css%00",
        "/static//etc/passwd",
    ] {
        assert_eq!(client.send(Method::GET, path, "").await.status, 404, "{path}");
    }
}
