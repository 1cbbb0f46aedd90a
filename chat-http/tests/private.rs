//! Private rooms, bans and deleted messages, over real sockets, on every kind of store.

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use chat_testkit::http::{Client, Reply};
use chat_testkit::live::{Events, Socket, make_room};
use chatcore::{Privacy, RoomName, Username};
use hyper::Method;
use serde_json::{Value, json};

use support::{PASSWORD, Running};

on_every_store! {
    a_private_room_is_its_members_alone,
    a_room_is_private_from_the_start_or_never,
    sockets_of_others_hear_nothing_of_a_private_room,
    who_is_removed_is_cut_off,
    an_event_stream_ends_with_its_session,
    a_wait_ends_with_its_session,
    a_banned_name_writes_nothing,
    a_deleted_message_keeps_its_number,
    a_deletion_is_told_on_sockets_and_streams,
    who_is_banned_changes_nothing,
    the_pages_let_an_owner_look_after_a_room,
    a_direct_conversation_is_of_two,
    names_in_the_lists_of_a_room_are_text,
    a_stranger_gets_the_same_of_a_private_room_and_of_none,
    a_wait_of_a_stranger_ends_with_the_session_whether_the_room_is_private_or_none,
}

fn problem(reply: &Reply) -> (u16, String) {
    (
        reply.status,
        reply.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

fn refused(status: u16, detail: &str) -> (u16, String) {
    (status, detail.to_owned())
}

/// A private room "den" of ann's with one message.
async fn den(server: &Running) -> Client {
    let mut ann = server.account("ann").await;
    let made = ann
        .send(Method::PUT, "/chat/den", r#"{"private":true}"#)
        .await;
    assert_eq!(
        (
            made.status,
            made.json()["private"].clone(),
            made.json()["owner"].clone()
        ),
        (201, json!(true), json!("ann"))
    );
    assert_eq!(
        ann.post("/chat/den/messages", &json!({ "text": "secret" }))
            .await
            .status,
        201
    );
    ann
}

/// A socket with the session of a client.
async fn socket(server: &Running, client: Option<&Client>) -> Socket {
    let cookie = client
        .and_then(|client| client.header("cookie"))
        .map(|cookie| ("cookie", cookie));
    Socket::open(server.address, cookie.as_slice())
        .await
        .expect("a socket")
}

/// Follows a room, which is created if need be.
async fn subscribe(socket: &mut Socket, room: &str, after: i64) {
    make_room(socket.address, room).await;
    socket
        .say(&json!({ "type": "subscribe", "room": room, "after": after }))
        .await;
    socket.expect("subscribed").await;
}

async fn events(server: &Running, client: Option<&Client>, path: &str) -> Events {
    let cookie = client
        .and_then(|client| client.header("cookie"))
        .map(|cookie| ("cookie", cookie));
    Events::open_with(server.address, path, cookie.as_slice())
        .await
        .expect("a stream")
}

async fn put(client: &mut Client, path: &str) -> u16 {
    client.send(Method::PUT, path, "").await.status
}

async fn delete(client: &mut Client, path: &str) -> u16 {
    client.send(Method::DELETE, path, "").await.status
}

async fn a_private_room_is_its_members_alone(server: &Running) {
    let mut ann = den(server).await;
    let (mut bob, mut eve) = (server.account("bob").await, server.account("eve").await);
    let mut guest = server.guest("guest").await;
    let mut nobody = server.client();
    for client in [&mut eve, &mut guest, &mut nobody] {
        assert_eq!(client.get("/chat/den/messages").await.json(), json!([]));
        assert_eq!(
            client.get("/chat/den/messages?after=0&wait=0").await.json(),
            json!([])
        );
        assert_eq!(
            client
                .get("/chat/den/messages?since=2020-01-01T00:00:00Z")
                .await
                .json(),
            json!([])
        );
        assert_eq!(client.get("/chat/").await.json(), json!([]));
        assert!(!client.get("/").await.text().contains("/rooms/den"));
        assert_eq!(client.get("/chat/den/changes").await.json(), json!([]));
        let message = client.get("/chat/den/messages/1").await;
        assert_eq!(problem(&message), refused(404, "Message not found"));
        for path in ["/chat/den", "/chat/den/users", "/chat/den/events"] {
            assert_eq!(
                problem(&client.get(path).await),
                refused(404, "Room not found"),
                "{path}"
            );
        }
        assert_eq!(client.get("/rooms/den").await.status, 404);
    }
    for client in [&mut eve, &mut guest] {
        let post = client
            .post("/chat/den/messages", &json!({ "text": "x" }))
            .await;
        assert_eq!(problem(&post), refused(404, "Room not found"));
        for what in ["join", "leave"] {
            let done = client
                .post(&format!("/chat/den/{what}"), &Value::Null)
                .await;
            assert_eq!(problem(&done), refused(404, "Room not found"));
        }
        assert_eq!(
            client
                .post("/chat/den/read", &json!({ "seq": 1 }))
                .await
                .status,
            404
        );
        let made = client.send(Method::PUT, "/chat/den", "").await;
        assert_eq!(
            problem(&made),
            refused(403, "a room of this name cannot be created")
        );
    }
    assert_eq!(put(&mut ann, "/chat/den/members/bob").await, 200);
    let unknown = ann.send(Method::PUT, "/chat/den/members/nobody", "").await;
    assert_eq!(problem(&unknown), refused(404, "no account has this name"));
    for client in [&mut ann, &mut bob] {
        let read = client.get("/chat/den/messages").await;
        assert_eq!(
            (read.json()[0]["text"].clone(), read.header("cache-control")),
            (json!("secret"), Some("no-store"))
        );
        let about = client.get("/chat/den").await;
        assert_eq!(
            (about.json()["users"].clone(), about.header("cache-control")),
            (json!(2), Some("no-store"))
        );
        assert_eq!(
            client.get("/chat/den/users").await.json(),
            json!(["ann", "bob"])
        );
        let list = client.get("/chat/").await;
        assert_eq!(
            (list.json(), list.header("cache-control")),
            (json!(["den"]), Some("no-store"))
        );
    }
    // The token serves as well as the cookie, and neither once the session has ended.
    let cookie = bob
        .post(
            "/auth/login",
            &json!({ "username": "bob", "password": PASSWORD }),
        )
        .await;
    let token = cookie
        .cookie()
        .expect("a cookie")
        .split_once('=')
        .expect("a value")
        .1
        .to_owned();
    let mut program = server
        .client()
        .with_header("authorization", &format!("Bearer {token}"));
    assert_eq!(
        program.get("/chat/den/messages").await.json()[0]["text"],
        "secret"
    );
    assert_eq!(program.post("/auth/logout", &Value::Null).await.status, 200);
    assert_eq!(program.get("/chat/den/messages").await.json(), json!([]));
    assert_eq!(program.get("/chat/den").await.status, 404);
}

async fn a_room_is_private_from_the_start_or_never(server: &Running) {
    let mut ann = den(server).await;
    assert_eq!(
        ann.post("/chat/open/messages", &json!({ "text": "x" }))
            .await
            .status,
        201
    );
    let late = ann
        .send(Method::PUT, "/chat/open", r#"{"private":true}"#)
        .await;
    assert_eq!(late.status, 409, "{}", late.text());
    assert_eq!(ann.get("/chat/open").await.json()["private"], Value::Null);
    for (body, detail) in [
        (
            r#"{"private":"yes"}"#,
            "private must be true or false, not a string",
        ),
        (
            r#"{"private":{"$ne":1}}"#,
            "private must be true or false, not an object",
        ),
        ("[]", "the body must be a JSON object, not an array"),
    ] {
        let refusal = ann.send(Method::PUT, "/chat/new", body).await;
        assert_eq!(problem(&refusal), refused(400, detail));
    }
    assert_eq!(ann.get("/chat/new").await.status, 404);
    let mut guest = server.guest("guest").await;
    let private = guest
        .send(Method::PUT, "/chat/new", r#"{"private":true}"#)
        .await;
    assert_eq!(
        problem(&private),
        refused(403, "only who has an account may make a private room")
    );
    let public = ann.send(Method::PUT, "/chat/open/members/ann", "").await;
    assert_eq!(
        problem(&public),
        refused(403, "only the owner of the room may do this")
    );
    assert_eq!(put(&mut ann, "/chat/owned").await, 201);
    let public = ann.send(Method::PUT, "/chat/owned/members/ann", "").await;
    assert_eq!(
        problem(&public),
        refused(409, "the room is public: everyone may join it")
    );
}

async fn sockets_of_others_hear_nothing_of_a_private_room(server: &Running) {
    let mut ann = den(server).await;
    let eve = server.account("eve").await;
    let mut owner = socket(server, Some(&ann)).await;
    subscribe(&mut owner, "den", 0).await;
    for client in [Some(&eve), None] {
        let mut other = socket(server, client).await;
        other
            .say(&json!({ "type": "subscribe", "room": "den", "after": 0 }))
            .await;
        let answer = other.next().await.expect("an answer");
        assert_eq!(
            (&answer["type"], &answer["status"]),
            (&json!("error"), &json!(404)),
            "{answer}"
        );
        other
            .say(&json!({ "type": "post", "room": "den", "text": "x", "sender": "eve", "nonce": "n" }))
            .await;
        let answer = other.next().await.expect("an answer");
        assert_eq!(
            (&answer["type"], &answer["nonce"]),
            (&json!("error"), &json!("n")),
            "{answer}"
        );
        assert_ne!(answer["status"], 201);
        other
            .say(&json!({ "type": "read", "room": "den", "seq": 1 }))
            .await;
        let answer = other.next().await.expect("an answer");
        assert_eq!(answer["type"], "error", "{answer}");
        // The next message is of another room, though more was posted here.
        assert_eq!(
            ann.post("/chat/den/messages", &json!({ "text": "more" }))
                .await
                .status,
            201
        );
        subscribe(&mut other, "lobby", 0).await;
        assert_eq!(
            ann.post("/chat/lobby/messages", &json!({ "text": "hello" }))
                .await
                .status,
            201
        );
        let heard = other.expect("message").await;
        assert_eq!(heard["room"], "lobby");
    }
    let present = owner.expect("presence").await;
    assert_eq!(present["users"], json!(["ann"]));
}

async fn who_is_removed_is_cut_off(server: &Running) {
    let mut ann = den(server).await;
    let mut bob = server.account("bob").await;
    assert_eq!(put(&mut ann, "/chat/den/members/bob").await, 200);
    let mut socket = socket(server, Some(&bob)).await;
    subscribe(&mut socket, "den", 0).await;
    let mut events = events(server, Some(&bob), "/chat/den/events?after=0").await;
    assert_eq!(events.next().await.expect("an event").1["text"], "secret");
    assert_eq!(socket.expect("message").await["text"], "secret");
    assert_eq!(delete(&mut ann, "/chat/den/members/bob").await, 204);
    assert_eq!(
        ann.post("/chat/den/messages", &json!({ "text": "after" }))
            .await
            .status,
        201
    );
    let mut heard = socket.next().await.expect("a frame");
    while heard["type"] == "presence" || heard["type"] == "rooms" {
        heard = socket.next().await.expect("a frame");
    }
    assert_eq!(
        (&heard["type"], &heard["room"], &heard["status"]),
        (&json!("error"), &json!("den"), &json!(404))
    );
    // The socket itself goes on.
    subscribe(&mut socket, "lobby", 1).await;
    assert_eq!(events.event().await, None, "the stream ended without it");
    assert_eq!(bob.get("/chat/den/messages").await.json(), json!([]));
    assert_eq!(
        bob.post("/chat/den/messages", &json!({ "text": "x" }))
            .await
            .status,
        404
    );
    assert_eq!(
        delete(&mut ann, "/chat/den/members/bob").await,
        204,
        "once more"
    );
}

async fn an_event_stream_ends_with_its_session(server: &Running) {
    let mut ann = den(server).await;
    let login = ann
        .post(
            "/auth/login",
            &json!({ "username": "ann", "password": PASSWORD }),
        )
        .await;
    let mut elsewhere = server.client().with_session(&login);
    // The log-in ended the session that asked for it.
    let mut ann = server.client().with_session(&login);
    let mut events = events(server, Some(&ann), "/chat/den/events?after=0").await;
    assert_eq!(events.next().await.expect("an event").1["text"], "secret");
    assert_eq!(
        elsewhere.post("/auth/logout", &Value::Null).await.status,
        200
    );
    assert_eq!(events.event().await, None);
    assert_eq!(ann.get("/chat/den/events").await.status, 404);
}

async fn a_wait_ends_with_its_session(server: &Running) {
    let mut ann = den(server).await;
    let login = ann
        .post(
            "/auth/login",
            &json!({ "username": "ann", "password": PASSWORD }),
        )
        .await;
    let mut elsewhere = server.client().with_session(&login);
    let mut waiting = server.client().with_session(&login);
    let waiting =
        tokio::spawn(async move { waiting.get("/chat/den/messages?after=1&wait=30").await });
    // It waits once it is counted.
    while elsewhere.metric("chat_live_followers").await < 1 {
        tokio::task::yield_now().await;
    }
    let started = std::time::Instant::now();
    assert_eq!(
        elsewhere.post("/auth/logout", &Value::Null).await.status,
        200
    );
    assert_eq!(waiting.await.expect("no panic").json(), json!([]));
    assert!(
        started.elapsed().as_secs() < 30,
        "it did not wait to the end"
    );
}

async fn a_banned_name_writes_nothing(server: &Running) {
    let mut ann = server.account("ann").await;
    assert_eq!(put(&mut ann, "/chat/q").await, 201);
    let mut bob = server.guest("bob").await;
    let post = json!({ "text": "x" });
    assert_eq!(bob.post("/chat/q/messages", &post).await.status, 201);
    let mut socket = socket(server, Some(&bob)).await;
    subscribe(&mut socket, "q", 1).await;
    assert_eq!(put(&mut bob, "/chat/q/bans/ann").await, 403);
    assert_eq!(put(&mut ann, "/chat/q/bans/bob").await, 200);
    let cut = socket.expect("error").await;
    assert_eq!(
        (&cut["room"], &cut["status"]),
        (&json!("q"), &json!(403)),
        "{cut}"
    );
    let banned = refused(403, "this name is banned from the room");
    assert_eq!(problem(&bob.post("/chat/q/messages", &post).await), banned);
    assert_eq!(
        problem(&bob.post("/chat/q/join", &Value::Null).await),
        banned
    );
    let as_bob = json!({ "text": "x", "sender": "BOB" });
    assert_eq!(
        problem(&server.client().post("/chat/q/messages", &as_bob).await),
        banned
    );
    assert_eq!(
        bob.get("/chat/q/messages")
            .await
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(ann.get("/chat/q/users").await.json(), json!([]));
    assert_eq!(ann.get("/chat/q/bans").await.json(), json!(["bob"]));
    assert_eq!(bob.get("/chat/q/bans").await.status, 403);
    let own = ann.send(Method::PUT, "/chat/q/bans/Ann", "").await;
    assert_eq!(
        problem(&own),
        refused(403, "the owner of a room cannot be banned from it")
    );
    assert_eq!(delete(&mut ann, "/chat/q/bans/bob").await, 204);
    assert_eq!(delete(&mut ann, "/chat/q/bans/bob").await, 404);
    assert_eq!(bob.post("/chat/q/messages", &post).await.status, 201);
}

async fn a_deleted_message_keeps_its_number(server: &Running) {
    let mut ann = server.account("ann").await;
    let (mut bob, mut guest) = (server.account("bob").await, server.guest("guest").await);
    assert_eq!(put(&mut ann, "/chat/q").await, 201);
    let nonce = json!({ "text": "from a guest", "nonce": "n" });
    assert_eq!(
        bob.post("/chat/q/messages", &json!({ "text": "from bob" }))
            .await
            .status,
        201
    );
    assert_eq!(guest.post("/chat/q/messages", &nonce).await.status, 201);
    assert_eq!(
        bob.post("/chat/q/messages", &json!({ "text": "stays" }))
            .await
            .status,
        201
    );
    let before = bob.get("/chat/q/messages").await;
    let tag = before.header("etag").expect("an ETag").to_owned();
    let detail = "only who wrote a message, or the owner of the room, may delete it";
    let other = guest.send(Method::DELETE, "/chat/q/messages/2", "").await;
    assert_eq!(
        problem(&other),
        refused(403, detail),
        "a guest's name proves nothing"
    );
    assert_eq!(delete(&mut bob, "/chat/q/messages/2").await, 403);
    assert_eq!(delete(&mut bob, "/chat/q/messages/1").await, 204);
    assert_eq!(delete(&mut ann, "/chat/q/messages/2").await, 204);
    assert_eq!(
        delete(&mut ann, "/chat/q/messages/2").await,
        204,
        "once more"
    );
    let after = server
        .client()
        .with_header("if-none-match", &tag)
        .get("/chat/q/messages")
        .await;
    assert_eq!(after.status, 200);
    for (was, is) in before
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .zip(after.json().as_array().expect("a list"))
    {
        if is["seq"] == 3 {
            assert_eq!(was, is);
            continue;
        }
        let blank = json!({
            "room": "q", "seq": was["seq"], "sender": "", "text": "", "timestamp": was["timestamp"],
            "verified": false, "deleted": true, "change": was["seq"],
        });
        assert_eq!(*is, blank);
    }
    assert_eq!(
        server.client().get("/users/bob/count").await.json()["message_count"],
        1
    );
    assert_eq!(
        server.client().get("/users/guest/count").await.json()["message_count"],
        0
    );
    let again = guest.post("/chat/q/messages", &nonce).await;
    assert_eq!(
        (
            again.status,
            again.json()["seq"].clone(),
            again.json()["deleted"].clone()
        ),
        (200, json!(2), json!(true))
    );
    for (path, status) in [
        ("0", 404),
        ("4", 404),
        ("x", 400),
        ("-1", 400),
        ("1%2F", 400),
    ] {
        assert_eq!(
            delete(&mut ann, &format!("/chat/q/messages/{path}")).await,
            status,
            "{path}"
        );
    }
    let page = server.client().get("/rooms/q").await.text();
    assert!(!page.contains("from bob") && !page.contains("from a guest") && page.contains("stays"));
    assert_eq!(page.matches(" data-deleted>").count(), 2);
}

async fn a_deletion_is_told_on_sockets_and_streams(server: &Running) {
    let mut ann = server.account("ann").await;
    assert_eq!(
        ann.post("/chat/q/messages", &json!({ "text": "one" }))
            .await
            .status,
        201
    );
    let mut socket = socket(server, None).await;
    subscribe(&mut socket, "q", 0).await;
    let mut stream = events(server, None, "/chat/q/events?after=0").await;
    assert_eq!(stream.next().await.expect("an event").0, 1);
    assert_eq!(delete(&mut ann, "/chat/q/messages/1").await, 204);
    let mut told = socket.expect("changed").await;
    assert_eq!(
        (&told["seq"], &told["deleted"], &told["change"]),
        (&json!(1), &json!(true), &json!(1))
    );
    told.as_object_mut().expect("an object").remove("type");
    let event = stream.event().await.expect("an event");
    assert_eq!(
        (event.kind.as_str(), event.id.as_str(), &event.data),
        ("changed", "1.1", &told)
    );
    assert_eq!(
        ann.post("/chat/q/messages", &json!({ "text": "two" }))
            .await
            .status,
        201
    );
    assert_eq!(stream.next().await.expect("an event").0, 2, "it goes on");
    let mut late = events(server, None, "/chat/q/events?after=0").await;
    let (id, blank) = late.next().await.expect("an event");
    assert_eq!(
        (id, &blank["deleted"], &blank["text"]),
        (1, &json!(true), &json!(""))
    );
}

async fn who_is_banned_changes_nothing(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    let mut guest = server.guest("guest").await;
    assert_eq!(put(&mut ann, "/chat/q").await, 201);
    assert_eq!(
        bob.post("/chat/q/messages", &json!({ "text": "one" }))
            .await
            .status,
        201
    );
    let reaction = "/chat/q/messages/1/reactions/%F0%9F%91%8D";
    assert_eq!(
        (
            put(&mut bob, reaction).await,
            put(&mut guest, reaction).await
        ),
        (200, 200)
    );
    for name in ["bob", "guest"] {
        assert_eq!(put(&mut ann, &format!("/chat/q/bans/{name}")).await, 200);
    }
    let banned = refused(403, "this name is banned from the room");
    let edited = bob
        .send(Method::PATCH, "/chat/q/messages/1", r#"{"text":"two"}"#)
        .await;
    assert_eq!(problem(&edited), banned);
    let deleted = bob.send(Method::DELETE, "/chat/q/messages/1", "").await;
    assert_eq!(problem(&deleted), banned);
    for client in [&mut bob, &mut guest] {
        for method in [Method::PUT, Method::DELETE] {
            assert_eq!(problem(&client.send(method, reaction, "").await), banned);
        }
    }
    let message = server.client().get("/chat/q/messages/1").await.json();
    assert_eq!(
        (&message["text"], &message["change"]),
        (&json!("one"), &json!(2))
    );
    assert_eq!(delete(&mut ann, "/chat/q/bans/bob").await, 204);
    assert_eq!(
        bob.send(Method::PATCH, "/chat/q/messages/1", r#"{"text":"two"}"#)
            .await
            .status,
        200
    );

    // The same for a member who was removed.
    assert_eq!(
        ann.send(Method::PUT, "/chat/den", r#"{"private":true}"#)
            .await
            .status,
        201
    );
    assert_eq!(put(&mut ann, "/chat/den/members/bob").await, 200);
    assert_eq!(
        bob.post("/chat/den/messages", &json!({ "text": "one" }))
            .await
            .status,
        201
    );
    assert_eq!(delete(&mut ann, "/chat/den/members/bob").await, 204);
    let missing = refused(404, "Room not found");
    let edited = bob
        .send(Method::PATCH, "/chat/den/messages/1", r#"{"text":"two"}"#)
        .await;
    assert_eq!(problem(&edited), missing);
    let reaction = "/chat/den/messages/1/reactions/%F0%9F%91%8D";
    assert_eq!(problem(&bob.send(Method::PUT, reaction, "").await), missing);
    assert_eq!(ann.get("/chat/den/changes").await.json(), json!([]));
}

async fn the_pages_let_an_owner_look_after_a_room(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    let opened = ann.form("/rooms", "room=den&private=on").await;
    assert_eq!(
        (opened.status, opened.header("location")),
        (303, Some("/rooms/den"))
    );
    assert_eq!(ann.form("/rooms/den", "text=secret").await.status, 303);
    let page = ann.get("/rooms/den").await.text();
    assert!(page.contains(">private</small>"), "{page}");
    let people = ann.get("/rooms/den/people").await.text();
    assert!(people.contains("value=\"invite\""), "{people}");
    let message = ann.get("/rooms/den/messages/1").await.text();
    assert!(message.contains("value=\"delete\"") && message.contains("value=\"edit\""));
    let taken = bob.form("/rooms", "room=den").await;
    assert_eq!(taken.status, 403);
    assert!(
        taken.text().contains("value=\"den\""),
        "what was typed stays"
    );
    let unknown = ann
        .form("/rooms/den/people", "username=nobody&do=invite")
        .await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .text()
            .contains("Nobody with an account has this name.")
    );
    assert_eq!(
        ann.form("/rooms/den/people", "username=bob&do=dance")
            .await
            .status,
        400
    );
    assert_eq!(
        ann.form("/rooms/den/people", "username=bob&do=invite")
            .await
            .status,
        303
    );
    assert!(bob.get("/rooms/den").await.text().contains("secret"));
    let people = bob.get("/rooms/den/people").await.text();
    assert!(people.contains("data-user=\"ann\"") && !people.contains("value=\"invite\""));
    let message = bob.get("/rooms/den/messages/1").await.text();
    assert!(!message.contains("value=\"delete\"") && !message.contains("value=\"edit\""));
    assert_eq!(bob.form("/rooms/den", "text=from+bob").await.status, 303);
    assert!(
        bob.get("/rooms/den/messages/2")
            .await
            .text()
            .contains("value=\"delete\""),
        "one's own"
    );
    for (user, seq, status) in [(&mut bob, 1, 403), (&mut ann, 2, 303)] {
        let path = format!("/rooms/den/messages/{seq}");
        assert_eq!(user.form(&path, "do=delete").await.status, status);
    }
    assert!(!ann.get("/rooms/den").await.text().contains("from bob"));
    assert_eq!(
        ann.form("/rooms/den/people", "username=bob&do=ban")
            .await
            .status,
        303
    );
    assert_eq!(bob.get("/rooms/den").await.status, 404);
    assert!(
        ann.get("/rooms/den/people")
            .await
            .text()
            .contains("Lift ban")
    );
    assert_eq!(
        ann.form("/rooms/den/people", "username=bob&do=unban")
            .await
            .status,
        303
    );
    assert!(
        !ann.get("/rooms/den/people")
            .await
            .text()
            .contains("Lift ban")
    );
}

async fn a_direct_conversation_is_of_two(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    server.account("eve").await;
    let (api, page) = ("/chat/%40ann%20%26%20bob", "/rooms/%40ann%20%26%20bob");
    assert_eq!(ann.form("/direct", "username=bob").await.status, 303);
    for (client, text) in [(&mut ann, "from ann"), (&mut bob, "from bob")] {
        let posted = client
            .post(&format!("{api}/messages"), &json!({ "text": text }))
            .await;
        assert_eq!(posted.status, 201);
    }

    // Who began it owns the room, and has no say over the other.
    for (method, path) in [
        (Method::PUT, "members/eve"),
        (Method::DELETE, "members/bob"),
        (Method::PUT, "bans/bob"),
    ] {
        let reply = ann.send(method, &format!("{api}/{path}"), "").await;
        let detail = "nobody is invited to, removed or banned from a direct conversation";
        assert_eq!(problem(&reply), refused(403, detail), "{path}");
    }
    let people = format!("{page}/people");
    for form in [
        "username=eve&do=invite",
        "username=bob&do=remove",
        "username=bob&do=ban",
    ] {
        let reply = ann.form(&people, form).await;
        assert_eq!(reply.status, 403, "{form}");
        assert!(reply.text().contains("Nobody can be added"), "{form}");
    }
    let shown = ann.get(&people).await.text();
    assert!(!shown.contains("value=\"remove\"") && !shown.contains("value=\"ban\""));

    let detail = "only who wrote a message of a direct conversation may delete it";
    let reply = ann
        .send(Method::DELETE, &format!("{api}/messages/2"), "")
        .await;
    assert_eq!(problem(&reply), refused(403, detail));
    let message = format!("{page}/messages/2");
    assert_eq!(ann.form(&message, "do=delete").await.status, 403);
    let shown = ann.get(&message).await.text();
    assert!(!shown.contains("value=\"delete\""));
    let room = ann.get(page).await.text();
    assert!(room.contains("data-owner=\"false\"") && room.contains("from bob"));

    assert_eq!(delete(&mut ann, &format!("{api}/messages/1")).await, 204);
    assert_eq!(bob.form(&message, "do=delete").await.status, 303);
    assert!(bob.get(page).await.text().contains("data-deleted"));

    // A program can make a room of any name.
    let room: RoomName = "@ann & eve".parse().expect("a name");
    let owner: Username = "bob".parse().expect("a name");
    let made = server
        .store
        .create_room_for(&room, &owner, Privacy::Private);
    assert!(made.await.expect("made"));
    assert_eq!(ann.form("/direct", "username=eve").await.status, 403);
}

async fn names_in_the_lists_of_a_room_are_text(server: &Running) {
    let mut ann = server.account("ann").await;
    assert_eq!(ann.form("/rooms", "room=den&private=on").await.status, 303);
    let names = [
        "<script>alert(1)<script>",
        "\"'><img\u{a0}".trim_end(),
        "{x}{{if}}",
        "&lt;",
        "a%2Fb",
    ];
    for name in names {
        server.account(name).await;
        let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
        let body = format!("username={encoded}&do=invite");
        assert_eq!(
            ann.form("/rooms/den/people", &body).await.status,
            303,
            "{name}"
        );
        assert_eq!(
            put(&mut ann, &format!("/chat/den/bans/gone{encoded}")).await,
            200,
            "{name}"
        );
    }
    let mut expected: Vec<_> = names
        .iter()
        .map(|name| json!(name))
        .chain([json!("ann")])
        .collect();
    expected.sort_by_key(ToString::to_string);
    let mut listed = ann.get("/chat/den/users").await.json();
    listed
        .as_array_mut()
        .expect("a list")
        .sort_by_key(ToString::to_string);
    assert_eq!(listed, json!(expected));
    let page = ann.get("/rooms/den/people").await.text();
    for raw in ["<script>alert", "<img", "gone<", "value=\"\"'>"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(
        page.contains("{x}{{if}}") && page.contains("&amp;lt;") && page.contains("gonea%2Fb"),
        "{page}"
    );
}

async fn a_wait_of_a_stranger_ends_with_the_session_whether_the_room_is_private_or_none(
    server: &Running,
) {
    let _ann = den(server).await;
    let mut guest = server.guest("guest").await;
    let cookie = guest.header("cookie").expect("a session").to_owned();
    let began = Instant::now();
    let waits: Vec<_> = ["den/messages", "nil/messages", "den/changes", "nil/changes"]
        .map(|path| {
            let mut client = server.client().with_header("cookie", &cookie);
            let path = format!("/chat/{path}?after=0&wait=30");
            tokio::spawn(async move { client.get(&path).await })
        })
        .into();
    while server.client().metric("chat_live_followers").await < 4 {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody waits");
    }
    assert_eq!(guest.post("/auth/logout", &json!({})).await.status, 200);
    for wait in waits {
        assert_eq!(wait.await.expect("no panic").json(), json!([]));
    }
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
}

async fn a_stranger_gets_the_same_of_a_private_room_and_of_none(server: &Running) {
    let _ann = den(server).await;
    let eve = server.account("eve").await;
    let guest = server.guest("guest").await;
    for mut client in [eve, guest, server.client()] {
        for path in [
            "/rooms/{}",
            "/chat/{}",
            "/chat/{}/users",
            "/chat/{}/messages",
            "/chat/{}/messages?after=0&wait=0",
            "/chat/{}/messages/1",
            "/chat/{}/messages/9",
            "/chat/{}/changes",
            "/chat/{}/changes?after=0&wait=1",
            "/chat/{}/changes?after=1",
            "/chat/{}/changes?after=9&wait=1",
            "/chat/{}/events",
            "/chat/{}/events?after=0",
            "/chat/{}/events?after=0&changes_after=0",
            "/chat/{}/events?after=0&changes_after=9",
        ] {
            let [den, none] = [
                client.get(&path.replace("{}", "den")).await,
                client.get(&path.replace("{}", "nil")).await,
            ];
            // The date, and what depends on the length of the name, do not.
            let headers = |reply: &Reply| {
                let kept = reply.headers.iter().filter(|(name, _)| *name != "date");
                kept.map(|(name, value)| format!("{name}: {value:?}"))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                (den.status, headers(&den)),
                (none.status, headers(&none)),
                "{path}"
            );
            assert_eq!(
                den.text().replace("den", "nil"),
                none.text().replace("den", "nil"),
                "{path}"
            );
        }

        for (method, path, body) in [
            (Method::PATCH, "/chat/{}", r#"{"topic":"x"}"#),
            (Method::PATCH, "/chat/{}/messages/1", r#"{"text":"x"}"#),
            (Method::DELETE, "/chat/{}/messages/1", ""),
            (
                Method::PUT,
                "/chat/{}/messages/1/reactions/%F0%9F%91%8D",
                "",
            ),
            (
                Method::DELETE,
                "/chat/{}/messages/1/reactions/%F0%9F%91%8D",
                "",
            ),
        ] {
            let [den, none] = ["den", "nil"].map(|room| path.replace("{}", room));
            let den = client.send(method.clone(), &den, body).await;
            let none = client.send(method.clone(), &none, body).await;
            assert_eq!(
                (den.status, den.text()),
                (none.status, none.text()),
                "{method} {path}"
            );
        }

        let mut socket = socket(server, Some(&client)).await;
        for frame in [
            json!({ "type": "subscribe" }),
            json!({ "type": "subscribe", "after": 0 }),
            json!({ "type": "subscribe", "after": 0, "changes_after": 9 }),
            json!({ "type": "typing" }),
            json!({ "type": "read", "seq": 1 }),
            json!({ "type": "unsubscribe" }),
            json!({ "type": "subscribe", "after": 1 }),
        ] {
            let mut answers = Vec::new();
            for room in ["den", "nil"] {
                let mut frame = frame.clone();
                frame["room"] = json!(room);
                socket.say(&frame).await;
                if frame["type"] != "unsubscribe" {
                    answers.push(
                        socket
                            .next()
                            .await
                            .expect("an answer")
                            .to_string()
                            .replace("den", "nil"),
                    );
                }
            }
            assert_eq!(answers.first(), answers.last(), "{frame}");
        }
    }
}
