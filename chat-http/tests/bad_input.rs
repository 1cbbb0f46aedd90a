//! Bad requests: each gets the right status and a sentence that helps, and nothing is stored.

#[macro_use]
mod support;

use chat_http::{Guests, Settings};
use chat_testkit::http;
use hyper::Method;
use serde_json::json;

use support::Running;

on_every_store! {
    a_bad_body_is_refused_by_field_and_reason,
    a_large_body_is_refused_before_it_is_kept,
    a_name_that_is_not_ones_own_is_refused,
    another_site_cannot_change_anything,
    without_guests_nobody_writes_without_an_account,
    a_user_who_posts_too_fast_waits,
}

const POST: &str = "/chat/a/messages";

async fn a_bad_body_is_refused_by_field_and_reason(server: &Running) {
    let mut client = server.client();
    let long = json!({ "sender": "ann", "text": "x".repeat(4_001) }).to_string();
    for (body, detail) in [
        (
            "{\"sender\": \"ann\", \"text\":",
            "the body is not valid JSON: EOF while parsing a value at line 1 column 25",
        ),
        ("", "the body is empty; it must be a JSON object"),
        ("[]", "the body must be a JSON object, not an array"),
        ("\"text\"", "the body must be a JSON object, not a string"),
        (
            "{\"sender\": 5, \"text\": \"x\"}",
            "sender must be a string, not a number",
        ),
        (
            "{\"sender\": {\"$gt\": \"\"}, \"text\": \"x\"}",
            "sender must be a string, not an object",
        ),
        (
            "{\"sender\": \"ann\", \"text\": [\"x\"]}",
            "text must be a string, not an array",
        ),
        (
            "{\"sender\": \"ann\", \"text\": \"x\", \"nonce\": true}",
            "nonce must be a string, not a boolean",
        ),
        ("{\"sender\": \"ann\"}", "text is missing"),
        ("{\"sender\": \"ann\", \"text\": null}", "text is missing"),
        (
            "{\"text\": \"x\"}",
            "sender is missing; name one, or log in",
        ),
        (
            "{\"sender\": \"a b\", \"text\": \"x\"}",
            "sender must not contain white space",
        ),
        (
            "{\"sender\": \"\", \"text\": \"x\"}",
            "sender must not be empty",
        ),
        (
            "{\"sender\": \"ann\", \"text\": \"\"}",
            "text must not be empty",
        ),
        (
            "{\"sender\": \"ann\", \"text\": \" \\n \"}",
            "text must contain a character that is not white space",
        ),
        (
            "{\"sender\": \"ann\", \"text\": \"a\\u0000\"}",
            "text must not contain the control character U+0000",
        ),
        (long.as_str(), "text must be at most 4000 characters"),
        (
            "{\"sender\": \"ann\", \"text\": \"x\", \"nonce\": \"\"}",
            "nonce must not be empty",
        ),
    ] {
        let reply = client.send(Method::POST, POST, body).await;
        let reply = if body.is_empty() {
            client
                .request(Method::POST, POST, Some("application/json"), "".into())
                .await
                .expect("an answer")
        } else {
            reply
        };
        assert_eq!(
            (reply.status, reply.json()["detail"].clone()),
            (400, json!(detail)),
            "{body}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
    }
    let not_utf8 = b"{\"sender\": \"ann\", \"text\": \"\xff\"}".as_slice();
    let reply = client
        .request(
            Method::POST,
            POST,
            Some("application/json"),
            not_utf8.into(),
        )
        .await
        .expect("an answer");
    assert_eq!(
        (reply.status, reply.json()["detail"].clone()),
        (400, json!("the body is not UTF-8"))
    );
    let deep = "[".repeat(30_000);
    assert_eq!(client.send(Method::POST, POST, &deep).await.status, 400);
    for kind in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
    ] {
        let reply = client
            .request(Method::POST, POST, Some(kind), "sender=ann&text=x".into())
            .await
            .expect("an answer");
        assert_eq!(reply.status, 415, "{kind}");
    }
    assert_eq!(
        client.get("/chat/").await.json(),
        json!([]),
        "nothing was stored"
    );
}

async fn a_large_body_is_refused_before_it_is_kept(server: &Running) {
    let mut client = server.client();
    let pad = |size: usize| {
        format!(
            "{{\"sender\":\"ann\",\"text\":\"x\",\"pad\":\"{}\"}}",
            "y".repeat(size - 36)
        )
    };
    assert_eq!(pad(64 * 1024).len(), 64 * 1024);
    assert_eq!(
        client
            .send(Method::POST, POST, &pad(64 * 1024))
            .await
            .status,
        201
    );
    for size in [64 * 1024 + 1, 65 * 1024, 900 * 1024] {
        let reply = client.send(Method::POST, POST, &pad(size)).await;
        assert_eq!(
            (reply.status, reply.json()["detail"].clone()),
            (413, json!("the body must be at most 64 KiB")),
            "{size}"
        );
    }
    // Announced, and not sent: the answer does not wait for it.
    let huge =
        format!("POST {POST} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n");
    let reply = http::raw(server.address, huge.as_bytes(), |reply| {
        reply.contains("\r\n\r\n")
    })
    .await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert_eq!(
        client.get("/users/ann/count").await.json()["message_count"],
        1
    );
}

