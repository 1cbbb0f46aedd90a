//! Limits: `429` with `Retry-After`, for whom they are meant and for nobody else.

#[macro_use]
mod support;

use chat_http::Settings;
use chat_testkit::http::{Client, Reply};
use chat_testkit::live::Socket;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use support::{PASSWORD, Running, unlimited};

on_every_store! {
    failed_log_ins_are_limited_where_they_come_from,
    one_address_does_not_fill_the_queue_of_passwords,
    registrations_are_limited_by_address,
    rooms_are_opened_so_fast_and_no_faster,
    rooms_count_together_whatever_creates_them,
    who_floods_under_a_name_is_limited_alone,
    guests_of_one_name_have_limits_of_their_own,
    a_refused_form_keeps_what_was_typed,
}

/// A server that believes a proxy on this machine, so that a test can come from any address.
async fn behind_a_proxy(server: &Running) -> Running {
    let trusted_proxies = vec!["127.0.0.1".parse().expect("a proxy")];
    server
        .again(Settings {
            trusted_proxies,
            ..Settings::default()
        })
        .await
}

fn from(server: &Running, address: &str) -> Client {
    server.client().with_header("x-forwarded-for", address)
}

fn log_in(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

/// A refusal that says how long to wait.
fn assert_limited(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 429, "{what}: {}", reply.text());
    let wait: u64 = reply
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&wait), "{what}: {wait}");
}

