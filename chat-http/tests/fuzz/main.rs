//! Requests and frames that nobody would write by hand: never a panic, never a `500`.

#[path = "../support/peer.rs"]
mod peer;
mod sockets;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chat_http::Settings;
use chat_testkit::http::Client;
use chat_testkit::live::{Socket, make_room};
use hyper::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use support::{PASSWORD, Running, unlimited};
use values::{field, text};

on_every_store! {
    operators_of_a_database_are_values_and_nothing_else,
}

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);

/// Cases of each kind; `CHAT_FUZZ_CASES` for more.
fn cases() -> u32 {
    std::env::var("CHAT_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_500)
}

/// A server on which everyone may come from an address of their own.
struct Target {
    server: Running,
    _store: Running,
    /// The cookies of two accounts.
    ann: String,
    bob: String,
}

impl Target {
    async fn new(store: Running) -> Self {
        let trusted_proxies = vec!["127.0.0.1".parse().expect("a proxy")];
        let server = store
            .again(Settings {
                trusted_proxies,
                ..unlimited()
            })
            .await;
        let cookie = async |name| {
            server
                .account(name)
                .await
                .header("cookie")
                .expect("a cookie")
                .to_owned()
        };
        Self {
            ann: cookie("ann").await,
            bob: cookie("bob").await,
            server,
            _store: store,
        }
    }

    /// The header of a session with which a request to this path does no harm to ann's.
    fn session(&self, path: &str) -> String {
        match path {
            // A log-in ends the session that it comes with.
            "/auth/login" | "/auth/register" => String::new(),
            "/auth/password" => format!("cookie: {}\r\n", self.bob),
            _ => format!("cookie: {}\r\n", self.ann),
        }
    }

    /// Checks that it serves as before, and that nothing is left of those who are gone.
    async fn check(&self) {
        let mut client = self.server.client();
        assert_eq!(client.get("/readyz").await.status, 200);
        let login = client
            .post(
                "/auth/login",
                &json!({ "username": "ann", "password": PASSWORD }),
            )
            .await;
        assert_eq!(login.status, 200, "the account is as it was");
        let began = Instant::now();
        // A socket that panicked would be counted for ever.
        while client.metric("chat_http_sockets").await > 0 {
            assert!(began.elapsed() < SOON, "a socket is left");
        }
        make_room(self.server.address, "after all").await;
        let mut socket = Socket::open(self.server.address, &[("cookie", &self.ann)])
            .await
            .expect("a socket");
        socket
            .say(&json!({ "type": "subscribe", "room": "after all" }))
            .await;
        assert_eq!(socket.expect("subscribed").await["last_seq"], 0);
        socket
            .say(&json!({ "type": "post", "room": "after all", "text": "still here" }))
            .await;
        assert_eq!(socket.expect("message").await["text"], "still here");
    }
}

/// Runs the cases of one kind: most of them on SQLite, which is fast, and one in ten on a replica
/// set.
fn run<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    case: impl AsyncFn(&Target, T) -> TestCaseResult,
) {
    let runtime = Runtime::new().expect("a runtime");
    let targets = [
        (
            runtime.block_on(async { Target::new(Running::sqlite().await).await }),
            cases(),
        ),
        (
            runtime.block_on(async { Target::new(Running::replica_set().await).await }),
            cases().div_ceil(10),
        ),
    ];
    for (target, cases) in targets {
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&strategy, |value| runtime.block_on(case(&target, value)));
        outcome.unwrap_or_else(|e| panic!("{e}"));
        runtime.block_on(target.check());
    }
}

/// Checks that requests are answered, and not that the server failed.
fn check<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    ask: impl Fn(&Target, &T) -> Vec<u8>,
) {
    run(strategy, async |target, value| {
        let reply = answer(target.server.address, &ask(target, &value)).await;
        let reply = String::from_utf8_lossy(&reply);
        // Hyper itself answers what is no HTTP; it may say nothing at all to what is no request.
        let status = reply.get(9..12).unwrap_or("400");
        prop_assert!(
            !status.starts_with('5') && status.parse::<u16>().is_ok(),
            "{}",
            reply
        );
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        // Encoded within a value it is harmless; a header of its own it must not become.
        prop_assert!(
            !head.lines().any(|line| line.starts_with("x-injected")),
            "{}",
            reply
        );
        let is_page = head.contains("content-type: text/html");
        prop_assert!(!is_page || !body.contains("<script>alert"), "{}", reply);
        Ok(())
    });
}

