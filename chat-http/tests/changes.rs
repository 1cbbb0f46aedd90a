//! Edits, replies, reactions, mentions, topics and the log of changes, over real sockets, on every
//! kind of store.

#[macro_use]
mod support;

use chat_testkit::http::{Client, Reply};
use chat_testkit::live::{Event, Events, Socket};
use hyper::Method;
use serde_json::{Value, json};

use support::Running;

on_every_store! {
    who_wrote_a_message_edits_it,
    a_reply_names_an_earlier_message,
    a_user_reacts_with_an_emoji_once,
    a_message_has_twenty_different_emoji_at_most,
    the_log_has_each_changed_message_once,
    a_wait_for_changes_is_answered_by_the_next_one,
    an_event_stream_goes_on_after_its_position,
    a_socket_goes_on_after_its_position,
    a_mention_is_counted_listed_and_told,
    a_mention_in_a_private_room_reaches_its_members_alone,
    the_owner_sets_the_topic_and_followers_are_told,
    an_etag_follows_changes,
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

async fn post(client: &mut Client, text: &str) -> Value {
    let reply = client
        .post("/chat/a/messages", &json!({ "text": text }))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

async fn edit(client: &mut Client, seq: i64, text: &str) -> Reply {
    let body = json!({ "text": text }).to_string();
    client
        .send(Method::PATCH, &format!("/chat/a/messages/{seq}"), &body)
        .await
}

async fn delete(client: &mut Client, seq: i64) -> u16 {
    client
        .send(Method::DELETE, &format!("/chat/a/messages/{seq}"), "")
        .await
        .status
}

async fn react(client: &mut Client, method: Method, seq: i64, emoji: &str) -> Reply {
    let encoded: String = emoji.bytes().map(|byte| format!("%{byte:02X}")).collect();
    client
        .send(
            method,
            &format!("/chat/a/messages/{seq}/reactions/{encoded}"),
            "",
        )
        .await
}

async fn message(server: &Running, seq: i64) -> Value {
    let reply = server
        .client()
        .get(&format!("/chat/a/messages/{seq}"))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
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

async fn subscribe(socket: &mut Socket, frame: Value) -> Value {
    socket.say(&frame).await;
    socket.expect("subscribed").await
}

/// Numbers of messages and of their changes.
fn numbers(messages: &Value) -> Vec<(i64, i64)> {
    let number = |message: &Value| (message["seq"].as_i64(), message["change"].as_i64());
    let messages = messages.as_array().expect("an array").iter().map(number);
    messages
        .map(|(seq, change)| (seq.expect("a seq"), change.expect("a change")))
        .collect()
}

async fn who_wrote_a_message_edits_it(server: &Running) {
    let mut ann = server.account("ann").await;
    let (mut bob, mut guest) = (server.account("bob").await, server.guest("guest").await);
    let first = post(&mut ann, "one @bob").await;
    assert_eq!(first["mentions"], json!(["bob"]));
    post(&mut guest, "from a guest").await;

    let edited = edit(&mut ann, 1, "two @guest").await;
    assert_eq!(edited.status, 200, "{}", edited.text());
    let edited = edited.json();
    let edited_at = edited["edited_at"].as_str().expect("a time").to_owned();
    assert!(edited_at.as_str() >= first["timestamp"].as_str().expect("a time"));
    let expected = json!({
        "room": "a", "seq": 1, "sender": "ann", "text": "two @guest", "timestamp": first["timestamp"],
        "verified": true, "mentions": ["guest"], "edited_at": edited_at, "change": 1,
    });
    assert_eq!(edited, expected);
    assert_eq!(message(server, 1).await, expected);
    assert_eq!(
        server.client().get("/chat/a/messages").await.json()[0],
        expected
    );
    assert_eq!(
        server.client().get("/chat/a").await.json()["last_change"],
        1
    );
    assert_eq!(
        server.client().get("/users/ann/count").await.json()["message_count"],
        1
    );

    let detail = "only the account that wrote a message may edit it";
    assert_eq!(problem(&edit(&mut bob, 1, "x").await), refused(403, detail));
    assert_eq!(
        problem(&edit(&mut ann, 2, "x").await),
        refused(403, detail),
        "a guest's"
    );
    assert_eq!(
        edit(&mut guest, 2, "x").await.status,
        403,
        "a guest's name proves nothing"
    );
    assert_eq!(edit(&mut server.client(), 1, "x").await.status, 401);
    assert_eq!(
        problem(&edit(&mut ann, 3, "x").await),
        refused(404, "Message not found")
    );
    assert_eq!(
        problem(&edit(&mut ann, 0, "x").await),
        refused(404, "Message not found")
    );
    for (body, detail) in [
        (
            json!({ "text": "x".repeat(4_001) }),
            "text must be at most 4000 characters",
        ),
        (
            json!({ "text": " \n" }),
            "text must contain a character that is not white space",
        ),
        (json!({ "text": 1 }), "text must be a string, not a number"),
        (json!({}), "text is missing"),
    ] {
        let reply = ann
            .send(Method::PATCH, "/chat/a/messages/1", &body.to_string())
            .await;
        assert_eq!(problem(&reply), refused(400, detail), "{body}");
    }
    let long = edit(&mut ann, 1, &"🦀".repeat(4_000)).await;
    assert_eq!((long.status, &long.json()["change"]), (200, &json!(2)));
    assert_eq!(delete(&mut ann, 1).await, 204);
    assert_eq!(
        problem(&edit(&mut ann, 1, "x").await),
        refused(409, "the message is deleted")
    );
    let blank = json!({
        "room": "a", "seq": 1, "sender": "", "text": "", "timestamp": first["timestamp"], "verified": false,
        "deleted": true, "change": 3,
    });
    assert_eq!(message(server, 1).await, blank);
}

async fn a_reply_names_an_earlier_message(server: &Running) {
    let mut ann = server.account("ann").await;
    post(&mut ann, "first").await;
    let reply = json!({ "text": "second", "reply_to": 1, "nonce": "n" });
    let answered = ann.post("/chat/a/messages", &reply).await;
    assert_eq!(
        (answered.status, &answered.json()["reply_to"]),
        (201, &json!(1))
    );
    let repeated = ann.post("/chat/a/messages", &reply).await;
    assert_eq!(
        (repeated.status, &repeated.json()["reply_to"]),
        (200, &json!(1))
    );

    let mut socket = socket(server, Some(&ann)).await;
    let frame = json!({ "type": "post", "room": "a", "text": "third", "reply_to": 2 });
    socket.say(&frame).await;
    assert_eq!(socket.expect("posted").await["seq"], 3);
    assert_eq!(
        ann.form("/rooms/a", "text=fourth&reply_to=3").await.status,
        303
    );
    assert_eq!(
        ann.form("/rooms/a", "text=fifth&reply_to=").await.status,
        303
    );
    let read = server.client().get("/chat/a/messages").await.json();
    let replies: Vec<_> = read
        .as_array()
        .expect("messages")
        .iter()
        .map(|m| m["reply_to"].as_i64())
        .collect();
    assert_eq!(replies, [None, Some(1), Some(2), Some(3), None]);

    // Later, itself, none, and what is no number.
    for to in [
        json!(99),
        json!(6),
        json!(7),
        json!(0),
        json!(-1),
        json!("1"),
        json!(1.5),
    ] {
        let reply = ann
            .post("/chat/a/messages", &json!({ "text": "x", "reply_to": to }))
            .await;
        assert_eq!(reply.status, 400, "{to}: {}", reply.text());
        assert!(
            problem(&reply).1.starts_with("reply_to "),
            "{to}: {}",
            reply.text()
        );
        socket
            .say(&json!({ "type": "post", "room": "a", "text": "x", "reply_to": to }))
            .await;
        let error = socket.expect("error").await;
        assert_eq!(
            (&error["status"], &error["room"]),
            (&json!(400), &json!("a")),
            "{to}"
        );
    }
    // A room that does not exist is not created by an answer, so that it looks like a private one.
    for (status, before) in [(404, None), (400, Some("the first"))] {
        if let Some(text) = before {
            assert_eq!(
                ann.post("/chat/b/messages", &json!({ "text": text }))
                    .await
                    .status,
                201
            );
        }
        let elsewhere = ann
            .post("/chat/b/messages", &json!({ "text": "x", "reply_to": 2 }))
            .await;
        assert_eq!(elsewhere.status, status, "a message of another room");
    }
    assert_eq!(ann.form("/rooms/a", "text=x&reply_to=9").await.status, 400);
    assert_eq!(ann.form("/rooms/a", "text=x&reply_to=x").await.status, 400);
    assert_eq!(server.client().get("/chat/a").await.json()["last_seq"], 5);

    assert_eq!(delete(&mut ann, 1).await, 204);
    assert_eq!(message(server, 2).await["reply_to"], 1, "a reply stays");
}

async fn a_user_reacts_with_an_emoji_once(server: &Running) {
    let mut ann = server.account("ann").await;
    let (mut bob, mut guest) = (server.account("bob").await, server.guest("guest").await);
    post(&mut ann, "hello").await;

    let crab = |users: &[&str]| json!({ "emoji": "🦀", "count": users.len(), "users": users });
    let wave = |users: &[&str]| json!({ "emoji": "👋🏽", "count": users.len(), "users": users });
    for _ in 0..2 {
        let reply = react(&mut bob, Method::PUT, 1, "🦀").await;
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({ "reactions": [crab(&["bob"])] }))
        );
    }
    react(&mut guest, Method::PUT, 1, "👋🏽").await;
    let reply = react(&mut ann, Method::PUT, 1, "👋🏽").await;
    assert_eq!(
        reply.json(),
        json!({ "reactions": [crab(&["bob"]), wave(&["guest", "ann"])] })
    );
    let reply = react(&mut ann, Method::PUT, 1, "🦀").await;
    let expected = json!([crab(&["bob", "ann"]), wave(&["guest", "ann"])]);
    assert_eq!(reply.json(), json!({ "reactions": expected }));
    let stored = message(server, 1).await;
    assert_eq!(
        (&stored["reactions"], &stored["change"]),
        (&expected, &json!(4))
    );
    assert!(stored.get("edited_at").is_none());

    let reply = react(&mut bob, Method::DELETE, 1, "🦀").await;
    assert_eq!(
        reply.json()["reactions"],
        json!([crab(&["ann"]), wave(&["guest", "ann"])])
    );
    let again = react(&mut bob, Method::DELETE, 1, "🦀").await;
    assert_eq!(
        (again.status, again.json()),
        (200, reply.json()),
        "also when nothing changed"
    );
    let last = react(&mut ann, Method::DELETE, 1, "🦀").await;
    assert_eq!(last.json()["reactions"], json!([wave(&["guest", "ann"])]));
    assert_eq!(
        react(&mut server.client(), Method::PUT, 1, "🦀")
            .await
            .status,
        401
    );
    assert_eq!(
        problem(&react(&mut ann, Method::PUT, 2, "🦀").await),
        refused(404, "Message not found")
    );

    // Without the selector that makes it an emoji, it is the same one.
    let heart = react(&mut ann, Method::PUT, 1, "\u{2764}").await;
    assert_eq!(heart.json()["reactions"][1]["emoji"], "\u{2764}\u{fe0f}");
    let many = "👍".repeat(60);
    for wrong in [
        "x", "👍👍", &many, "👍 ", ":+1:", "\u{200d}", "<b>", "\0", "e\u{301}",
    ] {
        let detail = refused(400, "emoji must be one known emoji");
        assert_eq!(
            problem(&react(&mut ann, Method::PUT, 1, wrong).await),
            detail,
            "{wrong}"
        );
        assert_eq!(
            problem(&react(&mut ann, Method::DELETE, 1, wrong).await),
            detail,
            "{wrong}"
        );
    }
    let malformed = ann
        .send(Method::PUT, "/chat/a/messages/1/reactions/%F0%9F", "")
        .await;
    assert_eq!(
        problem(&malformed),
        refused(400, "the percent-encoding is not of UTF-8")
    );

    assert_eq!(delete(&mut ann, 1).await, 204);
    assert_eq!(
        problem(&react(&mut bob, Method::PUT, 1, "🦀").await),
        refused(409, "the message is deleted")
    );
    assert!(message(server, 1).await.get("reactions").is_none());
}

async fn a_message_has_twenty_different_emoji_at_most(server: &Running) {
    let emoji: Vec<String> = ('\u{1f600}'..).take(21).map(String::from).collect();
    let (mut ann, mut bob) = (server.account("ann").await, server.guest("bob").await);
    post(&mut ann, "hello").await;
    for one in &emoji[..20] {
        assert_eq!(
            react(&mut ann, Method::PUT, 1, one).await.status,
            200,
            "{one}"
        );
    }
    let full = refused(409, "a message has at most 20 different emoji");
    assert_eq!(
        problem(&react(&mut bob, Method::PUT, 1, &emoji[20]).await),
        full
    );
    assert_eq!(
        react(&mut bob, Method::PUT, 1, &emoji[7]).await.status,
        200,
        "one that is there"
    );
    assert_eq!(
        react(&mut ann, Method::DELETE, 1, &emoji[0]).await.status,
        200
    );
    let reply = react(&mut bob, Method::PUT, 1, &emoji[20]).await;
    let listed = reply.json();
    let listed = listed["reactions"]
        .as_array()
        .expect("reactions")
        .iter()
        .map(|reaction| &reaction["emoji"]);
    assert_eq!(
        listed.collect::<Vec<_>>(),
        emoji[1..].iter().collect::<Vec<_>>()
    );

    // All users count, and the first ten are listed.
    for number in 0..12 {
        let mut guest = server.guest(&format!("guest{number}")).await;
        react(&mut guest, Method::PUT, 1, &emoji[7]).await;
    }
    let stored = message(server, 1).await;
    let users = [
        "ann", "bob", "guest0", "guest1", "guest2", "guest3", "guest4", "guest5", "guest6",
        "guest7",
    ];
    assert_eq!(
        stored["reactions"][6],
        json!({ "emoji": emoji[7], "count": 14, "users": users })
    );
    let left = react(&mut bob, Method::DELETE, 1, &emoji[7]).await.json();
    let users = [
        "ann", "guest0", "guest1", "guest2", "guest3", "guest4", "guest5", "guest6", "guest7",
        "guest8",
    ];
    assert_eq!(
        left["reactions"][6],
        json!({ "emoji": emoji[7], "count": 13, "users": users })
    );
}

async fn the_log_has_each_changed_message_once(server: &Running) {
    let mut ann = server.account("ann").await;
    for text in ["1", "2", "3", "4"] {
        post(&mut ann, text).await;
    }
    let mut client = server.client();
    assert_eq!(client.get("/chat/a/changes").await.json(), json!([]));
    edit(&mut ann, 1, "1a").await;
    edit(&mut ann, 3, "3a").await;
    react(&mut ann, Method::PUT, 1, "👍").await;
    delete(&mut ann, 2).await;
    edit(&mut ann, 1, "1b").await;

    let all = client.get("/chat/a/changes?after=0").await;
    assert_eq!(
        (all.status, numbers(&all.json())),
        (200, vec![(3, 2), (2, 4), (1, 5)])
    );
    assert_eq!(
        client.get("/chat/a/changes").await.json(),
        all.json(),
        "from the start"
    );
    for changed in all.json().as_array().expect("messages") {
        assert_eq!(
            *changed,
            message(server, changed["seq"].as_i64().expect("a seq")).await
        );
    }
    let mut read =
        async |query: &str| numbers(&client.get(&format!("/chat/a/changes?{query}")).await.json());
    assert_eq!(read("after=2").await, [(2, 4), (1, 5)]);
    assert_eq!(
        read("after=3").await,
        [(2, 4), (1, 5)],
        "a number that another one replaced"
    );
    assert_eq!(read("after=0&limit=1").await, [(3, 2)]);
    assert_eq!(read("after=5").await, []);
    assert_eq!(read("after=5&wait=1").await, []);
    assert_eq!(client.get("/chat/a").await.json()["last_change"], 5);

    let gone = refused(
        410,
        "the changes after this one are not kept any more; read again what is shown",
    );
    assert_eq!(problem(&client.get("/chat/a/changes?after=6").await), gone);
    assert_eq!(
        problem(&client.get("/chat/a/changes?after=6&wait=1").await),
        gone
    );
    assert_eq!(client.get("/chat/nowhere/changes").await.json(), json!([]));
    for (query, detail) in [
        ("after=-1", "after must be a whole number from 0 up"),
        ("after=x", "after must be a whole number from 0 up"),
        ("limit=0", "limit must be a whole number from 1 to 200"),
        ("limit=201", "limit must be a whole number from 1 to 200"),
        (
            "wait=31",
            "wait must be a whole number of seconds from 0 to 30",
        ),
        ("after=1&after=2", "after is given more than once"),
    ] {
        let reply = client.get(&format!("/chat/a/changes?{query}")).await;
        assert_eq!(problem(&reply), refused(400, detail), "{query}");
    }
}

async fn a_wait_for_changes_is_answered_by_the_next_one(server: &Running) {
    let mut ann = server.account("ann").await;
    post(&mut ann, "1").await;
    edit(&mut ann, 1, "2").await;
    let mut client = server.client();
    let waiting = tokio::spawn(async move { client.get("/chat/a/changes?after=1&wait=30").await });
    while server.client().metric("chat_live_followers").await < 1 {}
    post(&mut ann, "a post is no change").await;
    edit(&mut ann, 1, "3").await;
    let found = waiting.await.expect("no panic");
    assert_eq!((found.status, numbers(&found.json())), (200, vec![(1, 2)]));
    assert_eq!(found.json()[0]["text"], "3");
}

/// Parts of an event: its kind, its id, and the text of its message.
fn described(event: Option<Event>) -> (String, String, String) {
    let event = event.expect("an event");
    let text = event.data["text"].as_str().unwrap_or_default().to_owned();
    (event.kind, event.id, text)
}

fn event(kind: &str, id: &str, text: &str) -> (String, String, String) {
    (kind.to_owned(), id.to_owned(), text.to_owned())
}

async fn an_event_stream_goes_on_after_its_position(server: &Running) {
    let mut ann = server.account("ann").await;
    post(&mut ann, "1").await;
    post(&mut ann, "2").await;
    edit(&mut ann, 1, "1a").await;

    let path = "/chat/a/events";
    let open = async |query: &str, id: Option<&str>| {
        let id = id.map(|id| ("last-event-id", id));
        Events::open_with(server.address, &format!("{path}{query}"), id.as_slice())
            .await
            .expect("a stream")
    };
    let mut now = open("", None).await;
    let mut from_start = open("?after=0&changes_after=0", None).await;
    let mut messages_only = open("?after=0", None).await;
    let mut resumed = open("?after=0&changes_after=0", Some("2.0")).await;
    let mut plain = open("?after=0&changes_after=0", Some("1")).await;
    let mut ahead = open("?after=2&changes_after=9", None).await;

    assert_eq!(
        described(from_start.event().await),
        event("message", "1.0", "1a")
    );
    assert_eq!(
        described(from_start.event().await),
        event("message", "2.0", "2")
    );
    assert_eq!(
        described(from_start.event().await),
        event("changed", "2.1", "1a")
    );
    assert_eq!(
        described(messages_only.event().await),
        event("message", "1.1", "1a")
    );
    assert_eq!(
        described(messages_only.event().await),
        event("message", "2.1", "2")
    );
    assert_eq!(
        described(resumed.event().await),
        event("changed", "2.1", "1a")
    );
    assert_eq!(described(plain.event().await), event("message", "2.1", "2"));
    let resync = ahead.event().await.expect("an event");
    assert_eq!(
        (resync.kind.as_str(), resync.id.as_str()),
        ("resync", "2.1")
    );
    assert_eq!(resync.data["room"], "a");

    edit(&mut ann, 2, "2a").await;
    for stream in [
        &mut now,
        &mut from_start,
        &mut messages_only,
        &mut resumed,
        &mut plain,
        &mut ahead,
    ] {
        let changed = stream.event().await.expect("an event");
        assert_eq!(
            (changed.kind.as_str(), changed.id.as_str()),
            ("changed", "2.2")
        );
        assert_eq!(changed.data, message(server, 2).await);
    }
    assert_eq!(delete(&mut ann, 2).await, 204);
    let deleted = now.event().await.expect("an event");
    assert_eq!(
        (deleted.kind.as_str(), deleted.id.as_str()),
        ("changed", "2.3")
    );
    assert_eq!(deleted.data["deleted"], true);
    post(&mut ann, "3").await;
    assert_eq!(described(now.event().await), event("message", "3.3", "3"));

    for (query, id) in [
        ("?changes_after=1", None),
        ("?after=1&changes_after=-1", None),
        ("?after=1&changes_after=x", None),
        ("", Some("1.")),
        ("", Some("1.x")),
        ("", Some("x.1")),
        ("", Some("1.2.3")),
    ] {
        let id = id.map(|id| ("last-event-id", id));
        let refused =
            Events::open_with(server.address, &format!("{path}{query}"), id.as_slice()).await;
        assert!(
            refused.expect_err("refused").to_string().starts_with("400"),
            "{query} {id:?}"
        );
    }
}

async fn a_socket_goes_on_after_its_position(server: &Running) {
    let mut ann = server.account("ann").await;
    post(&mut ann, "1").await;
    post(&mut ann, "2").await;
    edit(&mut ann, 1, "1a").await;
    let ends = json!({ "type": "subscribed", "room": "a", "last_seq": 2, "last_change": 1 });

    let (mut all, mut now, mut ahead) = (
        socket(server, None).await,
        socket(server, None).await,
        socket(server, None).await,
    );
    let frame = json!({ "type": "subscribe", "room": "a", "after": 0, "changes_after": 0 });
    assert_eq!(subscribe(&mut all, frame).await, ends);
    assert_eq!(
        subscribe(&mut now, json!({ "type": "subscribe", "room": "a" })).await,
        ends
    );
    for seq in [1, 2] {
        assert_eq!(all.expect("message").await["seq"], seq);
    }
    let mut expected = message(server, 1).await;
    expected["type"] = json!("changed");
    assert_eq!(all.expect("changed").await, expected);

    let frame = json!({ "type": "subscribe", "room": "a", "after": 2, "changes_after": 7 });
    subscribe(&mut ahead, frame).await;
    assert_eq!(
        ahead.expect("resync").await,
        json!({ "type": "resync", "room": "a", "last_change": 1 })
    );
    react(&mut ann, Method::PUT, 2, "👍").await;
    for socket in [&mut all, &mut now, &mut ahead] {
        let changed = socket.expect("changed").await;
        assert_eq!(
            (&changed["seq"], &changed["change"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(changed["reactions"][0]["users"], json!(["ann"]));
    }
    assert_eq!(delete(&mut ann, 1).await, 204);
    let deleted = now.expect("changed").await;
    assert_eq!(
        (&deleted["seq"], &deleted["deleted"], &deleted["text"]),
        (&json!(1), &json!(true), &json!(""))
    );

    for (more, detail) in [
        (
            json!({ "changes_after": 1 }),
            "changes_after goes with after",
        ),
        (
            json!({ "after": 1, "changes_after": -1 }),
            "changes_after must be a whole number from 0 up",
        ),
        (
            json!({ "after": 1, "changes_after": "1" }),
            "changes_after must be a whole number from 0 up",
        ),
    ] {
        let mut frame = json!({ "type": "subscribe", "room": "a" });
        frame
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        now.say(&frame).await;
        let error = now.expect("error").await;
        assert_eq!(
            (&error["status"], &error["detail"]),
            (&json!(400), &json!(detail))
        );
    }
}

/// Unread mentions of a client's user in room "a".
async fn unread(client: &mut Client, user: &str) -> Value {
    let rooms = client.get(&format!("/users/{user}/rooms")).await.json();
    let rooms = rooms.as_array().expect("rooms").clone();
    rooms
        .into_iter()
        .find(|room| room["room"] == "a")
        .map_or(Value::Null, |room| room["mentions"].clone())
}

async fn a_mention_is_counted_listed_and_told(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("Bob").await);
    post(&mut ann, "before").await;
    assert_eq!(bob.send(Method::POST, "/chat/a/join", "").await.status, 200);
    assert_eq!(ann.send(Method::PUT, "/chat/b", "").await.status, 201);
    let (mut one, mut two) = (
        socket(server, Some(&bob)).await,
        socket(server, Some(&bob)).await,
    );
    let mut other = socket(server, Some(&ann)).await;
    // Sockets that are there hear of the following.
    for socket in [&mut one, &mut two, &mut other] {
        subscribe(socket, json!({ "type": "subscribe", "room": "b" })).await;
    }

    assert_eq!(
        post(&mut ann, "hello @bob, and mail bob@example.org").await["mentions"],
        json!(["Bob"])
    );
    for socket in [&mut one, &mut two] {
        assert_eq!(
            socket.expect("mention").await,
            json!({ "type": "mention", "room": "a", "seq": 2 })
        );
    }
    post(&mut ann, "nobody").await;
    edit(&mut ann, 3, "you too, @BOB").await;
    assert_eq!(
        one.expect("mention").await["seq"],
        3,
        "an edit mentions too"
    );
    assert_eq!(unread(&mut bob, "Bob").await, 2);
    let listed = bob.get("/users/Bob/mentions").await;
    let seqs = |reply: &Reply| {
        let list = reply.json();
        list.as_array()
            .expect("messages")
            .iter()
            .map(|m| m["seq"].as_i64())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (listed.status, seqs(&listed)),
        (200, vec![Some(3), Some(2)])
    );
    assert_eq!(listed.json()[0], message(server, 3).await);
    assert_eq!(
        seqs(&bob.get("/users/Bob/mentions?limit=1").await),
        [Some(3)]
    );
    let before = listed.json()[0]["timestamp"]
        .as_str()
        .expect("a time")
        .to_owned();
    assert_eq!(
        seqs(
            &bob.get(&format!("/users/Bob/mentions?before={before}"))
                .await
        ),
        [Some(2)]
    );

    assert_eq!(
        bob.post("/chat/a/read", &json!({ "seq": 2 })).await.status,
        200
    );
    assert_eq!(unread(&mut bob, "Bob").await, 1);
    edit(&mut ann, 3, "nobody again").await;
    assert_eq!(unread(&mut bob, "Bob").await, 0);
    assert_eq!(seqs(&bob.get("/users/Bob/mentions").await), [Some(2)]);
    delete(&mut ann, 2).await;
    assert_eq!(bob.get("/users/Bob/mentions").await.json(), json!([]));

    assert_eq!(ann.get("/users/Bob/mentions").await.status, 403);
    assert_eq!(server.client().get("/users/Bob/mentions").await.status, 401);
    for query in ["limit=0", "limit=201", "before=x", "before=1"] {
        assert_eq!(
            bob.get(&format!("/users/Bob/mentions?{query}"))
                .await
                .status,
            400,
            "{query}"
        );
    }
    // The socket of another user was told nothing: what it hears next is the answer to this.
    other
        .say(&json!({ "type": "typing", "room": "nowhere" }))
        .await;
    while let Some(frame) = other.next().await {
        assert_ne!(frame["type"], "mention");
        if frame["type"] == "error" {
            break;
        }
    }
    // A name without an account is as it is written.
    assert_eq!(
        post(&mut ann, "@Guest @guest").await["mentions"],
        json!(["Guest", "guest"])
    );
    let many: String = (0..25).map(|number| format!("@user{number} ")).collect();
    assert_eq!(
        post(&mut ann, &many).await["mentions"]
            .as_array()
            .map(Vec::len),
        Some(20)
    );
}

async fn a_mention_in_a_private_room_reaches_its_members_alone(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    let mut eve = server.account("eve").await;
    assert_eq!(
        ann.send(Method::PUT, "/chat/a", r#"{"private":true}"#)
            .await
            .status,
        201
    );
    assert_eq!(
        ann.send(Method::PUT, "/chat/a/members/bob", "")
            .await
            .status,
        200
    );
    let (mut of_bob, mut of_eve) = (
        socket(server, Some(&bob)).await,
        socket(server, Some(&eve)).await,
    );
    assert_eq!(ann.send(Method::PUT, "/chat/b", "").await.status, 201);
    for socket in [&mut of_bob, &mut of_eve] {
        subscribe(socket, json!({ "type": "subscribe", "room": "b" })).await;
    }
    post(&mut ann, "@bob @eve a secret").await;
    assert_eq!(
        of_bob.expect("mention").await,
        json!({ "type": "mention", "room": "a", "seq": 1 })
    );
    let open = ann
        .post("/chat/b/messages", &json!({ "text": "@eve in the open" }))
        .await;
    assert_eq!(open.status, 201);
    assert_eq!(
        of_eve.expect("mention").await,
        json!({ "type": "mention", "room": "b", "seq": 1 })
    );

    assert_eq!(bob.get("/users/bob/mentions").await.json()[0]["room"], "a");
    let listed = eve.get("/users/eve/mentions").await.json();
    assert_eq!(
        (listed.as_array().map(Vec::len), &listed[0]["room"]),
        (Some(1), &json!("b"))
    );
    assert_eq!(
        ann.send(Method::DELETE, "/chat/a/members/bob", "")
            .await
            .status,
        204
    );
    assert_eq!(
        bob.get("/users/bob/mentions").await.json(),
        json!([]),
        "not any more"
    );

    // A user who is banned from a public room is not told either.
    assert_eq!(
        ann.send(Method::PUT, "/chat/b/bans/eve", "").await.status,
        200
    );
    for (room, text) in [("b", "@eve again"), ("c", "@eve elsewhere")] {
        let posted = ann
            .post(&format!("/chat/{room}/messages"), &json!({ "text": text }))
            .await;
        assert_eq!(posted.status, 201);
    }
    assert_eq!(
        of_eve.expect("mention").await["room"],
        "c",
        "none of the other room came before"
    );
    let listed = eve.get("/users/eve/mentions").await.json();
    assert_eq!(
        (listed.as_array().map(Vec::len), &listed[0]["room"]),
        (Some(1), &json!("c"))
    );
}

async fn the_owner_sets_the_topic_and_followers_are_told(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    assert_eq!(ann.send(Method::PUT, "/chat/a", "").await.status, 201);
    assert!(ann.get("/chat/a").await.json().get("topic").is_none());
    let mut stream = Events::open(server.address, "/chat/a/events", None)
        .await
        .expect("a stream");
    let mut socket = socket(server, None).await;
    subscribe(&mut socket, json!({ "type": "subscribe", "room": "a" })).await;

    let set = async |client: &mut Client, room: &str, topic: Value| {
        let body = json!({ "topic": topic }).to_string();
        client
            .send(Method::PATCH, &format!("/chat/{room}"), &body)
            .await
    };
    let answered = set(&mut ann, "a", json!("Plans for \"summer\"")).await;
    assert_eq!(
        (answered.status, &answered.json()["topic"]),
        (200, &json!("Plans for \"summer\""))
    );
    assert_eq!(server.client().get("/chat/a").await.json(), answered.json());
    let told = json!({ "type": "room", "room": "a", "topic": "Plans for \"summer\"" });
    assert_eq!(socket.expect("room").await, told);
    let event = stream.event().await.expect("an event");
    assert_eq!(
        (event.kind.as_str(), event.id.as_str(), event.data),
        ("room", "0.0", told)
    );

    assert_eq!(set(&mut bob, "a", json!("x")).await.status, 403);
    assert_eq!(set(&mut server.client(), "a", json!("x")).await.status, 401);
    assert_eq!(
        problem(&set(&mut ann, "nowhere", json!("x")).await),
        refused(404, "Room not found")
    );
    for (topic, detail) in [
        (
            json!("x".repeat(201)),
            "topic must be at most 200 characters",
        ),
        (
            json!("a\nb"),
            "topic must not contain the control character U+000A",
        ),
        (json!(5), "topic must be a string, not a number"),
        (Value::Null, "topic is missing"),
    ] {
        assert_eq!(
            problem(&set(&mut ann, "a", topic).await),
            refused(400, detail)
        );
    }
    assert_eq!(set(&mut ann, "a", json!("é".repeat(200))).await.status, 200);
    let emptied = set(&mut ann, "a", json!("")).await;
    assert_eq!(
        (emptied.status, emptied.json().get("topic")),
        (200, None),
        "an empty one says nothing"
    );
    assert!(
        server
            .client()
            .get("/chat/a")
            .await
            .json()
            .get("topic")
            .is_none()
    );
    assert_eq!(
        server.client().get("/chat/a").await.json()["last_change"],
        0,
        "no message changed"
    );
}

async fn an_etag_follows_changes(server: &Running) {
    let mut ann = server.account("ann").await;
    post(&mut ann, "1").await;
    post(&mut ann, "2").await;
    let changes: [(&str, Method, &str); 4] = [
        ("/chat/a/messages/1", Method::PATCH, r#"{"text":"1a"}"#),
        ("/chat/a/messages/1/reactions/%F0%9F%91%8D", Method::PUT, ""),
        (
            "/chat/a/messages/1/reactions/%F0%9F%91%8D",
            Method::DELETE,
            "",
        ),
        ("/chat/a/messages/1", Method::DELETE, ""),
    ];
    let paths = [
        "/chat/a/messages",
        "/chat/a/messages?after=0&limit=1",
        "/chat/a/messages?before=2",
        "/chat/a/messages/1",
        "/chat/a/changes",
        "/chat/a",
    ];
    for (path, method, body) in changes {
        let mut tagged = Vec::new();
        for page in paths {
            let tag = server
                .client()
                .get(page)
                .await
                .header("etag")
                .expect("an ETag")
                .to_owned();
            let mut again = server.client().with_header("if-none-match", &tag);
            assert_eq!(again.get(page).await.status, 304, "{page}");
            tagged.push((page, again));
        }
        assert!(
            ann.send(method.clone(), path, body).await.status < 300,
            "{method} {path}"
        );
        for (page, mut again) in tagged {
            assert_eq!(
                again.get(page).await.status,
                200,
                "{page} after {method} {path}"
            );
        }
    }
    // A message that did not change keeps its tag.
    let tag = server
        .client()
        .get("/chat/a/messages/2")
        .await
        .header("etag")
        .expect("an ETag")
        .to_owned();
    post(&mut ann, "3").await;
    let mut again = server.client().with_header("if-none-match", &tag);
    assert_eq!(again.get("/chat/a/messages/2").await.status, 304);
}
