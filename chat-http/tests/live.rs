//! Long-lived requests: long polls, event streams and sockets, with clients that are not our own.

#[macro_use]
mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use chat_http::Settings;
use chat_testkit::http::{Reply, raw};
use chat_testkit::live::{Events, Socket, make_room};
use chat_testkit::tools;
use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use support::{Running, unlimited};

on_every_store! {
    a_long_poll_is_answered_by_the_next_message_or_at_the_end_of_the_wait,
    an_event_stream_begins_where_it_is_asked_to_and_goes_on,
    a_socket_carries_every_kind_of_frame,
    a_frame_that_is_wrong_is_answered_and_the_socket_stays_open,
    what_breaks_the_protocol_or_a_limit_closes_the_socket_with_its_code,
    only_pages_of_this_server_open_a_socket_and_only_by_the_handshake,
    a_socket_ends_with_its_session,
    posts_of_one_socket_keep_their_order,
    answers_come_in_the_order_of_the_frames,
}

async fn post(server: &Running, sender: &str, text: &str) -> Value {
    let reply = server
        .client()
        .post(
            "/chat/a/messages",
            &json!({ "sender": sender, "text": text }),
        )
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

async fn cookie(server: &Running, name: &str) -> String {
    let login = server
        .client()
        .post("/auth/login", &json!({ "username": name }))
        .await;
    login.cookie().expect("a cookie")
}

async fn socket(server: &Running, name: &str) -> Socket {
    let cookie = cookie(server, name).await;
    Socket::open(server.address, &[("cookie", &cookie)])
        .await
        .expect("a socket")
}

/// Follows a room, which is created if need be.
async fn subscribe(socket: &mut Socket, frame: Value) -> Value {
    make_room(socket.address, frame["room"].as_str().expect("a room")).await;
    socket.say(&frame).await;
    socket.expect("subscribed").await
}

fn seqs(reply: &Reply) -> Vec<i64> {
    reply
        .json()
        .as_array()
        .expect("an array")
        .iter()
        .map(|m| m["seq"].as_i64().expect("a seq"))
        .collect()
}

async fn a_long_poll_is_answered_by_the_next_message_or_at_the_end_of_the_wait(server: &Running) {
    let first = post(server, "ann", "1").await;
    let since = first["timestamp"].as_str().expect("a time").to_owned();
    let began = Instant::now();
    let empty = server
        .client()
        .get(&format!("/chat/a/messages?since={since}&wait=1"))
        .await;
    assert_eq!((empty.status, empty.text().as_str()), (200, "[]"));
    assert!(began.elapsed() >= Duration::from_secs(1));
    for query in [format!("since={since}"), "after=1".to_owned()] {
        let (mut client, path) = (server.client(), format!("/chat/a/messages?{query}&wait=30"));
        let waiting = tokio::spawn(async move { client.get(&path).await });
        post(server, "ann", "next").await;
        assert_eq!(seqs(&waiting.await.expect("no panic"))[0], 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_makes_no_sense_is_refused() {
    let server = Running::sqlite().await;
    for (query, detail) in [
        (
            "after=0&wait=31",
            "wait must be a whole number of seconds from 0 to 30",
        ),
        (
            "after=0&wait=-1",
            "wait must be a whole number of seconds from 0 to 30",
        ),
        (
            "after=0&wait=1.5",
            "wait must be a whole number of seconds from 0 to 30",
        ),
        ("wait=1", "wait goes with since or after"),
        ("before=5&wait=1", "wait goes with since or after"),
    ] {
        let reply = server
            .client()
            .get(&format!("/chat/a/messages?{query}"))
            .await;
        assert_eq!(
            (reply.status, &reply.json()["detail"]),
            (400, &json!(detail)),
            "{query}"
        );
    }
}

async fn an_event_stream_begins_where_it_is_asked_to_and_goes_on(server: &Running) {
    let server = server.again(unlimited()).await;
    for text in ["1", "2", "3"] {
        post(&server, "ann", text).await;
    }
    let open = async |path: &str, id| {
        Events::open(server.address, path, id)
            .await
            .expect("a stream")
    };
    let mut from_now = open("/chat/a/events", None).await;
    let mut after = open("/chat/a/events?after=1", None).await;
    let mut resumed = open("/chat/a/events?after=1", Some(2)).await;
    let fourth = post(&server, "ann", "4").await;
    let mut ids = Vec::new();
    while ids.last() != Some(&4) {
        ids.push(after.next().await.expect("an event").0);
    }
    assert_eq!(ids, [2, 3, 4]);
    assert_eq!(resumed.next().await.expect("an event").0, 3);
    let (id, message) = from_now.next().await.expect("an event");
    assert_eq!((id, &message["text"]), (4, &fourth["text"]));
    let again = Events::open(server.address, "/chat/a/events", Some(-1)).await;
    assert!(again.expect_err("refused").to_string().starts_with("400"));
    server.stop().await;
    assert_eq!(
        from_now.next().await,
        None,
        "the stream ends with the server"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reads_an_event_stream_and_the_comments_that_keep_it_alive() {
    let Some(curl) = tools::find("curl", "an event stream in curl") else {
        return;
    };
    let server = Running::sqlite().await;
    post(&server, "ann", "one\ntwo").await;
    let mut curl = tokio::process::Command::new(curl)
        .args(["-sN", "-H", "Last-Event-ID: 0"])
        .arg(format!("http://{}/chat/a/events", server.address))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("curl");
    let mut lines = BufReader::new(curl.stdout.take().expect("its output")).lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.next_line().await.expect("read") {
        // The first comment comes after 15 s of silence.
        let is_comment = line.starts_with(':');
        seen.push(line);
        if is_comment {
            break;
        }
    }
    assert_eq!(
        seen[..5],
        ["retry: 1000", "id: 0.0", "", "event: message", "id: 1.0"]
    );
    let data: Value =
        serde_json::from_str(seen[5].strip_prefix("data: ").expect("data")).expect("JSON");
    assert_eq!(data["text"], "one\ntwo");
    assert_eq!(seen[6..], ["", ":"]);
}

async fn a_socket_carries_every_kind_of_frame(server: &Running) {
    let server = server.again(unlimited()).await;
    for text in ["1", "2", "3"] {
        post(&server, "eve", text).await;
    }
    let (mut ann, mut bob) = (socket(&server, "ann").await, socket(&server, "bob").await);
    let subscribed = subscribe(
        &mut ann,
        json!({ "type": "subscribe", "room": "a", "after": 1 }),
    )
    .await;
    assert_eq!(
        subscribed,
        json!({ "type": "subscribed", "room": "a", "last_seq": 3, "last_change": 0 })
    );
    assert_eq!(ann.expect("message").await["seq"], 2);
    assert_eq!(ann.expect("message").await["seq"], 3);
    ann.say(&json!({ "type": "ping" })).await;
    assert_eq!(ann.expect("pong").await, json!({ "type": "pong" }));
    subscribe(&mut bob, json!({ "type": "subscribe", "room": "a" })).await;
    while ann.expect("presence").await
        != json!({ "type": "presence", "room": "a", "users": ["ann", "bob"] })
    {}

    ann.say(&json!({ "type": "post", "room": "a", "text": "hello", "nonce": "n1" }))
        .await;
    let mut said = [
        ann.next().await.expect("a frame"),
        ann.next().await.expect("a frame"),
    ];
    said.sort_by_key(|frame| frame["type"].to_string());
    let message = json!({ "type": "message", "room": "a", "seq": 4, "sender": "ann", "text": "hello",
        "timestamp": said[0]["timestamp"], "verified": false });
    assert_eq!(said[0], message);
    assert_eq!(
        said[1],
        json!({ "type": "posted", "room": "a", "seq": 4, "nonce": "n1" })
    );
    assert_eq!(bob.expect("message").await, message);
    ann.say(&json!({ "type": "post", "room": "a", "text": "hello", "nonce": "n1" }))
        .await;
    assert_eq!(
        ann.expect("posted").await["seq"],
        4,
        "a repeat is answered with the first"
    );

    bob.say(&json!({ "type": "typing", "room": "a" })).await;
    assert_eq!(
        ann.expect("typing").await,
        json!({ "type": "typing", "room": "a", "username": "bob" })
    );
    let mut bob_elsewhere = socket(&server, "bob").await;
    bob.say(&json!({ "type": "read", "room": "a", "seq": 4 }))
        .await;
    let read = json!({ "type": "read", "room": "a", "seq": 4 });
    assert_eq!(
        (bob.expect("read").await, bob_elsewhere.expect("read").await),
        (read.clone(), read)
    );

    bob.say(&json!({ "type": "unsubscribe", "room": "a" }))
        .await;
    while ann.expect("presence").await["users"] != json!(["ann"]) {}
    post(&server, "eve", "5").await;
    assert_eq!(ann.expect("message").await["seq"], 5);
    bob.say(&json!({ "type": "read", "room": "a", "seq": 9 }))
        .await;
    let refused = bob.next().await.expect("the next frame is no message");
    assert_eq!(
        refused["detail"],
        "seq must be at most 5, the newest message"
    );
    server.stop().await;
    assert_eq!(
        ann.closed().await.map(|close| u16::from(close.code)),
        Some(1001)
    );
}

async fn a_frame_that_is_wrong_is_answered_and_the_socket_stays_open(server: &Running) {
    let mut ann = socket(server, "ann").await;
    for (frame, status, detail) in [
        ("", 400, "the frame is empty; it must be a JSON object"),
        ("[1]", 400, "the frame must be a JSON object, not an array"),
        ("{", 400, "the frame is not valid JSON"),
        ("{}", 400, "type is missing"),
        (r#"{"type": 5}"#, 400, "type must be a string, not a number"),
        (r#"{"type": "shout"}"#, 400, "type must be one of"),
        (r#"{"type": "subscribe"}"#, 400, "room is missing"),
        (
            r#"{"type": "subscribe", "room": "a/b"}"#,
            400,
            "room must not contain /",
        ),
        (
            r#"{"type": "subscribe", "room": {"$ne": ""}}"#,
            400,
            "room must be a string, not an object",
        ),
        (
            r#"{"type": "subscribe", "room": "a", "after": -1}"#,
            400,
            "after must be a whole number from 0 up",
        ),
        (
            r#"{"type": "subscribe", "room": "a", "after": "1"}"#,
            400,
            "after must be a whole number from 0 up",
        ),
        (
            r#"{"type": "subscribe", "room": "a", "changes_after": 1}"#,
            400,
            "changes_after goes with after",
        ),
        (
            r#"{"type": "subscribe", "room": "a", "after": 1, "changes_after": -1}"#,
            400,
            "changes_after must be a whole number from 0 up",
        ),
        (
            r#"{"type": "post", "room": "a", "nonce": "n"}"#,
            400,
            "text is missing",
        ),
        (
            r#"{"type": "post", "room": "a", "text": "x", "reply_to": "1", "nonce": "n"}"#,
            400,
            "reply_to must be a whole number from 0 up",
        ),
        (
            r#"{"type": "post", "room": "a", "text": " ", "nonce": "n"}"#,
            400,
            "text must contain",
        ),
        (
            r#"{"type": "post", "room": "a", "text": "x", "sender": "bob", "nonce": "n"}"#,
            403,
            "sender must be ann",
        ),
        (r#"{"type": "read", "room": "a"}"#, 400, "seq is missing"),
        (
            r#"{"type": "read", "room": "nowhere", "seq": 0}"#,
            404,
            "Room not found",
        ),
    ] {
        ann.stream.send(Message::text(frame)).await.expect("sent");
        let error = ann.next().await.expect("an answer");
        assert_eq!(
            (&error["type"], &error["status"]),
            (&json!("error"), &json!(status)),
            "{frame}: {error}"
        );
        assert!(
            error["detail"]
                .as_str()
                .is_some_and(|d| d.starts_with(detail)),
            "{frame}: {error}"
        );
        assert_eq!(
            error.get("nonce").is_some(),
            frame.contains("nonce"),
            "{frame}: {error}"
        );
        let named = serde_json::from_str::<Value>(frame)
            .ok()
            .and_then(|frame| frame.get("room").cloned());
        let room = named.filter(|room| room.as_str().is_some_and(|room| !room.contains('/')));
        assert_eq!(error.get("room"), room.as_ref(), "{frame}: {error}");
    }
    ann.stream
        .send(Message::binary(vec![1, 2]))
        .await
        .expect("sent");
    assert_eq!(
        ann.next().await.expect("an answer")["detail"],
        "a frame must be text, a JSON object"
    );
    let mut nobody = Socket::open(server.address, &[]).await.expect("a socket");
    ann.say(&json!({ "type": "typing", "room": "elsewhere" }))
        .await;
    let error = ann.expect("error").await;
    assert_eq!(error["detail"], "subscribe to the room before typing in it");
    assert_eq!(error["room"], "elsewhere");
    for frame in [
        json!({ "type": "typing", "room": "a" }),
        json!({ "type": "read", "room": "a", "seq": 0 }),
    ] {
        nobody.say(&frame).await;
        let error = nobody.expect("error").await;
        assert_eq!(
            (&error["status"], &error["room"]),
            (&json!(401), &json!("a"))
        );
    }
    nobody
        .say(&json!({ "type": "post", "room": "a", "text": "x" }))
        .await;
    assert_eq!(
        nobody.expect("error").await["detail"],
        "sender is missing; name one, or log in"
    );
    nobody
        .say(&json!({ "type": "post", "room": "a", "text": "x", "sender": "guest" }))
        .await;
    assert_eq!(nobody.expect("posted").await["seq"], 1);
    subscribe(
        &mut ann,
        json!({ "type": "subscribe", "room": "a", "after": 0 }),
    )
    .await;
    assert_eq!(ann.expect("message").await["sender"], "guest");
}

async fn what_breaks_the_protocol_or_a_limit_closes_the_socket_with_its_code(server: &Running) {
    let code = async |messages: Vec<Message>| {
        let mut socket = Socket::open(server.address, &[]).await.expect("a socket");
        for message in messages {
            let _ = socket.stream.send(message).await;
        }
        socket.closed().await.map(|close| u16::from(close.code))
    };
    let part = |opcode, last, text: &[u8]| {
        Message::Frame(Frame::message(text.to_vec(), OpCode::Data(opcode), last))
    };
    assert_eq!(
        code(vec![Message::text("x".repeat(64 * 1024 + 1))]).await,
        Some(1009)
    );
    let mut parts = vec![part(Data::Text, false, &[b'x'; 1024])];
    parts.extend((0..64).map(|_| part(Data::Continue, false, &[b'x'; 1024])));
    assert_eq!(
        code(parts).await,
        Some(1009),
        "many small frames of one message"
    );
    assert_eq!(
        code(vec![part(Data::Text, true, &[0xff, 0xfe])]).await,
        Some(1007)
    );
    assert_eq!(
        code(vec![part(Data::Continue, true, b"x")]).await,
        Some(1002)
    );
    assert_eq!(
        code(vec![part(Data::Reserved(5), true, b"x")]).await,
        Some(1002)
    );
    // The largest frame that is allowed is read.
    let mut socket = Socket::open(server.address, &[]).await.expect("a socket");
    let padding = "x".repeat(64 * 1024 - r#"{"type":""}"#.len());
    socket
        .stream
        .send(Message::text(format!(r#"{{"type":"{padding}"}}"#)))
        .await
        .expect("sent");
    assert_eq!(socket.expect("error").await["status"], 400);

    // Whoever proves nothing follows fewer rooms.
    let mut ann = self::socket(server, "ann").await;
    for (socket, most) in [(&mut socket, 20), (&mut ann, 100)] {
        for i in 0..most {
            subscribe(
                socket,
                json!({ "type": "subscribe", "room": i.to_string() }),
            )
            .await;
        }
        socket
            .say(&json!({ "type": "subscribe", "room": "one more" }))
            .await;
        let error = socket.expect("error").await;
        assert_eq!(
            (&error["status"], &error["room"]),
            (&json!(429), &json!("one more"))
        );
        subscribe(
            socket,
            json!({ "type": "subscribe", "room": "7", "after": 0 }),
        )
        .await;
        socket
            .say(&json!({ "type": "unsubscribe", "room": "8" }))
            .await;
        subscribe(socket, json!({ "type": "subscribe", "room": "one more" })).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_session_an_address_keeps_a_smaller_share_of_connections_open() {
    let settings = Settings {
        connections_per_address: Some(8),
        ..unlimited()
    };
    let server = Running::sqlite_with(settings).await;
    let cookie = cookie(&server, "ann").await;
    let (open, events) = (
        async || Socket::open(server.address, &[]).await,
        "/chat/a/events",
    );
    make_room(server.address, "a").await;
    let first = open().await.expect("a socket");
    let stream = Events::open(server.address, events, None)
        .await
        .expect("a stream");
    assert_eq!(open().await.err(), Some(429));
    let refused = server.client().get(events).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("5")),
        "{}",
        refused.text()
    );
    let with_session = Socket::open(server.address, &[("cookie", &cookie)]).await;
    assert!(with_session.is_ok(), "{with_session:?}");
    drop((first, stream));
    let began = Instant::now();
    while open().await.is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "never free again"
        );
    }
}

async fn only_pages_of_this_server_open_a_socket_and_only_by_the_handshake(server: &Running) {
    let ann = cookie(server, "ann").await;
    let here = format!("http://{}", server.address);
    let opened =
        async |headers: &[(&'static str, &str)]| Socket::open(server.address, headers).await.err();
    assert_eq!(
        opened(&[("origin", "http://evil.example"), ("cookie", &ann)]).await,
        Some(403)
    );
    assert_eq!(opened(&[("origin", "null")]).await, Some(403));
    for site in ["cross-site", "same-site"] {
        assert_eq!(
            opened(&[("sec-fetch-site", site), ("cookie", &ann)]).await,
            Some(403),
            "{site}"
        );
    }
    let ours = [
        ("origin", &*here),
        ("sec-fetch-site", "same-origin"),
        ("cookie", &ann),
    ];
    assert_eq!(opened(&ours).await, None);
    assert_eq!(opened(&[("origin", &here), ("cookie", &ann)]).await, None);
    assert_eq!(
        opened(&[(
            "cookie",
            "session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        )])
        .await,
        Some(401)
    );
    let plain = server.client().get("/ws").await;
    assert_eq!(
        (plain.status, plain.header("upgrade")),
        (426, Some("websocket"))
    );
    assert_eq!(
        (
            plain.header("connection"),
            plain.header("sec-websocket-version")
        ),
        (Some("upgrade"), Some("13"))
    );
    let old = format!(
        "GET /ws HTTP/1.0\r\nHost: {}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    let reply = raw(server.address, old.as_bytes(), |reply| {
        reply.contains("\r\n\r\n")
    })
    .await;
    assert!(
        reply.starts_with("HTTP/1.0 426 ") || reply.starts_with("HTTP/1.1 426 "),
        "{reply}"
    );
    for (key, version, status) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "13", "101"),
        ("short", "13", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "8", "426"),
    ] {
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\r\n",
            server.address
        );
        let reply = raw(server.address, request.as_bytes(), |reply| {
            reply.contains("\r\n\r\n")
        })
        .await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        // The example of RFC 6455, 1.3.
        assert_eq!(
            reply.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            status == "101",
            "{reply}"
        );
    }
}

async fn a_socket_ends_with_its_session(server: &Running) {
    let cookie = cookie(server, "ann").await;
    let mut ann = Socket::open(server.address, &[("cookie", &cookie)])
        .await
        .expect("a socket");
    let mut other = socket(server, "ann").await;
    subscribe(&mut other, json!({ "type": "subscribe", "room": "a" })).await;
    server
        .client()
        .with_header("cookie", &cookie)
        .post("/auth/logout", &json!({}))
        .await;
    // Too late, although nobody asks the store for it frame by frame.
    for _ in 0..20 {
        ann.say(&json!({ "type": "post", "room": "a", "text": "too late" }))
            .await;
    }
    assert_eq!(ann.expect("error").await["status"], 401);
    assert_eq!(
        ann.closed().await.map(|close| u16::from(close.code)),
        Some(1008)
    );
    other
        .say(&json!({ "type": "post", "room": "a", "text": "still here" }))
        .await;
    assert_eq!(other.expect("posted").await["seq"], 1);
}

async fn posts_of_one_socket_keep_their_order(server: &Running) {
    let mut ann = socket(server, "ann").await;
    for i in 0..300 {
        ann.say(
            &json!({ "type": "post", "room": "a", "text": i.to_string(), "nonce": i.to_string() }),
        )
        .await;
    }
    for i in 0..300 {
        let posted = ann.expect("posted").await;
        assert_eq!(
            (&posted["nonce"], &posted["seq"]),
            (&json!(i.to_string()), &json!(i + 1))
        );
    }
}

/// Frames that a client sends at once are handled, and answered, one after the other.
async fn answers_come_in_the_order_of_the_frames(server: &Running) {
    let mut ann = socket(server, "ann").await;
    for round in 0..20 {
        let room = round.to_string();
        make_room(server.address, &room).await;
        for frame in [
            json!({ "type": "typing", "room": room }),
            json!({ "type": "subscribe", "room": room }),
            json!({ "type": "post", "room": room, "text": "1", "nonce": "1" }),
            json!({ "type": "post", "room": room, "text": "2", "nonce": "2" }),
            json!({ "type": "read", "room": room, "seq": 99, "nonce": "x" }),
            json!({ "type": "unsubscribe", "room": room }),
            json!({ "type": "typing", "room": room, "nonce": "y" }),
            json!({ "type": "shout", "room": room, "nonce": "z" }),
        ] {
            ann.say(&frame).await;
        }
        let mut answers = Vec::new();
        while answers.len() < 7 {
            let frame = ann.next().await.expect("a frame");
            let (kind, status) = (frame["type"].as_str().unwrap_or_default(), &frame["status"]);
            if matches!(kind, "subscribed" | "posted" | "error") && frame["room"] == room {
                answers.push(format!(
                    "{kind} {} {status}",
                    frame["nonce"].as_str().unwrap_or_default()
                ));
            }
        }
        let expected = [
            "error  409",
            "subscribed  null",
            "posted 1 null",
            "posted 2 null",
            "error x 400",
            "error y 409",
            "error z 400",
        ];
        assert_eq!(answers, expected);
    }
}
