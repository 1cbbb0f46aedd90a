//! Tests of every route by every role: a route without its line in `TABLE` fails.

use std::collections::HashSet;
use std::net::SocketAddr;

use chat_testkit::http::raw;
use chat_testkit::mongod::{self, Kind};
use chatcore::{ChatStore, NewMessage, Privacy, RoomName, SessionToken};
use tokio::net::TcpListener;

use super::ROUTES;
use crate::{App, Guests, Settings, run};

const PASSWORD: &str = "correct horse";

/// Actors that ask: without a session; a guest; an account that has nothing to do with the room; a
/// member of it; who made it; and with the token of a session that has ended.
#[derive(Debug, Clone, Copy)]
enum Role {
    Nobody,
    Guest,
    Other,
    Member,
    Owner,
    Ended,
}

const ROLES: [Role; 6] = [
    Role::Nobody,
    Role::Guest,
    Role::Other,
    Role::Member,
    Role::Owner,
    Role::Ended,
];

/// A request, and the status that each role gets. `{n}` is another number each time.
struct Line {
    route: &'static str,
    path: &'static str,
    body: &'static str,
    status: [u16; 6],
}

const fn line(
    route: &'static str,
    path: &'static str,
    body: &'static str,
    status: [u16; 6],
) -> Line {
    Line {
        route,
        path,
        body,
        status,
    }
}

/// Statuses that are the same with every session and without one.
const fn all(status: u16) -> [u16; 6] {
    [status; 6]
}

/// Statuses with any session, and without one.
const fn session(status: u16, none: u16) -> [u16; 6] {
    [none, status, status, status, status, none]
}

/// Statuses of a room that only its members can tell from one that does not exist.
const fn members(status: u16) -> [u16; 6] {
    [404, 404, 404, status, status, 404]
}

/// The same where a session is needed.
const fn members_else(status: u16, none: u16) -> [u16; 6] {
    [none, 404, 404, status, status, none]
}

/// Routes for the owner of a private room alone.
const fn owner(status: u16) -> [u16; 6] {
    [401, 404, 404, 403, status, 401]
}

