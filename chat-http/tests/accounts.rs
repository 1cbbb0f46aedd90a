//! Accounts and sessions, over real sockets, on every kind of store.

#[macro_use]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chat_http::{Guests, Settings};
use chatcore::Options;
use hyper::Method;
use serde_json::{Value, json};

use support::{PASSWORD, Running};

on_every_store! {
    an_account_is_made_and_logged_into,
    a_claimed_name_is_its_owners_alone,
    another_password_ends_the_other_sessions,
    sessions_tell_their_devices_and_are_ended,
    only_accounts_write_where_guests_are_denied,
}

const POST: &str = "/chat/a/messages";

fn with_password(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

async fn an_account_is_made_and_logged_into(server: &Running) {
    let mut client = server.client();
    let registered = client
        .post("/auth/register", &with_password("ann", PASSWORD))
        .await;
    assert_eq!(
        (registered.status, registered.json()),
        (201, json!({ "username": "ann", "verified": true }))
    );
    assert_eq!(registered.header("cache-control"), Some("no-store"));
    let mut first = server.client().with_session(&registered);
    assert_eq!(
        first.get("/auth/me").await.json(),
        json!({ "username": "ann", "verified": true })
    );
    for name in ["ann", "Ann"] {
        let again = client
            .post("/auth/register", &with_password(name, PASSWORD))
            .await;
        assert_eq!(
            (again.status, again.json()["detail"].clone()),
            (409, json!("the name is taken")),
            "{name}"
        );
    }
    let login = client
        .post("/auth/login", &with_password("ann", PASSWORD))
        .await;
    assert_eq!(
        (login.status, login.json()),
        (200, json!({ "username": "ann", "verified": true }))
    );
    let wrong = "no account has this name and password; a name without an account is used without a password";
    for (name, password) in [
        ("ann", "wrong horse"),
        ("ann", "x"),
        ("Ann", PASSWORD),
        ("nobody", PASSWORD),
    ] {
        let refused = client
            .post("/auth/login", &with_password(name, password))
            .await;
        assert_eq!(
            (refused.status, refused.json()["detail"].clone()),
            (401, json!(wrong)),
            "{name}"
        );
        assert_eq!(refused.header("set-cookie"), None);
    }
    for (password, detail) in [
        (json!("1234567"), "password must have at least 8 characters"),
        (
            json!("x".repeat(257)),
            "password must be at most 256 characters",
        ),
        (json!(12345678), "password must be a string, not a number"),
        (
            json!({ "$gt": "" }),
            "password must be a string, not an object",
        ),
        (Value::Null, "password is missing"),
    ] {
        let refused = client
            .post(
                "/auth/register",
                &json!({ "username": "bob", "password": password }),
            )
            .await;
        assert_eq!(
            (refused.status, refused.json()["detail"].clone()),
            (400, json!(detail))
        );
    }
    assert_eq!(
        client
            .post("/auth/register", &json!({ "password": PASSWORD }))
            .await
            .status,
        400
    );
}

async fn a_claimed_name_is_its_owners_alone(server: &Running) {
    let mut guest = server.guest("ann").await;
    let mut twin = server.guest("ANN").await;
    assert_eq!(
        guest
            .post(POST, &json!({ "text": "as a guest" }))
            .await
            .status,
        201
    );
    let mut ann = server.account("ann").await;
    for client in [&mut guest, &mut twin] {
        assert_eq!(
            client.get("/auth/me").await.status,
            401,
            "claiming ends the guests' sessions"
        );
        assert_eq!(client.post(POST, &json!({ "text": "x" })).await.status, 401);
    }
    let mut client = server.client();
    for (name, status, detail) in [
        (
            "ann",
            401,
            "the name has an account; log in with its password",
        ),
        (
            "Ann",
            403,
            "the name differs only in case from one that has an account; take another",
        ),
    ] {
        let posted = client
            .post(POST, &json!({ "sender": name, "text": "x" }))
            .await;
        assert_eq!(
            (posted.status, posted.json()["detail"].clone()),
            (status, json!(detail)),
            "{name}"
        );
        let login = client
            .post("/auth/login", &json!({ "username": name }))
            .await;
        assert_eq!(
            (login.status, login.json()["detail"].clone()),
            (status, json!(detail)),
            "{name}"
        );
    }
    let posted = ann.post(POST, &json!({ "text": "it is me" })).await;
    assert_eq!(
        (posted.status, posted.json()["verified"].clone()),
        (201, json!(true))
    );
    assert_eq!(
        ann.post(POST, &json!({ "sender": "ann", "text": "me again" }))
            .await
            .status,
        201
    );
    let read = client.get(POST).await.json();
    let shown: Vec<_> = read
        .as_array()
        .expect("messages")
        .iter()
        .map(|m| (&m["text"], &m["verified"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("as a guest"), &json!(false)),
            (&json!("it is me"), &json!(true)),
            (&json!("me again"), &json!(true))
        ]
    );
    assert_eq!(
        client.get("/users/ann/count").await.json()["message_count"],
        3
    );
}

async fn another_password_ends_the_other_sessions(server: &Running) {
    let mut ann = server.account("ann").await;
    let login = server
        .client()
        .post("/auth/login", &with_password("ann", PASSWORD))
        .await;
    let mut other = server.client().with_session(&login);
    let change = |old: &str, new: &str| json!({ "password": old, "new_password": new });
    for (body, status, detail) in [
        (
            change("wrong horse", "battery staple"),
            403,
            "password is not the account's password",
        ),
        (
            change(PASSWORD, "short"),
            400,
            "new_password must have at least 8 characters",
        ),
        (
            json!({ "new_password": "battery staple" }),
            400,
            "password is missing",
        ),
        (
            json!({ "password": PASSWORD }),
            400,
            "new_password is missing",
        ),
    ] {
        let refused = ann.post("/auth/password", &body).await;
        assert_eq!(
            (refused.status, refused.json()["detail"].clone()),
            (status, json!(detail))
        );
    }
    assert_eq!(
        other.get("/auth/me").await.status,
        200,
        "nothing was changed"
    );
    let changed = ann
        .post("/auth/password", &change(PASSWORD, "battery staple"))
        .await;
    assert_eq!(
        (changed.status, changed.json()),
        (200, json!({ "status": "ok" }))
    );
    assert_eq!(
        (
            ann.get("/auth/me").await.status,
            other.get("/auth/me").await.status
        ),
        (200, 401)
    );
    let mut client = server.client();
    assert_eq!(
        client
            .post("/auth/login", &with_password("ann", PASSWORD))
            .await
            .status,
        401
    );
    assert_eq!(
        client
            .post("/auth/login", &with_password("ann", "battery staple"))
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .post("/auth/password", &change("a", "battery staple"))
            .await
            .status,
        401
    );
    let mut guest = server.guest("bob").await;
    let refused = guest
        .post("/auth/password", &change("a", "battery staple"))
        .await;
    assert_eq!(
        (refused.status, refused.json()["detail"].clone()),
        (
            403,
            json!("a guest has no password; register the name first")
        )
    );
}

async fn sessions_tell_their_devices_and_are_ended(server: &Running) {
    let mut here = server.account("ann").await;
    let mut phone = server
        .client()
        .with_header("user-agent", "Phone\u{2028}/1 ünï");
    let login = phone
        .post("/auth/login", &with_password("ann", PASSWORD))
        .await;
    let mut phone = server.client().with_session(&login);
    let long = "d".repeat(1_000);
    let mut third = server.client().with_header("user-agent", &long);
    let login = third
        .post("/auth/login", &with_password("ann", PASSWORD))
        .await;
    let mut third = server.client().with_session(&login);

    let answer = phone.get("/auth/sessions").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let listed = answer.json();
    let listed = listed.as_array().expect("an array");
    let current: Vec<_> = listed.iter().map(|s| s["current"].clone()).collect();
    assert_eq!(current, [json!(false), json!(true), json!(false)]);
    assert_eq!(listed[0]["user_agent"], "");
    assert_eq!(listed[2]["user_agent"], json!(long[..256]));
    for session in listed {
        let fields: Vec<_> = session
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            fields,
            ["created_at", "current", "id", "last_seen", "user_agent"]
        );
    }
    let first = format!(
        "/auth/sessions/{}",
        listed[0]["id"].as_str().expect("an id")
    );
    let mut bob = server.account("bob").await;
    assert_eq!(
        bob.send(Method::DELETE, &first, "").await.status,
        404,
        "it is not his"
    );
    assert_eq!(phone.send(Method::DELETE, &first, "").await.status, 204);
    assert_eq!(phone.send(Method::DELETE, &first, "").await.status, 404);
    assert_eq!(here.get("/auth/me").await.status, 401);
    assert_eq!(
        third
            .send(Method::DELETE, "/auth/sessions", "")
            .await
            .status,
        204
    );
    assert_eq!(
        (
            phone.get("/auth/me").await.status,
            third.get("/auth/me").await.status
        ),
        (401, 200)
    );
    assert_eq!(bob.get("/auth/me").await.status, 200);
}