async fn failed_log_ins_are_limited_where_they_come_from(server: &Running) {
    let server = behind_a_proxy(server).await;
    let mut owner = server.account("ann").await;
    let mut attacker = from(&server, "192.0.2.1");
    for _ in 0..10 {
        assert_eq!(
            attacker
                .post("/auth/login", &log_in("ann", "wrong horse"))
                .await
                .status,
            401
        );
    }
    let refused = attacker
        .post("/auth/login", &log_in("ann", "wrong horse"))
        .await;
    assert_limited(&refused, "the eleventh");
    let detail = refused.json()["detail"]
        .as_str()
        .expect("a sentence")
        .to_owned();
    assert!(
        detail.starts_with("too many log-ins failed; wait "),
        "{detail}"
    );
    assert_limited(
        &attacker.post("/auth/login", &log_in("ann", PASSWORD)).await,
        "nor the right one",
    );
    // A header that the attacker writes itself does not make it another client.
    let mut forged = from(&server, "198.51.100.1, 192.0.2.1");
    assert_limited(
        &forged.post("/auth/login", &log_in("ann", PASSWORD)).await,
        "forged",
    );
    // Nobody else is kept out, and a session is as good as before.
    assert_eq!(owner.get("/auth/me").await.status, 200);
    assert_eq!(
        owner
            .post("/chat/a/messages", &json!({ "text": "x" }))
            .await
            .status,
        201
    );
    let elsewhere = from(&server, "192.0.2.2")
        .post("/auth/login", &log_in("ann", PASSWORD))
        .await;
    assert_eq!(elsewhere.status, 200);
    assert_eq!(
        attacker
            .post("/auth/login", &json!({ "username": "bob" }))
            .await
            .status,
        200
    );

    // A guess by way of the password form is a guess.
    let change = json!({ "password": "wrong horse", "new_password": "battery staple" });
    let mut thief = owner.with_header("x-forwarded-for", "192.0.2.3");
    for _ in 0..10 {
        assert_eq!(thief.post("/auth/password", &change).await.status, 403);
    }
    assert_limited(
        &thief.post("/auth/password", &change).await,
        "the eleventh guess",
    );
    // Right ones cost nothing.
    let mut busy = from(&server, "192.0.2.4");
    for _ in 0..15 {
        assert_eq!(
            busy.post("/auth/login", &log_in("ann", PASSWORD))
                .await
                .status,
            200
        );
    }
    // All addresses of one IPv6 network are one.
    for i in 0..10 {
        let mut v6 = from(&server, &format!("2001:db8::{i}"));
        assert_eq!(
            v6.post("/auth/login", &log_in("ann", "wrong horse"))
                .await
                .status,
            401
        );
    }
    let mut v6 = from(&server, "[2001:db8::ffff:1]:4711");
    assert_limited(
        &v6.post("/auth/login", &log_in("ann", "wrong horse")).await,
        "the same network",
    );
    let mut v6 = from(&server, "2001:db8:0:1::1");
    assert_eq!(
        v6.post("/auth/login", &log_in("ann", "wrong horse"))
            .await
            .status,
        401
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_at_many_addresses_keep_the_owner_out_nowhere() {
    let behind_us = Running::sqlite().await;
    let server = behind_a_proxy(&behind_us).await;
    server.account("ann").await;
    // Ten typing errors each, until the name is under attack, and then three.
    let mut tries = Vec::new();
    for i in 0..15 {
        let mut attacker = from(&server, &format!("198.51.100.{i}"));
        let mut failed = 0;
        while attacker
            .post("/auth/login", &log_in("ann", "wrong horse"))
            .await
            .status
            == 401
        {
            failed += 1;
        }
        tries.push(failed);
    }
    assert_eq!(tries[..9], [10; 9]);
    assert_eq!(tries[10..], [3; 5]);
    let mut owner = from(&server, "203.0.113.7");
    assert_eq!(
        owner
            .post("/auth/login", &log_in("ann", "typing error"))
            .await
            .status,
        401
    );
    assert_eq!(
        owner
            .post("/auth/login", &log_in("ann", PASSWORD))
            .await
            .status,
        200
    );
    server.stop().await;
}

async fn one_address_does_not_fill_the_queue_of_passwords(server: &Running) {
    let server = behind_a_proxy(server).await;
    server.account("ann").await;
    let mut flood = JoinSet::new();
    for i in 0..90 {
        let mut client = from(&server, "192.0.2.1");
        flood.spawn(async move {
            client
                .post("/auth/login", &log_in(&format!("user{i}"), PASSWORD))
                .await
        });
    }
    let elsewhere = from(&server, "192.0.2.2")
        .post("/auth/login", &log_in("ann", PASSWORD))
        .await;
    assert_eq!(elsewhere.status, 200, "{}", elsewhere.text());
    let answers = flood.join_all().await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 401)
        .collect();
    assert!(
        !refused.is_empty() && refused.len() < 90,
        "{}",
        refused.len()
    );
    for reply in refused {
        assert_limited(reply, "a password of the flood");
        assert!(
            reply.text().contains("passwords from this address"),
            "{}",
            reply.text()
        );
    }
    server.stop().await;
}

async fn registrations_are_limited_by_address(server: &Running) {
    let server = behind_a_proxy(server).await;
    let mut client = from(&server, "192.0.2.1");
    for i in 0..20 {
        // A name that is taken costs the same.
        let name = if i % 2 == 0 {
            "ann".to_owned()
        } else {
            format!("user{i}")
        };
        let registered = client
            .post("/auth/register", &log_in(&name, PASSWORD))
            .await;
        assert_eq!(
            registered.status,
            if i == 0 || i % 2 == 1 { 201 } else { 409 }
        );
    }
    assert_limited(
        &client
            .post("/auth/register", &log_in("late", PASSWORD))
            .await,
        "the twenty-first",
    );
    let other = from(&server, "192.0.2.2")
        .post("/auth/register", &log_in("late", PASSWORD))
        .await;
    assert_eq!(other.status, 201);
    server.stop().await;
}

async fn rooms_are_opened_so_fast_and_no_faster(server: &Running) {
    let server = behind_a_proxy(server).await;
    let mut client = from(&server, "192.0.2.1");
    let mut opened = 0;
    let refused = loop {
        let reply = client
            .send(Method::PUT, &format!("/chat/room{opened}"), "")
            .await;
        if reply.status != 201 {
            break reply;
        }
        opened += 1;
        assert!(opened < 1_000, "no limit");
    };
    assert_limited(&refused, "too many rooms");
    assert!(opened >= 200, "{opened}");
    // Opening a room that is there costs nothing.
    let mut other = from(&server, "192.0.2.3");
    for _ in 0..300 {
        assert_eq!(other.send(Method::PUT, "/chat/room0", "").await.status, 200);
    }
    // The form is limited with it, and keeps the name.
    let mut ann = server
        .account("ann")
        .await
        .with_header("x-forwarded-for", "192.0.2.1");
    let mut refused = ann.form("/rooms", "room=kept+name+0").await;
    let mut tried = 0;
    while refused.status == 303 {
        tried += 1;
        refused = ann.form("/rooms", &format!("room=kept+name+{tried}")).await;
    }
    assert_limited(&refused, "the form");
    let kept = format!("value=\"kept name {tried}\"");
    assert!(refused.text().contains(&kept), "{}", refused.text());
    assert_eq!(
        from(&server, "192.0.2.2")
            .send(Method::PUT, "/chat/other", "")
            .await
            .status,
        201
    );
    server.stop().await;
}

/// Posts to new rooms until that is refused; says how many were created.
async fn create_rooms_by_posts(client: &mut Client, sender: &str) -> (usize, Reply) {
    for i in 0..1_000 {
        let path = format!("/chat/{sender}{i}/messages");
        let reply = client
            .post(&path, &json!({ "sender": sender, "text": "x" }))
            .await;
        if reply.status != 201 {
            return (i, reply);
        }
    }
    panic!("no limit");
}

async fn rooms_count_together_whatever_creates_them(server: &Running) {
    let trusted_proxies = vec!["127.0.0.1".parse().expect("a proxy")];
    let server = server
        .again(Settings {
            trusted_proxies,
            ..unlimited()
        })
        .await;
    let mut ann = server.account("ann").await;
    assert_eq!(
        ann.send(Method::PUT, "/chat/den", r#"{"private":true}"#)
            .await
            .status,
        201
    );
    let mut eve = server
        .guest("eve")
        .await
        .with_header("x-forwarded-for", "192.0.2.1");
    let (created, refused) = create_rooms_by_posts(&mut eve, "eve").await;
    assert!(created >= 200, "{created}");
    assert_limited(&refused, "a post to a new room");
    assert!(
        refused.text().contains("too many rooms were opened"),
        "{}",
        refused.text()
    );

    // Nothing else creates more either, and attempts at a private room are limited with it.
    let text = json!({ "text": "x" });
    for (what, path, kind, body) in [
        (
            "a post",
            "/chat/{}/messages",
            Some("application/json"),
            r#"{"text":"x"}"#,
        ),
        ("a join", "/chat/{}/join", None, ""),
        (
            "a form",
            "/rooms/{}",
            Some("application/x-www-form-urlencoded"),
            "text=x",
        ),
        (
            "a name typed",
            "/rooms",
            Some("application/x-www-form-urlencoded"),
            "room={}",
        ),
    ] {
        for private in [false, true] {
            // Each second one more is allowed.
            let mut n = 0;
            let refused = loop {
                let room = if private {
                    "den".into()
                } else {
                    format!("{}{n}", what.replace(' ', ""))
                };
                let body = body.replace("{}", &room).into();
                let sent = eve
                    .request(Method::POST, &path.replace("{}", &room), kind, body)
                    .await;
                let reply = sent.expect("an answer");
                n += 1;
                if reply.status == 429 || n > 50 {
                    break reply;
                }
            };
            assert_limited(&refused, what);
        }
    }
    let cookie = eve.header("cookie").expect("a session").to_owned();
    let from = [
        ("cookie", cookie.as_str()),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let mut socket = Socket::open(server.address, &from).await.expect("a socket");
    let mut answer = Value::Null;
    for n in 0..50 {
        socket
            .say(&json!({ "type": "post", "room": format!("socket{n}"), "text": "x" }))
            .await;
        answer = socket.next().await.expect("an answer");
        if answer["type"] == "error" {
            break;
        }
    }
    assert_eq!(answer["status"], 429, "{answer}");

    // Rooms that are there can be used, and others create rooms.
    assert_eq!(eve.post("/chat/eve0/messages", &text).await.status, 201);
    assert_eq!(
        eve.send(Method::POST, "/chat/eve1/join", "").await.status,
        200
    );
    assert_eq!(ann.post("/chat/den/messages", &text).await.status, 201);
    assert_eq!(ann.post("/chat/new/messages", &text).await.status, 201);
    server.stop().await;
}

/// Posts until the caller has no allowance left.
async fn flood(client: &mut Client, post: &Value) {
    for _ in 0..1_000 {
        let reply = client.post("/chat/q/messages", post).await;
        if reply.status == 429 {
            return assert_limited(&reply, "a flood");
        }
    }
    panic!("no limit");
}

async fn who_floods_under_a_name_is_limited_alone(server: &Running) {
    let trusted_proxies = vec!["127.0.0.1".parse().expect("a proxy")];
    let server = server
        .again(Settings {
            trusted_proxies,
            post_rate: 1,
            ..Settings::default()
        })
        .await;
    let mut ann = server.account("ann").await;
    let as_ann = json!({ "sender": "ann", "text": "x" });
    let mut flooders = [from(&server, "192.0.2.1"), from(&server, "192.0.2.2")];
    for flooder in &mut flooders {
        flood(flooder, &as_ann).await;
    }
    for i in 0..3 {
        for flooder in &mut flooders {
            flooder.post("/chat/q/messages", &as_ann).await;
        }
        let posted = ann
            .post("/chat/q/messages", &json!({ "text": i.to_string() }))
            .await;
        assert_eq!(posted.status, 201, "{}", posted.text());
    }
    // Under whatever name: what was proved is the address.
    flood(&mut flooders[0], &json!({ "sender": "new", "text": "x" })).await;
    assert_eq!(
        flooders[0].post("/chat/q/messages", &as_ann).await.status,
        429
    );
    server.stop().await;
}

async fn guests_of_one_name_have_limits_of_their_own(server: &Running) {
    let server = server
        .again(Settings {
            post_rate: 1,
            ..Settings::default()
        })
        .await;
    let (mut one, mut two) = (server.guest("bob").await, server.guest("bob").await);
    flood(&mut one, &json!({ "text": "x" })).await;
    let posted = two.post("/chat/q/messages", &json!({ "text": "x" })).await;
    assert_eq!(posted.status, 201, "{}", posted.text());
    assert_eq!(
        one.send(Method::POST, "/chat/q/leave", "").await.status,
        429
    );
    server.stop().await;
}

async fn a_refused_form_keeps_what_was_typed(server: &Running) {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a proxy")];
    let server = server
        .again(Settings {
            trusted_proxies,
            post_rate: 1,
            ..Settings::default()
        })
        .await;
    let mut ann = server.account("ann").await;
    let mut posted = ann.form("/rooms/a", "text=kept+text").await;
    while posted.status == 303 {
        posted = ann.form("/rooms/a", "text=kept+text").await;
    }
    assert_limited(&posted, "a post");
    assert!(
        posted.text().contains(">kept text</textarea>"),
        "{}",
        posted.text()
    );

    let mut client = from(&server, "192.0.2.1");
    let wrong = "username=ann&password=wrong+horse&next=%2Frooms%2Fx";
    let mut login = client.form("/auth/login", wrong).await;
    while login.status == 303 {
        login = client.form("/auth/login", wrong).await;
    }
    assert_limited(&login, "a log-in");
    assert_eq!(
        login.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let page = login.text();
    assert!(
        page.contains("value=\"ann\"") && page.contains("value=\"/rooms/x\""),
        "{page}"
    );
    assert!(
        page.contains("too many log-ins failed") && !page.contains("horse"),
        "{page}"
    );

    let taken = "username=ann&password=correct+horse";
    let mut registered = client.form("/auth/register", taken).await;
    while registered.status == 303 {
        registered = client.form("/auth/register", taken).await;
    }
    assert_limited(&registered, "a registration");
    assert!(
        registered
            .text()
            .contains("id=\"new-username\" name=\"username\" value=\"ann\"")
    );

    let mut thief = ann.with_header("x-forwarded-for", "192.0.2.9");
    let guess = "password=wrong+horse&new_password=battery+staple";
    let mut changed = thief.form("/auth/password", guess).await;
    while changed.status == 303 {
        changed = thief.form("/auth/password", guess).await;
    }
    assert_limited(&changed, "another password");
    assert!(
        changed.text().contains("too many log-ins failed") && !changed.text().contains("staple")
    );
    server.stop().await;
}