async fn answer(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // The server may have closed already. This end stays open: to close it would end the request.
    let _ = stream.write_all(request).await;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    reply
}

/// The first lines of a request. Each comes from another address, so that none is refused for what
/// others did before.
fn head(method: &str, target: &str, more: &str) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from = Ipv4Addr::from_bits(0x0a00_0000 + NEXT.fetch_add(1, Ordering::Relaxed));
    let common = format!("host: localhost\r\nconnection: close\r\nx-forwarded-for: {from}\r\n");
    format!("{method} {target} HTTP/1.1\r\n{common}{more}").into_bytes()
}

fn post(path: &str, kind: &str, session: &str, body: &[u8]) -> Vec<u8> {
    send("POST", path, kind, session, body)
}

fn send(method: &str, path: &str, kind: &str, session: &str, body: &[u8]) -> Vec<u8> {
    let more = format!(
        "content-type: {kind}\r\ncontent-length: {}\r\n{session}\r\n",
        body.len()
    );
    [head(method, path, &more), body.to_vec()].concat()
}

#[test]
fn any_target_is_answered() {
    let method = prop::sample::select(vec![
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS",
    ]);
    let start = prop::sample::select(vec![
        "/",
        "/chat/",
        "/rooms/",
        "/users/",
        "/static/",
        "/auth/sessions/",
        "",
    ]);
    check(
        (method, start, text(), any::<bool>()),
        |target, (method, start, rest, logged_in)| {
            let session = if *logged_in && !start.starts_with("/auth/") {
                target.session("/")
            } else {
                String::new()
            };
            head(
                method,
                &format!("{start}{rest}"),
                &format!("{session}content-length: 0\r\n\r\n"),
            )
        },
    );
}

#[test]
fn any_query_is_answered() {
    let path = prop::sample::select(vec![
        "/chat/a/messages",
        "/chat/a/changes",
        "/users/ann/mentions",
        "/chat/",
        "/chat/a/users",
        "/login",
        "/",
        "/rooms/a",
    ]);
    let known = vec![
        "after", "before", "since", "limit", "next", "username", "room", "refused", "form",
    ];
    let name = prop_oneof![3 => prop::sample::select(known).prop_map(str::to_owned), 1 => text()];
    let right = vec!["0", "1", "200", "a", "2026-11-22T20:07:52Z", "/rooms/a"];
    let value = prop_oneof![1 => prop::sample::select(right).prop_map(str::to_owned), 1 => text()];
    let query = prop::collection::vec((name, value), 0..3);
    check(
        (path, query, any::<bool>()),
        |target, (path, query, logged_in)| {
            let query: Vec<_> = query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let session = if *logged_in {
                target.session(path)
            } else {
                String::new()
            };
            head(
                "GET",
                &format!("{path}?{}", query.join("&")),
                &format!("{session}\r\n"),
            )
        },
    );
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
    let start = prop::sample::select(vec![
        "",
        "session=",
        "Bearer ",
        "http://",
        "\"",
        "application/json;",
    ]);
    // Most of them what HTTP allows in a header.
    let allowed = prop_oneof![b' '..=b'~', 0x80..=0xff_u8];
    let bytes = prop_oneof![
        4 => prop::collection::vec(allowed, 0..64),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ];
    check(
        (name, start, text(), bytes),
        |_, (name, start, text, bytes)| {
            let mut request = head("POST", "/auth/logout", "");
            request.extend_from_slice(format!("{name}: {start}{text}").as_bytes());
            request.extend_from_slice(bytes);
            request.extend_from_slice(b"\r\ncontent-length: 0\r\n\r\n");
            request
        },
    );
}