#[rustfmt::skip]
const TABLE: &[Line] = &[
    line("POST /auth/login", "/auth/login", r#"{"username":"visitor{n}"}"#, all(200)),
    line("POST /auth/logout", "/auth/logout", "", all(200)),
    line("GET /auth/me", "/auth/me", "", session(200, 401)),
    line("POST /auth/register", "/auth/register", r#"{"username":"new{n}","password":"correct horse"}"#, all(201)),
    line("POST /auth/password", "/auth/password", r#"{"password":"correct horse","new_password":"correct horse"}"#,
        [401, 403, 200, 200, 200, 401]),
    line("GET /auth/sessions", "/auth/sessions", "", session(200, 401)),
    line("DELETE /auth/sessions", "/auth/sessions", "", session(204, 401)),
    line("DELETE /auth/sessions/{id}", "/auth/sessions/00000000000000000000000000000000", "", session(404, 401)),

    line("GET /users/{username}/count", "/users/owner/count", "", all(200)),
    line("GET /users/{username}/rooms", "/users/owner/rooms", "", [401, 403, 403, 403, 200, 401]),
    line("GET /users/{username}/mentions", "/users/owner/mentions", "", [401, 403, 403, 403, 200, 401]),

    line("GET /chat", "/chat", "", all(308)),
    line("GET /chat/", "/chat/", "", all(200)),
    line("GET /chat/{room}", "/chat/home", "", all(200)),
    line("PUT /chat/{room}", "/chat/home", "", all(200)),
    line("GET /chat/{room}/users", "/chat/home/users", "", all(200)),
    line("POST /chat/{room}/join", "/chat/lobby/join", "", session(200, 401)),
    line("POST /chat/{room}/leave", "/chat/lobby/leave", "", session(200, 401)),
    line("POST /chat/{room}/read", "/chat/home/read", r#"{"seq":1}"#, session(200, 401)),
    line("GET /chat/{room}/messages", "/chat/home/messages", "", all(200)),
    line("POST /chat/{room}/messages", "/chat/lobby/messages", r#"{"text":"x"}"#, [400, 201, 201, 201, 201, 401]),
    line("GET /chat/{room}/events", "/chat/home/events", "", all(200)),
    line("GET /chat/{room}/changes", "/chat/home/changes", "", all(200)),
    line("GET /chat/{room}/messages/{seq}", "/chat/home/messages/1", "", all(200)),
    // The first is the owner's own, the second the member's. Nobody owns the room.
    line("PATCH /chat/{room}/messages/{seq}", "/chat/home/messages/1", r#"{"text":"y"}"#,
        [401, 403, 403, 403, 200, 401]),
    line("PATCH /chat/{room}/messages/{seq}", "/chat/home/messages/2", r#"{"text":"y"}"#,
        [401, 403, 403, 200, 403, 401]),
    line("PUT /chat/{room}/messages/{seq}/reactions/{emoji}", "/chat/home/messages/1/reactions/%F0%9F%91%8D", "",
        session(200, 401)),
    line("DELETE /chat/{room}/messages/{seq}/reactions/{emoji}", "/chat/home/messages/1/reactions/%F0%9F%91%8D", "",
        session(200, 401)),
    line("PATCH /chat/{room}", "/chat/home", r#"{"topic":"x"}"#, session(403, 401)),
    line("GET /ws", "/ws", "", [101, 101, 101, 101, 101, 401]),

    // A private room of the owner's, which is there for the owner and the member.
    line("GET /chat/{room}", "/chat/den", "", members(200)),
    line("PUT /chat/{room}", "/chat/den", "", [403, 403, 403, 200, 200, 403]),
    line("PUT /chat/{room}", "/chat/den", r#"{"private":true}"#, [401, 403, 403, 200, 200, 401]),
    line("PUT /chat/{room}", "/chat/home", r#"{"private":true}"#, [401, 403, 409, 409, 409, 401]),
    line("PUT /chat/{room}", "/chat/own{n}", r#"{"private":true}"#, [401, 403, 201, 201, 201, 401]),
    line("GET /chat/{room}/users", "/chat/den/users", "", members(200)),
    line("POST /chat/{room}/join", "/chat/den/join", "", members_else(200, 401)),
    line("POST /chat/{room}/leave", "/chat/exit/leave", "", members_else(200, 401)),
    line("POST /chat/{room}/read", "/chat/den/read", r#"{"seq":1}"#, members_else(200, 401)),
    line("GET /chat/{room}/messages", "/chat/den/messages", "", all(200)),
    line("POST /chat/{room}/messages", "/chat/den/messages", r#"{"text":"x"}"#, [400, 404, 404, 201, 201, 401]),
    line("POST /chat/{room}/messages", "/chat/den/messages", r#"{"text":"x","sender":"nobody"}"#,
        [404, 403, 403, 403, 403, 404]),
    line("POST /chat/{room}/messages", "/chat/den/messages", r#"{"text":"x","sender":"owner"}"#,
        [401, 403, 403, 403, 201, 401]),
    line("POST /chat/{room}/messages", "/chat/nope{n}/messages", r#"{"text":"x","sender":"owner"}"#,
        [401, 403, 403, 403, 201, 401]),
    line("GET /chat/{room}/events", "/chat/den/events", "", members(200)),
    line("GET /chat/{room}/changes", "/chat/den/changes", "", all(200)),
    line("GET /chat/{room}/changes", "/chat/den/changes?after=0&limit=1", "", all(200)),
    line("GET /chat/{room}/changes", "/chat/den/changes?after=1000", "", all(410)),
    line("GET /chat/{room}/messages/{seq}", "/chat/den/messages/1", "", members(200)),
    line("PATCH /chat/{room}/messages/{seq}", "/chat/den/messages/1", r#"{"text":"y"}"#, owner(200)),
    line("PUT /chat/{room}/messages/{seq}/reactions/{emoji}", "/chat/den/messages/1/reactions/%F0%9F%91%8D", "",
        members_else(200, 401)),
    line("DELETE /chat/{room}/messages/{seq}/reactions/{emoji}", "/chat/den/messages/1/reactions/%F0%9F%91%8D", "",
        members_else(200, 401)),
    line("PATCH /chat/{room}", "/chat/den", r#"{"topic":"x"}"#, owner(200)),
    line("GET /rooms/{room}", "/rooms/den", "", members(200)),
    line("GET /rooms/{room}/rows", "/rooms/den/rows", "", all(200)),
    line("POST /rooms/{room}", "/rooms/den", "text=x", members_else(303, 401)),
    line("POST /rooms", "/rooms", "room=den", [403, 403, 403, 409, 409, 403]),
    line("GET /rooms/{room}/people", "/rooms/den/people", "", members(200)),
    line("GET /rooms/{room}/messages/{seq}", "/rooms/den/messages/1", "", members(200)),
    line("POST /rooms/{room}/messages/{seq}", "/rooms/den/messages/1", "do=edit&text=y", owner(303)),

    // A room that does not exist is to strangers as the private one above.
    line("GET /chat/{room}", "/chat/nope", "", all(404)),
    line("GET /chat/{room}/users", "/chat/nope/users", "", all(404)),
    line("GET /chat/{room}/messages", "/chat/nope/messages", "", all(200)),
    line("GET /chat/{room}/events", "/chat/nope/events", "", all(404)),
    line("GET /chat/{room}/changes", "/chat/nope/changes", "", all(200)),
    line("GET /chat/{room}/changes", "/chat/nope/changes?after=1000", "", all(410)),
    line("GET /chat/{room}/messages/{seq}", "/chat/nope/messages/1", "", all(404)),
    line("PATCH /chat/{room}/messages/{seq}", "/chat/nope/messages/1", r#"{"text":"y"}"#, members_else(404, 401)),
    line("PUT /chat/{room}/messages/{seq}/reactions/{emoji}", "/chat/nope/messages/1/reactions/%F0%9F%91%8D", "",
        members_else(404, 401)),
    line("DELETE /chat/{room}/messages/{seq}/reactions/{emoji}", "/chat/nope/messages/1/reactions/%F0%9F%91%8D", "",
        members_else(404, 401)),
    line("PATCH /chat/{room}", "/chat/nope", r#"{"topic":"x"}"#, members_else(404, 401)),
    line("POST /chat/{room}/leave", "/chat/nope/leave", "", members_else(404, 401)),
    line("POST /chat/{room}/read", "/chat/nope/read", r#"{"seq":0}"#, members_else(404, 401)),
    line("PUT /chat/{room}/members/{username}", "/chat/nope/members/invited", "", members_else(404, 401)),
    line("DELETE /chat/{room}/members/{username}", "/chat/nope/members/invited", "", members_else(404, 401)),
    line("GET /chat/{room}/bans", "/chat/nope/bans", "", members_else(404, 401)),
    line("PUT /chat/{room}/bans/{username}", "/chat/nope/bans/guest2", "", members_else(404, 401)),
    line("DELETE /chat/{room}/bans/{username}", "/chat/nope/bans/guest2", "", members_else(404, 401)),
    line("DELETE /chat/{room}/messages/{seq}", "/chat/nope/messages/1", "", members_else(404, 401)),
    line("GET /rooms/{room}", "/rooms/nope", "", all(404)),
    line("GET /rooms/{room}/rows", "/rooms/nope/rows", "", all(200)),
    line("POST /rooms/{room}/people", "/rooms/nope/people", "username=guest2&do=ban", members_else(404, 401)),
    line("GET /rooms/{room}/people", "/rooms/nope/people", "", all(404)),
    line("GET /rooms/{room}/messages/{seq}", "/rooms/nope/messages/1", "", all(404)),
    line("POST /rooms/{room}/messages/{seq}", "/rooms/nope/messages/1", "do=edit&text=y", members_else(404, 401)),

    // Acts of an owner, whoever tries. "guest2" is banned from the public room of the owner's.
    line("PUT /chat/{room}/members/{username}", "/chat/den/members/invited", "", owner(200)),
    line("DELETE /chat/{room}/members/{username}", "/chat/den/members/invited", "", owner(204)),
    line("GET /chat/{room}/bans", "/chat/den/bans", "", owner(200)),
    line("PUT /chat/{room}/bans/{username}", "/chat/den/bans/guest2", "", owner(200)),
    line("DELETE /chat/{room}/bans/{username}", "/chat/den/bans/guest2", "", owner(204)),
    line("DELETE /chat/{room}/messages/{seq}", "/chat/den/messages/1", "", owner(204)),
    line("POST /rooms/{room}/people", "/rooms/den/people", "username=guest2&do=ban", owner(303)),
    line("POST /rooms/{room}/messages/{seq}", "/rooms/den/messages/2", "do=delete", owner(303)),
    line("PUT /chat/{room}/members/{username}", "/chat/owned/members/invited", "", [401, 403, 403, 403, 409, 401]),
    line("PUT /chat/{room}/bans/{username}", "/chat/owned/bans/guest2", "", [401, 403, 403, 403, 200, 401]),
    line("PATCH /chat/{room}", "/chat/owned", r#"{"topic":"x"}"#, [401, 403, 403, 403, 200, 401]),
    line("DELETE /chat/{room}/messages/{seq}", "/chat/owned/messages/1", "", [401, 403, 403, 403, 204, 401]),
    // The first is the member's own.
    line("DELETE /chat/{room}/messages/{seq}", "/chat/home/messages/2", "", [401, 403, 403, 204, 204, 401]),

    line("GET /", "/", "", all(200)),
    line("GET /login", "/login", "", all(200)),
    line("GET /account", "/account", "", session(200, 303)),
    line("POST /account/sessions", "/account/sessions", "others=", session(303, 401)),
    line("GET /new", "/new", "", all(200)),
    line("POST /rooms", "/rooms", "room=home", all(409)),
    line("POST /rooms", "/rooms", "room=made{n}", all(303)),
    line("POST /direct", "/direct", "username=member", [401, 403, 303, 400, 303, 401]),
    line("GET /rooms/{room}/people", "/rooms/home/people", "", all(200)),
    line("GET /rooms/{room}/messages/{seq}", "/rooms/home/messages/1", "", all(200)),
    line("GET /rooms/{room}", "/rooms/home", "", all(200)),
    line("GET /rooms/{room}/rows", "/rooms/home/rows?around=1", "", all(200)),
    line("POST /rooms/{room}", "/rooms/lobby", "text=x", session(303, 401)),
    line("GET /favicon.ico", "/favicon.ico", "", all(308)),
    line("GET /static/{file}", "/static/style.css", "", all(200)),

    line("GET /healthz", "/healthz", "", all(200)),
    line("GET /readyz", "/readyz", "", all(200)),
    line("GET /metrics", "/metrics", "", all(200)),
    line("GET /openapi.json", "/openapi.json", "", all(200)),
];

/// Routes that stay open to everyone where guests are denied.
const OPEN: [&str; 10] = [
    "POST /auth/login",
    "POST /auth/logout",
    "POST /auth/register",
    "GET /login",
    "GET /static/{file}",
    "GET /favicon.ico",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
];

/// The status that a role gets where guests may do less than the table says.
fn expected(guests: Guests, line: &Line, role: Role) -> u16 {
    let allowed = line.status[role as usize];
    let has_account = matches!(role, Role::Other | Role::Member | Role::Owner);
    match line.route {
        _ if guests == Guests::Allow => allowed,
        // As a guest.
        "POST /auth/login" => 403,
        _ if has_account => allowed,
        route if OPEN.contains(&route) => allowed,
        // A guest's session proves nothing.
        route if guests == Guests::Read && route.starts_with("GET ") => match role {
            Role::Guest => line.status[Role::Nobody as usize],
            _ => allowed,
        },
        _ if ["/", "/new", "/rooms", "/direct", "/account"].contains(&line.path) => 303,
        "GET /rooms/{room}/rows" => 401,
        _ if line.path.starts_with("/rooms/") || line.path.starts_with("/account/") => 303,
        _ => 401,
    }
}

#[test]
fn every_route_has_its_line() {
    let served: HashSet<_> = ROUTES
        .iter()
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let asked: HashSet<_> = TABLE.iter().map(|line| line.route.to_owned()).collect();
    assert_eq!(served, asked);
}

/// A new session of a role.
async fn token(store: &ChatStore, role: Role) -> Option<SessionToken> {
    let account = async |name: &str| {
        let user = name.parse().expect("a name");
        store
            .log_in(&user, PASSWORD, "")
            .await
            .expect("logged in")
            .0
    };
    Some(match role {
        Role::Nobody => return None,
        Role::Guest => {
            store
                .log_in_guest(&"guest".parse().expect("a name"), "")
                .await
                .expect("logged in")
                .0
        }
        Role::Other => account("other").await,
        Role::Member => account("member").await,
        Role::Owner => account("owner").await,
        Role::Ended => {
            let token = account("owner").await;
            store.log_out(&token).await.expect("ended");
            token
        }
    })
}

async fn status(address: SocketAddr, line: &Line, token: Option<SessionToken>, n: usize) -> u16 {
    let (method, _) = line.route.split_once(' ').expect("a method");
    let body = line.body.replace("{n}", &n.to_string());
    let kind = if body.starts_with('{') {
        "json"
    } else {
        "x-www-form-urlencoded"
    };
    let path = line.path.replace("{n}", &n.to_string());
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
    if !body.is_empty() {
        request += &format!(
            "content-type: application/{kind}\r\ncontent-length: {}\r\n",
            body.len()
        );
    }
    if let Some(token) = token {
        request += &format!("cookie: session={token}\r\n");
    }
    if line.path == "/ws" {
        request += "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    }
    let reply = raw(address, format!("{request}\r\n{body}").as_bytes(), |r| {
        r.contains("\r\n\r\n")
    })
    .await;
    reply
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{}: {reply}", line.route))
}

/// Makes a test of each store, for each of what guests may do.
macro_rules! everyone_gets_what_the_table_says {
    ($($test:ident: $guests:ident, $store:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let folder = tempfile::tempdir().expect("a temporary directory");
            let file = folder.path().join("chat.db").to_str().expect("UTF-8").to_owned();
            let kind: Option<Kind> = $store;
            let address = kind.map_or(file, mongod::database);
            everyone_gets_what_the_table_says(&address, Guests::$guests).await;
        })*
    };
}

everyone_gets_what_the_table_says! {
    guests_may_write_on_sqlite: Allow, None;
    guests_may_read_on_sqlite: Read, None;
    guests_are_denied_on_sqlite: Deny, None;
    guests_may_write_on_a_replica_set: Allow, Some(Kind::ReplicaSet);
    guests_may_read_on_a_replica_set: Read, Some(Kind::ReplicaSet);
    guests_are_denied_on_a_replica_set: Deny, Some(Kind::ReplicaSet);
    guests_may_write_on_a_standalone_mongod: Allow, Some(Kind::Standalone);
    guests_may_read_on_a_standalone_mongod: Read, Some(Kind::Standalone);
    guests_are_denied_on_a_standalone_mongod: Deny, Some(Kind::Standalone);
}

async fn everyone_gets_what_the_table_says(address: &str, guests: Guests) {
    let store = ChatStore::open(address).await.expect("the store opens");
    for name in ["other", "member", "owner", "invited"] {
        let (user, password) = (
            name.parse().expect("a name"),
            PASSWORD.parse().expect("a password"),
        );
        store
            .register(&user, &password, "")
            .await
            .expect("registered");
    }
    let [home, lobby] = ["home", "lobby"].map(|room| room.parse().expect("a name"));
    store.create_room(&lobby).await.expect("created");
    let post = async |room: &RoomName, name: &str| {
        let user = name.parse().expect("a name");
        let post = NewMessage::new(room.clone(), user, "hello".parse().expect("a text"));
        store
            .post(NewMessage {
                verified: true,
                ..post
            })
            .await
            .expect("stored");
    };
    post(&home, "owner").await;
    post(&home, "member").await;
    let [owner, member] = ["owner", "member"].map(|name| name.parse().expect("a name"));
    for (name, privacy) in [
        ("den", Privacy::Private),
        ("exit", Privacy::Private),
        ("owned", Privacy::Public),
    ] {
        let room = name.parse().expect("a name");
        store
            .create_room_for(&room, &owner, privacy)
            .await
            .expect("created");
        if privacy == Privacy::Private {
            store.invite(&room, &member).await.expect("invited");
        }
        post(&room, "owner").await;
        post(&room, "owner").await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let app = App::new(
        store.clone(),
        Settings {
            guests,
            ..Settings::default()
        },
    );
    let server = tokio::spawn(run(listener, app, std::future::pending()));
    let mut wrong = Vec::new();
    for (i, line) in TABLE.iter().enumerate() {
        for (j, role) in ROLES.into_iter().enumerate() {
            let got = status(
                address,
                line,
                token(&store, role).await,
                i * ROLES.len() + j,
            )
            .await;
            let expected = expected(guests, line, role);
            if got != expected {
                wrong.push(format!("{} as {role:?}: {got}, not {expected}", line.route));
            }
        }
    }
    server.abort();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
