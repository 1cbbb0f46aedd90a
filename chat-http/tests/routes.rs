//! The documented routes, over real sockets, on every kind of store: the same answers but for
//! timestamps.

#[macro_use]
mod support;

use hyper::Method;
use serde_json::{Value, json};

use support::{PASSWORD, Running};

on_every_store! {
    the_original_routes_answer_as_documented,
    messages_are_read_by_every_cursor,
    a_nonce_makes_a_repeat_harmless,
    rooms_are_created_joined_and_left,
    sessions_are_listed_and_ended,
    unchanged_answers_are_304,
}

/// A time of the documented form.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2026-11-22T20:07:52.743123Z".len()
        && text.ends_with('Z')
        && text.parse::<chatcore::Timestamp>().is_ok()
}

/// The value with every time replaced, after a check of its form.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = timeless(item.take())),
        Value::Object(fields) => {
            for (name, field) in fields {
                if ["timestamp", "last_timestamp", "created_at", "last_seen"]
                    .contains(&name.as_str())
                    && !field.is_null()
                {
                    assert!(is_time(field), "{name}: {field}");
                    *field = json!("T");
                } else {
                    *field = timeless(field.take());
                }
            }
        }
        _ => {}
    }
    value
}

async fn the_original_routes_answer_as_documented(server: &Running) {
    let mut client = server.client();
    let me = client.get("/auth/me").await;
    assert_eq!(
        (me.status, me.header("content-type")),
        (401, Some("application/problem+json"))
    );
    assert_eq!(
        me.json(),
        json!({ "title": "Unauthorized", "status": 401, "detail": "there is no session; log in" })
    );

    let login = client
        .post("/auth/login", &json!({ "username": "ann" }))
        .await;
    assert_eq!(
        (login.status, login.json()),
        (200, json!({ "username": "ann", "verified": false }))
    );
    let cookie = login.header("set-cookie").expect("a cookie").to_owned();
    for part in [
        "session=",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/",
        "Max-Age=2592000",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"));
    let mut ann = server.client().with_session(&login);
    let me = ann.get("/auth/me").await;
    assert_eq!(
        (me.status, me.json()),
        (200, json!({ "username": "ann", "verified": false }))
    );
    let token = login
        .cookie()
        .expect("a cookie")
        .replace("session=", "Bearer ");
    let mut by_token = server.client().with_header("authorization", &token);
    assert_eq!(by_token.get("/auth/me").await.json()["username"], "ann");

    let count = client.get("/users/ann/count").await;
    assert_eq!(
        (count.status, count.json()),
        (200, json!({ "username": "ann", "message_count": 0 }))
    );
    assert_eq!(client.get("/chat/").await.json(), json!([]));
    assert_eq!(client.get("/chat/general/messages").await.json(), json!([]));
    let missing = client.get("/chat/general/users").await;
    assert_eq!(
        (missing.status, missing.json()),
        (
            404,
            json!({ "title": "Not Found", "status": 404, "detail": "Room not found" })
        )
    );

    let posted = ann
        .post("/chat/general/messages", &json!({ "text": "hello" }))
        .await;
    assert_eq!(posted.status, 201);
    let expected = json!({
        "status": "ok", "room": "general", "seq": 1, "sender": "ann", "text": "hello", "timestamp": "T", "verified": false
    });
    assert_eq!(timeless(posted.json()), expected);
    // As in the original app: no session at all.
    let posted = client
        .post(
            "/chat/general/messages",
            &json!({ "sender": "bob", "text": "hi" }),
        )
        .await;
    assert_eq!(
        (posted.status, timeless(posted.json())["seq"].clone()),
        (201, json!(2))
    );

    let read = client.get("/chat/general/messages").await;
    assert_eq!(read.status, 200);
    let expected = json!([
        { "room": "general", "seq": 1, "sender": "ann", "text": "hello", "timestamp": "T", "verified": false },
        { "room": "general", "seq": 2, "sender": "bob", "text": "hi", "timestamp": "T", "verified": false },
    ]);
    assert_eq!(timeless(read.json()), expected);
    assert_eq!(client.get("/chat/").await.json(), json!(["general"]));
    assert_eq!(
        client.get("/chat/general/users").await.json(),
        json!(["ann", "bob"])
    );
    assert_eq!(
        client.get("/users/bob/count").await.json(),
        json!({ "username": "bob", "message_count": 1 })
    );

    let logout = ann.post("/auth/logout", &json!({})).await;
    assert_eq!(
        (logout.status, logout.json()),
        (200, json!({ "status": "ok" }))
    );
    assert!(
        logout
            .header("set-cookie")
            .is_some_and(|cookie| cookie.contains("Max-Age=0"))
    );
    assert_eq!(ann.get("/auth/me").await.status, 401);
    let logout = server.client().send(Method::POST, "/auth/logout", "").await;
    assert_eq!(
        (logout.status, logout.json()),
        (200, json!({ "status": "ok" }))
    );
}

async fn messages_are_read_by_every_cursor(server: &Running) {
    let mut client = server.client();
    let mut times = Vec::new();
    for i in 1..=60 {
        let posted = client
            .post(
                "/chat/a%20b/messages",
                &json!({ "sender": "ann", "text": i.to_string() }),
            )
            .await;
        times.push(
            posted.json()["timestamp"]
                .as_str()
                .expect("a time")
                .to_owned(),
        );
    }
    let mut read = async |query: &str| {
        let reply = client.get(&format!("/chat/a%20b/messages{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let messages = reply.json();
        let messages = messages
            .as_array()
            .expect("an array")
            .iter()
            .map(|m| m["seq"].as_i64().expect("a seq"));
        messages.collect::<Vec<_>>()
    };
    let span = |from: i64, to: i64| (from..=to).collect::<Vec<_>>();
    assert_eq!(read("").await, span(11, 60));
    assert_eq!(read("?limit=2").await, [59, 60]);
    assert_eq!(read("?limit=200").await, span(1, 60));
    assert_eq!(read("?after=0&limit=3").await, [1, 2, 3]);
    assert_eq!(read("?after=58").await, [59, 60]);
    assert_eq!(read("?after=60").await, span(1, 0));
    assert_eq!(read("?before=11&limit=3").await, [8, 9, 10]);
    let since = &times[57];
    assert_eq!(read(&format!("?since={since}")).await, [59, 60]);
    assert_eq!(read(&format!("?since={}", times[9])).await, span(11, 60));
    // A client that writes the offset and forgets to escape its `+`.
    let offset = since.replace('Z', "+00:00");
    assert_eq!(read(&format!("?since={offset}")).await, [59, 60]);
    assert_eq!(
        read(&format!("?since={}", offset.replace('+', "%2B"))).await,
        [59, 60]
    );
    assert_eq!(
        read(&format!("?since={}", since.replace('Z', ""))).await,
        [59, 60]
    );
    assert_eq!(read("?since=1970-01-01T00:00:00Z&limit=2").await, [1, 2]);
}

async fn a_nonce_makes_a_repeat_harmless(server: &Running) {
    let mut client = server.client();
    let post = json!({ "sender": "ann", "text": "once", "nonce": "n1" });
    let first = client.post("/chat/a/messages", &post).await;
    let again = client.post("/chat/a/messages", &post).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json(), again.json());
    let other = client
        .post(
            "/chat/a/messages",
            &json!({ "sender": "ann", "text": "other", "nonce": "n1" }),
        )
        .await;
    assert_eq!(
        (other.status, other.json()["title"].clone()),
        (409, json!("Conflict"))
    );
    let mut keyed = server.client().with_header("idempotency-key", "n1");
    assert_eq!(
        keyed
            .post(
                "/chat/a/messages",
                &json!({ "sender": "ann", "text": "once" })
            )
            .await
            .status,
        200
    );
    assert_eq!(keyed.post("/chat/a/messages", &post).await.status, 200);
    let differing = json!({ "sender": "ann", "text": "once", "nonce": "n2" });
    assert_eq!(keyed.post("/chat/a/messages", &differing).await.status, 400);
    assert_eq!(
        client.get("/users/ann/count").await.json()["message_count"],
        1
    );
}

async fn rooms_are_created_joined_and_left(server: &Running) {
    let mut ann = server.guest("ann").await;
    let state = |users: u64, seq: u64| {
        let last = if seq == 0 { Value::Null } else { json!("T") };
        json!({
            "room": "a", "last_seq": seq, "last_change": 0, "last_timestamp": last, "created_at": "T",
            "users": users,
        })
    };
    let created = ann.send(Method::PUT, "/chat/a", "").await;
    assert_eq!(
        (created.status, timeless(created.json())),
        (201, state(0, 0))
    );
    assert_eq!(ann.send(Method::PUT, "/chat/a", "").await.status, 200);
    for room in ["c", "b"] {
        assert_eq!(
            ann.send(Method::POST, &format!("/chat/{room}/join"), "")
                .await
                .status,
            200
        );
    }
    let of_ann = |room: &str| json!({ "room": room, "last_seq": 0, "read_seq": 0, "unread": 0, "mentions": 0 });
    assert_eq!(
        ann.get("/users/ann/rooms").await.json(),
        json!([of_ann("b"), of_ann("c")])
    );
    assert_eq!(
        ann.get("/users/ann/rooms?limit=1").await.json(),
        json!([of_ann("b")])
    );
    assert_eq!(
        ann.get("/users/ann/rooms?after=b").await.json(),
        json!([of_ann("c")])
    );
    assert_eq!(ann.get("/users/ann/rooms?limit=0").await.status, 400);
    assert_eq!(
        ann.send(Method::POST, "/chat/a/join", "").await.json(),
        json!({ "status": "ok" })
    );
    assert_eq!(timeless(ann.get("/chat/a").await.json()), state(1, 0));
    ann.post("/chat/a/messages", &json!({ "text": "x" })).await;
    assert_eq!(timeless(ann.get("/chat/a").await.json()), state(1, 1));
    assert_eq!(
        ann.send(Method::POST, "/chat/a/leave", "").await.status,
        200
    );
    assert_eq!(ann.get("/chat/a/users").await.json(), json!([]));
    assert_eq!(ann.get("/chat/nowhere").await.status, 404);
    assert_eq!(
        ann.send(Method::POST, "/chat/nowhere/leave", "")
            .await
            .status,
        404
    );
    assert_eq!(
        server
            .client()
            .send(Method::POST, "/chat/a/join", "")
            .await
            .status,
        401
    );
    for name in ["b", "c", "d"] {
        ann.send(Method::PUT, &format!("/chat/{name}"), "").await;
    }
    assert_eq!(ann.get("/chat/?limit=2").await.json(), json!(["a", "b"]));
    assert_eq!(ann.get("/chat/?after=b").await.json(), json!(["c", "d"]));
}

async fn sessions_are_listed_and_ended(server: &Running) {
    let mut one = server.account("ann").await.with_header("user-agent", "one");
    let log_in = async || {
        let login = json!({ "username": "ann", "password": PASSWORD });
        let login = server.client().post("/auth/login", &login).await;
        server.client().with_session(&login)
    };
    let mut two = log_in().await;
    let listed = one.get("/auth/sessions").await.json();
    let listed = listed.as_array().expect("an array");
    assert_eq!(
        listed
            .iter()
            .map(|s| s["current"].as_bool())
            .collect::<Vec<_>>(),
        [Some(true), Some(false)]
    );
    let second = listed[1]["id"].as_str().expect("an id");
    let mut bob = server.guest("bob").await;
    assert_eq!(
        bob.send(Method::DELETE, &format!("/auth/sessions/{second}"), "")
            .await
            .status,
        404
    );
    assert_eq!(
        one.send(Method::DELETE, &format!("/auth/sessions/{second}"), "")
            .await
            .status,
        204
    );
    assert_eq!(
        (
            two.get("/auth/me").await.status,
            bob.get("/auth/me").await.status
        ),
        (401, 200)
    );
    let mut three = log_in().await;
    assert_eq!(
        one.send(Method::DELETE, "/auth/sessions", "").await.status,
        204
    );
    assert_eq!(
        (
            one.get("/auth/me").await.status,
            three.get("/auth/me").await.status
        ),
        (200, 401)
    );
    // A log-in ends the session that its cookie stood for.
    assert_eq!(
        one.post("/auth/login", &json!({ "username": "eve" }))
            .await
            .status,
        200
    );
    assert_eq!(one.get("/auth/me").await.status, 401);
}

async fn unchanged_answers_are_304(server: &Running) {
    let mut client = server.client();
    client
        .post("/chat/a/messages", &json!({ "sender": "ann", "text": "x" }))
        .await;
    for path in [
        "/chat/a/messages",
        "/chat/",
        "/chat/a",
        "/chat/a/users",
        "/users/ann/count",
        "/chat/a/messages?after=0",
    ] {
        let first = client.get(path).await;
        let tag = first.header("etag").expect(path).to_owned();
        let mut again = server
            .client()
            .with_header("if-none-match", &format!("\"other\", W/{tag}"));
        let unchanged = again.get(path).await;
        assert_eq!(
            (
                unchanged.status,
                unchanged.body.len(),
                unchanged.header("etag")
            ),
            (304, 0, Some(tag.as_str())),
            "{path}"
        );
        let head = client.send(Method::HEAD, path, "").await;
        assert_eq!(
            (head.status, head.body.len(), head.header("etag")),
            (200, 0, Some(tag.as_str())),
            "{path}"
        );
        assert_eq!(
            head.header("content-length"),
            Some(first.body.len().to_string().as_str()),
            "{path}"
        );
        client
            .post(
                "/chat/a/messages",
                &json!({ "sender": format!("u{}", first.body.len()), "text": "y" }),
            )
            .await;
        client
            .post("/chat/a/messages", &json!({ "sender": "ann", "text": "y" }))
            .await;
        client
            .send(Method::PUT, &format!("/chat/new{}", first.body.len()), "")
            .await;
        assert_eq!(again.get(path).await.status, 200, "{path} has changed");
    }
}