// These are refused before a store is asked.
#[tokio::test]
async fn a_bad_query_is_refused_by_field_and_reason() {
    let server = Running::sqlite().await;
    let mut client = server.client();
    let since = "since must be an RFC 3339 timestamp such as 2026-11-22T20:07:52.743123Z";
    let limit = "limit must be a whole number from 1 to 200";
    for (query, detail) in [
        ("since=yesterday", since),
        ("since=", since),
        ("limit=0", limit),
        ("limit=201", limit),
        ("limit=-1", limit),
        ("limit=ten", limit),
        ("limit=99999999999999999999", limit),
        ("after=-1", "after must be a whole number from 0 up"),
        ("after=1.5", "after must be a whole number from 0 up"),
        ("before=x", "before must be a whole number from 0 up"),
        (
            "after=1&before=2",
            "at most one of since, after and before may be given",
        ),
        (
            "since=2026-11-22T20:07:52Z&after=2",
            "at most one of since, after and before may be given",
        ),
        ("after=1&after=2", "after is given more than once"),
        (
            "after=%zz",
            "a % in the address is not followed by two hexadecimal digits",
        ),
        ("after=%ff", "the percent-encoding is not of UTF-8"),
    ] {
        let reply = client.get(&format!("{POST}?{query}")).await;
        assert_eq!(
            (reply.status, reply.json()["detail"].clone()),
            (400, json!(detail)),
            "{query}"
        );
    }
    assert_eq!(client.get("/chat/?limit=1001").await.status, 400);
    assert_eq!(client.get("/chat/?after=a%2Fb").await.status, 400);
    assert_eq!(client.get(&format!("{POST}?unknown=1")).await.status, 200);
}

#[tokio::test]
async fn a_bad_path_or_method_is_told_what_would_be_right() {
    let server = Running::sqlite().await;
    let mut client = server.client();
    for path in [
        "/nothing",
        "/chat/a/nothing",
        "/chat/a/messages/",
        "/users/ann",
        "//",
        "/static/../Cargo.toml",
        "/static/nothing.css",
    ] {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
    for (path, detail) in [
        ("/chat/a%2Fb/messages", "room must not contain /"),
        ("/chat/%2e%2e/messages", "room must not be . or .."),
        (
            "/chat/%20a/messages",
            "room must not begin or end with white space",
        ),
        (
            "/chat/a%00/messages",
            "room must not contain the control character U+0000",
        ),
        (
            "/chat/a%0d%0ax-injected:%201/messages",
            "room must not contain the control character U+000D",
        ),
        (
            "/chat/%zz/messages",
            "a % in the address is not followed by two hexadecimal digits",
        ),
        ("/chat/%ff/messages", "the percent-encoding is not of UTF-8"),
        (
            "/users/a%20b/count",
            "username must not contain white space",
        ),
    ] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, reply.json()["detail"].clone()),
            (400, json!(detail)),
            "{path}"
        );
    }
    let long = "é"
        .repeat(65)
        .bytes()
        .map(|b| format!("%{b:02x}"))
        .collect::<String>();
    assert_eq!(
        client.get(&format!("/chat/{long}/messages")).await.json()["detail"],
        "room must be at most 64 characters"
    );
    for (method, path, allow) in [
        (Method::DELETE, "/chat/a/messages", "GET, POST, HEAD"),
        (Method::GET, "/auth/login", "POST"),
        (Method::POST, "/users/ann/count", "GET, HEAD"),
        (Method::PUT, "/chat/", "GET, HEAD"),
        (Method::DELETE, "/chat/a", "GET, PUT, PATCH, HEAD"),
        (
            Method::POST,
            "/chat/a/messages/1",
            "GET, PATCH, DELETE, HEAD",
        ),
        (
            Method::GET,
            "/chat/a/messages/1/reactions/%F0%9F%91%8D",
            "PUT, DELETE",
        ),
        (Method::POST, "/chat/a/changes", "GET, HEAD"),
    ] {
        let reply = client.send(method.clone(), path, "").await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
    }
    let moved = client.get("/chat").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, Some("/chat/"))
    );
    // Bytes that are no UTF-8, no HTTP, or too many.
    for (request, status) in [
        (
            b"GET /chat/\xff/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
                .to_vec(),
            "400",
        ),
        (b"nonsense\r\n\r\n".to_vec(), "400"),
        (
            [
                b"GET / HTTP/1.1\r\nhost: localhost\r\nx-long: ".to_vec(),
                vec![b'a'; 70_000],
                b"\r\n\r\n".to_vec(),
            ]
            .concat(),
            "431",
        ),
    ] {
        let reply = http::raw(server.address, &request, |reply| reply.contains("\r\n\r\n")).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
    }
}