async fn only_accounts_write_where_guests_are_denied(server: &Running) {
    // From before guests were denied.
    let guest = server.guest("bob").await;
    let server = server
        .again(Settings {
            guests: Guests::Deny,
            ..Settings::default()
        })
        .await;
    let mut guest = {
        let cookie = guest.header("cookie").expect("a session").to_owned();
        server.client().with_header("cookie", &cookie)
    };
    let mut ann = server.account("ann").await;
    let mut client = server.client();
    for (path, body, none) in [
        (POST, json!({ "sender": "eve", "text": "x" }), 401),
        ("/chat/a/join", json!({}), 401),
        ("/chat/a/leave", json!({}), 401),
    ] {
        assert_eq!(client.post(path, &body).await.status, none, "{path}");
        let body = if path == POST {
            json!({ "text": "x" })
        } else {
            body
        };
        assert_eq!(guest.post(path, &body).await.status, 401, "{path}");
        assert!(ann.post(path, &body).await.status < 300, "{path}");
    }
    assert_eq!(client.send(Method::PUT, "/chat/b", "").await.status, 401);
    assert_eq!(guest.send(Method::PUT, "/chat/b", "").await.status, 401);
    assert_eq!(ann.send(Method::PUT, "/chat/b", "").await.status, 201);
    for path in ["/", "/rooms/a"] {
        let away = guest.get(path).await;
        assert!(
            away.status == 303
                && away
                    .header("location")
                    .is_some_and(|to| to.starts_with("/login"))
        );
        assert_eq!(ann.get(path).await.status, 200);
    }
    let unproved = client
        .post("/auth/login", &json!({ "username": "ann" }))
        .await;
    assert_eq!(unproved.status, 401, "a claimed name lacks its password");
    assert_eq!(
        client
            .post("/auth/login", &json!({ "username": "eve" }))
            .await
            .status,
        403
    );
    assert_eq!(
        client
            .post("/auth/login", &with_password("ann", PASSWORD))
            .await
            .status,
        200
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_renewed_at_half_its_lifetime_however_much_its_session_is_used() {
    let day = Arc::new(AtomicU32::new(1));
    let today = day.clone();
    let options = Options::default().clock(move || {
        let day = today.load(Ordering::SeqCst);
        format!("2100-{:02}-{:02}T00:00:00Z", day / 31 + 1, day % 31 + 1)
            .parse()
            .expect("a day")
    });
    let server = Running::sqlite_by(options).await;
    let mut ann = server.guest("ann").await;
    let cookie = ann.header("cookie").expect("a cookie").to_owned();
    let token = cookie.strip_prefix("session=").expect("a token");
    let mut program = server
        .client()
        .with_header("authorization", &format!("Bearer {token}"));
    let mut renewals = Vec::new();
    for today in 2..45 {
        day.store(today, Ordering::SeqCst);
        // As a socket that is always open does.
        let used = program.get("/auth/me").await;
        assert_eq!(
            (used.status, used.header("set-cookie")),
            (200, None),
            "day {today}"
        );
        let page = ann.get("/").await;
        if let Some(renewed) = page.header("set-cookie") {
            assert!(
                renewed.starts_with(&cookie) && renewed.contains("Max-Age=2592000"),
                "{renewed}"
            );
            assert_eq!(page.header("cache-control"), Some("no-store"));
            assert_eq!(ann.get("/").await.header("set-cookie"), None, "once");
            renewals.push(today);
        }
    }
    assert_eq!(renewals, [16, 31]);
}