#[test]
fn any_json_is_answered() {
    let path = prop::sample::select(vec![
        "/auth/login",
        "/auth/register",
        "/auth/password",
        "/chat/a/messages",
        "/chat/a/messages",
        "PATCH /chat/a",
        "PATCH /chat/a/messages/1",
        "PATCH /chat/a/messages/1",
        "PUT /chat/a/messages/1/reactions/%F0%9F%91%8D",
        "/chat/a/read",
        "/chat/a/join",
    ]);
    let body = (
        field(
            "username",
            vec![
                r#""ann""#,
                r#""ANN""#,
                r#""eve""#,
                r#""$where""#,
                r#""\u00e9ve""#,
            ],
        ),
        field(
            "password",
            vec![
                r#""correct horse""#,
                r#""wrong horse""#,
                r#""short""#,
                "null",
                "null",
            ],
        ),
        field("new_password", vec![r#""correct horse""#, r#""short""#]),
        field("sender", vec![r#""ann""#, r#""eve""#, "null"]),
        field("text", vec![r#""x""#, r#""<script>alert(1)</script>""#]),
        field("nonce", vec![r#""1""#, r#""2""#, "null"]),
        field("seq", vec!["0", "1", "2"]),
        field("reply_to", vec!["1", "null", "null", "null"]),
        field("topic", vec![r#""x""#, r#""""#]),
    );
    // Broken somewhere, too.
    let breaks = prop::option::weighted(0.1, (any::<prop::sample::Index>(), any::<u8>()));
    check(
        (path, body, breaks, any::<bool>()),
        |target, (path, body, breaks, logged_in)| {
            let (a, b, c, d, e, f, g, h, i) = body;
            let fields = format!("{a}{b}{c}{d}{e}{f}{g}{h}{i}");
            let mut body = format!("{{{}}}", fields.trim_start_matches(',')).into_bytes();
            if let Some((at, byte)) = breaks {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let (method, path) = path.split_once(' ').unwrap_or(("POST", path));
            let session = if *logged_in {
                target.session(path)
            } else {
                String::new()
            };
            send(method, path, "application/json", &session, &body)
        },
    );
}

#[test]
fn any_form_is_answered() {
    let path = prop::sample::select(vec![
        "/auth/login",
        "/auth/register",
        "/auth/password",
        "/rooms",
        "/rooms/a",
    ]);
    let right = vec![
        "username=ann",
        "username=eve",
        "password=correct+horse",
        "password=wrong+horse",
        "new_password=correct+horse",
        "next=/rooms/a",
        "room=a",
        "text=x",
        "reply_to=1",
        "text=%3Cscript%3Ealert(1)%3C/script%3E",
        "nonce=1",
    ];
    let names = vec![
        "username",
        "password",
        "new_password",
        "next",
        "room",
        "text",
        "nonce",
    ];
    let field = prop_oneof![
        2 => prop::sample::select(right).prop_map(str::to_owned),
        1 => (prop::sample::select(names), text()).prop_map(|(name, value)| format!("{name}={value}")),
    ];
    let body = prop::collection::vec(field, 0..6).prop_map(|fields| fields.join("&"));
    check(
        (path, body, any::<bool>()),
        |target, (path, body, logged_in)| {
            let session = if *logged_in {
                target.session(path)
            } else {
                String::new()
            };
            post(
                path,
                "application/x-www-form-urlencoded",
                &session,
                body.as_bytes(),
            )
        },
    );
}

async fn operators_of_a_database_are_values_and_nothing_else(server: &Running) {
    server.account("ann").await;
    let mut client: Client = server.client();
    for operator in [
        json!({ "$gt": "" }),
        json!({ "$ne": null }),
        json!(["ann"]),
        json!({ "$regex": ".*" }),
    ] {
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
    assert_eq!(
        client.get("/users/%24where/count").await.json()["message_count"],
        1
    );
    for path in [
        "/static/..%2f..%2fCargo.toml",
        "/static/%2e%2e/Cargo.toml",
        "/static/style.css%00",
        "/static//etc/passwd",
    ] {
        assert_eq!(
            client.send(Method::GET, path, "").await.status,
            404,
            "{path}"
        );
    }
}