async fn a_name_that_is_not_ones_own_is_refused(server: &Running) {
    let mut ann = server.guest("ann").await;
    let reply = ann
        .post(POST, &json!({ "sender": "bob", "text": "x" }))
        .await;
    assert_eq!(
        (reply.status, reply.json()["detail"].clone()),
        (403, json!("sender must be ann, who is logged in"))
    );
    assert_eq!(
        ann.post(POST, &json!({ "sender": "ann", "text": "x" }))
            .await
            .status,
        201
    );
    let reply = server
        .client()
        .post(
            "/auth/login",
            &json!({ "username": "ann", "password": "secret123" }),
        )
        .await;
    assert_eq!(
        (reply.status, reply.json()["detail"].clone()),
        (
            401,
            json!(
                "no account has this name and password; a name without an account is used without a password"
            )
        )
    );
    for token in ["A".repeat(43), "short".into(), String::new()] {
        let mut forged = server
            .client()
            .with_header("cookie", &format!("session={token}"));
        assert_eq!(forged.get("/auth/me").await.status, 401, "{token}");
        let mut forged = server
            .client()
            .with_header("authorization", &format!("Bearer {token}"));
        assert_eq!(forged.get("/auth/me").await.status, 401, "{token}");
    }
    let mut ended = server
        .client()
        .with_header("cookie", &format!("session={}", "A".repeat(43)));
    assert_eq!(ended.post(POST, &json!({ "text": "x" })).await.status, 401);
}

async fn another_site_cannot_change_anything(server: &Running) {
    let post = json!({ "sender": "ann", "text": "x" });
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &format!("https://{}", server.address)),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut foreign = server.client().with_header(name, value);
        assert_eq!(
            foreign.post(POST, &post).await.status,
            403,
            "{name}: {value}"
        );
        assert_eq!(foreign.send(Method::PUT, "/chat/a", "").await.status, 403);
        for path in [
            "/auth/login",
            "/auth/register",
            "/auth/password",
            "/auth/logout",
            "/account/sessions",
            "/rooms",
        ] {
            assert_eq!(
                foreign
                    .form(path, "username=ann&password=correct+horse")
                    .await
                    .status,
                403,
                "{path}"
            );
        }
        assert_eq!(foreign.get("/chat/").await.json(), json!([]));
    }
    let own = format!("http://{}", server.address);
    let mut page = server
        .client()
        .with_header("origin", &own)
        .with_header("sec-fetch-site", "same-origin");
    assert_eq!(page.post(POST, &post).await.status, 201);
}

async fn without_guests_nobody_writes_without_an_account(server: &Running) {
    let settings = Settings {
        guests: Guests::Deny,
        ..Settings::default()
    };
    let server = server.again(settings).await;
    let mut client = server.client();
    assert_eq!(
        client
            .post("/auth/login", &json!({ "username": "ann" }))
            .await
            .status,
        403
    );
    assert_eq!(
        client
            .post(POST, &json!({ "sender": "ann", "text": "x" }))
            .await
            .status,
        401
    );
    assert_eq!(client.send(Method::PUT, "/chat/a", "").await.status, 401);
    for path in ["/", "/rooms/a"] {
        let page = client.get(path).await;
        assert_eq!(page.status, 303, "{path}");
        assert!(
            page.header("location")
                .is_some_and(|to| to.starts_with("/login?next=")),
            "{path}"
        );
    }
    assert_eq!(client.get("/login").await.status, 200);
    for path in ["/chat/", POST, "/chat/a/events", "/users/ann/count"] {
        let refused = client.get(path).await;
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Bearer realm=\"chat\""))
        );
    }
    server.stop().await;
}

async fn a_user_who_posts_too_fast_waits(server: &Running) {
    let server = server
        .again(Settings {
            post_rate: 1,
            ..Settings::default()
        })
        .await;
    let mut client = server.client();
    let statuses = [(); 5].map(|()| json!({ "sender": "ann", "text": "x" }));
    let mut last = None;
    for post in &statuses {
        last = Some(client.post(POST, post).await);
    }
    let last = last.expect("an answer");
    assert_eq!(
        (last.status, last.header("retry-after")),
        (429, Some("1")),
        "{}",
        last.text()
    );
    assert_eq!(
        server
            .guest("bob")
            .await
            .post(POST, &json!({ "text": "x" }))
            .await
            .status,
        201
    );
    assert_eq!(
        client.get("/users/ann/count").await.json()["message_count"],
        4
    );
    server.stop().await;
}
