//! The chat inside other programs: in axum, in bare hyper, with the program's own users.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::post;
use chat_http::{App, FromExtensions, Guests, Identity, Part, PeerAddr, Settings};
use chat_testkit::http::{Client, Reply};
use chat_testkit::live::{Events, Socket};
use chatcore::{ChatStore, Error, NewMessage, Password, Username};
use hyper::Method;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;
use tower_service::Service as _;

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);
const ROOM: &str = "/community/chat/lobby";

/// A program with users of its own, and the chat below `/community`.
struct Program {
    address: SocketAddr,
    store: ChatStore,
    app: App,
    /// Ends every session of the program.
    log_out_all: CancellationToken,
    _folder: tempfile::TempDir,
}

/// Reads the user from the program's own cookie, as its log-in would have set it.
async fn identify(mut request: Request, next: Next, log_out_all: CancellationToken) -> Response {
    let cookie = request.headers().get("cookie");
    let user = cookie.and_then(|cookie| cookie.to_str().ok()?.strip_prefix("user="));
    if let Some(user) = user.and_then(|user| user.parse().ok()) {
        let identity = Identity::new(user).until(log_out_all);
        request.extensions_mut().insert(identity);
    }
    if let Some(ConnectInfo(peer)) = request.extensions().get() {
        let peer = PeerAddr(*peer);
        request.extensions_mut().insert(peer);
    }
    next.run(request).await
}

/// A handler of the program that posts for itself.
async fn announce(State(store): State<ChatStore>) -> String {
    let room = "lobby".parse().expect("a room");
    let text = "deployed".parse().expect("a text");
    let message = NewMessage::new(room, "robot".parse().expect("a name"), text);
    store
        .post(message)
        .await
        .expect("posted")
        .message
        .seq
        .to_string()
}

async fn store() -> (ChatStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("chat.db");
    let store = ChatStore::open(path.to_str().expect("UTF-8")).await;
    (store.expect("a store"), folder)
}

impl Program {
    async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(configure: fn(chat_http::AppBuilder) -> chat_http::AppBuilder) -> Self {
        let (store, folder) = store().await;
        let app = App::builder(store.clone())
            .mount_at("/community")
            .authenticate(FromExtensions)
            .brand("Acme & Co")
            .log_in_link("/sign-in?to={next}")
            .log_out_link("/sign-out");
        let app = configure(app).build().expect("an application");

        let log_out_all = CancellationToken::new();
        let ended = log_out_all.clone();
        let cors = CorsLayer::new()
            .allow_origin(["https://app.example".parse().expect("an origin")])
            .allow_credentials(true);
        let router = Router::new()
            .route("/announce", post(announce))
            .with_state(store.clone())
            .nest_service("/community", app.clone())
            .layer(from_fn(move |request, next| {
                identify(request, next, ended.clone())
            }))
            .layer(CompressionLayer::new())
            .layer(cors)
            .layer(TraceLayer::new_for_http());

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            address,
            store,
            app,
            log_out_all,
            _folder: folder,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client that the program has logged in.
    fn user(&self, name: &str) -> Client {
        self.client().with_header("cookie", &format!("user={name}"))
    }
}

async fn say(client: &mut Client, text: &str) -> Reply {
    let path = format!("{ROOM}/messages");
    client.post(&path, &json!({ "text": text })).await
}

fn name(text: &str) -> Username {
    text.parse().expect("a name")
}

#[tokio::test]
async fn users_of_the_program_are_verified_and_have_no_password() {
    let program = Program::start().await;
    let mut ann = program.user("ann");
    let posted = say(&mut ann, "hello").await;
    assert_eq!(posted.status, 201, "{}", posted.text());
    assert_eq!(
        (&posted.json()["sender"], &posted.json()["verified"]),
        (&json!("ann"), &json!(true))
    );
    let edited = ann
        .send(
            Method::PATCH,
            &format!("{ROOM}/messages/1"),
            r#"{"text":"hi"}"#,
        )
        .await;
    assert_eq!(edited.status, 200, "{}", edited.text());

    for path in [
        "/auth/login",
        "/auth/register",
        "/auth/me",
        "/login",
        "/account",
    ] {
        let path = format!("/community{path}");
        assert_eq!(ann.get(&path).await.status, 404, "{path}");
    }
    let password: Password = "correct horse".parse().expect("a password");
    for taken in ["ann", "Ann"] {
        let registered = program.store.register(&name(taken), &password, "").await;
        assert!(matches!(registered, Err(Error::NameTaken)), "{taken}");
        let guest = program.store.log_in_guest(&name(taken), "").await;
        assert!(guest.is_err(), "{taken}");
    }
}

#[tokio::test]
async fn nobody_posts_without_a_user_of_the_program() {
    let program = Program::start().await;
    say(&mut program.user("ann"), "hello").await;
    let mut anyone = program.client();
    let named = json!({ "text": "x", "sender": "bob" });
    assert_eq!(
        anyone
            .post(&format!("{ROOM}/messages"), &named)
            .await
            .status,
        401
    );
    let read = anyone.get(&format!("{ROOM}/messages")).await;
    assert_eq!(read.json().as_array().map(Vec::len), Some(1));

    let closed = Program::start_with(|app| {
        app.settings(Settings {
            guests: Guests::Deny,
            ..Settings::default()
        })
    })
    .await;
    assert_eq!(closed.client().get("/community/chat/").await.status, 401);
    assert_eq!(closed.user("ann").get("/community/chat/").await.status, 200);
    let page = closed.client().get("/community/rooms/den").await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/sign-in?to=%2Fcommunity%2Frooms%2Fden"))
    );
}

#[tokio::test]
async fn private_rooms_belong_to_users_of_the_program() {
    let program = Program::start().await;
    let (mut ann, mut bob) = (program.user("ann"), program.user("bob"));
    let den = "/community/chat/den";
    let created = ann.send(Method::PUT, den, r#"{"private":true}"#).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(bob.get(den).await.status, 404);
    assert_eq!(program.client().get(den).await.status, 404);

    let invited = ann
        .send(Method::PUT, &format!("{den}/members/bob"), "")
        .await;
    assert_eq!(invited.status, 200, "{}", invited.text());
    assert_eq!(bob.get(den).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_by_the_programs_cookie() {
    let program = Program::start_with(|app| app.allow_origin("https://app.example")).await;
    let host = program.address.to_string();
    for (header, value, status) in [
        ("origin", "https://evil.example".to_owned(), 403),
        ("sec-fetch-site", "cross-site".to_owned(), 403),
        ("origin", "null".to_owned(), 403),
        // The program may be behind a proxy that does TLS, of which the chat knows nothing.
        ("origin", format!("https://{host}"), 201),
        ("origin", format!("http://{host}"), 201),
        ("origin", "https://app.example".to_owned(), 201),
    ] {
        let mut ann = program.user("ann").with_header(header, &value);
        assert_eq!(say(&mut ann, "x").await.status, status, "{header}: {value}");
        let headers = [("cookie", "user=ann"), (header, value.as_str())];
        let opened = Socket::open_at(program.address, "/community/ws", &headers).await;
        assert_eq!(
            opened.err(),
            (status == 403).then_some(403),
            "{header}: {value}"
        );
    }
}

#[tokio::test]
async fn the_first_request_of_a_user_may_be_one_that_stays_open() {
    let program = Program::start().await;
    say(&mut program.user("ann"), "hello").await;
    let headers = [("cookie", "user=newcomer")];
    let socket = Socket::open_at(program.address, "/community/ws", &headers).await;
    let mut socket = socket.expect("a socket");
    let subscribe = json!({ "type": "subscribe", "room": "lobby", "after": 0 });
    socket.say(&subscribe).await;
    socket.expect("subscribed").await;
    socket.expect("message").await;

    // The claim of the name ended no more than a guest's sessions.
    socket.say(&json!({ "type": "ping" })).await;
    socket.expect("pong").await;
}

#[tokio::test]
async fn sockets_and_streams_end_when_the_program_says_so() {
    let program = Program::start().await;
    say(&mut program.user("ann"), "hello").await;
    let events = format!("{ROOM}/events");
    let open = async |user: &'static str| {
        let headers = [("cookie", user)];
        let stream = Events::open_with(program.address, &events, &headers).await;
        let socket = Socket::open_at(program.address, "/community/ws", &headers).await;
        (stream.expect("a stream"), socket.expect("a socket"))
    };

    let (mut ann_events, mut ann_socket) = open("user=ann").await;
    let (mut bob_events, mut bob_socket) = open("user=bob").await;
    program
        .app
        .end_sessions_of(&name("ann"))
        .await
        .expect("ended");
    assert!(
        timeout(SOON, ann_events.event())
            .await
            .expect("an end")
            .is_none()
    );
    assert_eq!(ann_socket.expect("error").await["status"], 401);
    assert!(timeout(SOON, ann_socket.closed()).await.is_ok());

    // Others are not touched, and the program may let the user in again.
    say(&mut program.user("ann"), "again").await;
    assert!(
        timeout(SOON, bob_events.event())
            .await
            .expect("an event")
            .is_some()
    );
    bob_socket
        .say(&json!({ "type": "subscribe", "room": "lobby" }))
        .await;
    bob_socket.expect("subscribed").await;

    program.log_out_all.cancel();
    assert!(
        timeout(SOON, bob_events.event())
            .await
            .expect("an end")
            .is_none()
    );
    assert_eq!(bob_socket.expect("error").await["status"], 401);
}

#[tokio::test]
async fn a_shutdown_ends_what_is_open_and_answers_what_waits() {
    let program = Program::start().await;
    say(&mut program.user("ann"), "hello").await;
    let events = format!("{ROOM}/events");
    let mut stream = Events::open(program.address, &events, None)
        .await
        .expect("a stream");
    let mut socket = Socket::open_at(program.address, "/community/ws", &[])
        .await
        .expect("a socket");
    let mut waiting = program.client();
    let poll = format!("{ROOM}/messages?after=1&wait=30");
    let poll = tokio::spawn(async move { waiting.get(&poll).await });

    timeout(SOON, program.app.shut_down())
        .await
        .expect("an end");
    assert!(stream.event().await.is_none());
    let closed = socket.closed().await.expect("a reason");
    assert_eq!(u16::from(closed.code), 1001);
    assert_eq!(
        timeout(SOON, poll)
            .await
            .expect("an answer")
            .expect("it")
            .status,
        200
    );
}

#[tokio::test]
async fn what_the_program_posts_is_seen_at_once() {
    let program = Program::start().await;
    say(&mut program.user("ann"), "hello").await;
    let events = format!("{ROOM}/events");
    let mut stream = Events::open(program.address, &events, None)
        .await
        .expect("a stream");
    assert_eq!(
        program.client().post("/announce", &json!({})).await.text(),
        "2"
    );
    let event = timeout(SOON, stream.event())
        .await
        .expect("in time")
        .expect("an event");
    assert_eq!(
        (event.kind.as_str(), &event.data["text"]),
        ("message", &json!("deployed"))
    );
}

#[tokio::test]
async fn layers_of_the_program_work_around_the_chat() {
    let program = Program::start_with(|app| app.allow_origin("https://app.example")).await;
    let mut ann = program.user("ann");
    for i in 0..20 {
        say(
            &mut ann,
            &format!("a message that is long enough to be compressed, number {i}"),
        )
        .await;
    }
    let mut gzip = program.client().with_header("accept-encoding", "gzip");
    let read = gzip.get(&format!("{ROOM}/messages")).await;
    assert_eq!(
        (read.status, read.header("content-encoding")),
        (200, Some("gzip"))
    );
    // An event stream is not held back until there is something to compress.
    let headers = [("accept-encoding", "gzip")];
    let events = format!("{ROOM}/events");
    let stream = Events::open_with(program.address, &events, &headers).await;
    let mut stream = stream.expect("a stream");
    say(&mut ann, "now").await;
    let event = timeout(SOON, stream.event())
        .await
        .expect("in time")
        .expect("an event");
    assert_eq!(event.data["text"], "now");

    let mut page = program
        .client()
        .with_header("origin", "https://app.example");
    let read = page.get(&format!("{ROOM}/messages")).await;
    assert_eq!(
        read.header("access-control-allow-origin"),
        Some("https://app.example")
    );
}

#[tokio::test]
async fn pages_carry_the_name_and_the_links_of_the_program() {
    let program = Program::start().await;
    let page = program.client().get("/community/").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("Acme &amp; Co"), "{text}");
    assert!(
        text.contains("href=\"/sign-in?to=%2Fcommunity%2F\""),
        "{text}"
    );
    assert!(
        !text.contains("/login") && !text.contains("/auth/"),
        "{text}"
    );
    let text = program.user("ann").get("/community/").await.text();
    assert!(
        text.contains("ann") && text.contains("href=\"/sign-out\""),
        "{text}"
    );
    assert!(
        !text.contains("/auth/") && !text.contains("/account"),
        "{text}"
    );
}

#[tokio::test]
async fn parts_that_are_left_out_are_not_there() {
    let program =
        Program::start_with(|app| app.without(Part::Pages).without(Part::Operations)).await;
    let mut client = program.client();
    for path in [
        "/",
        "/rooms/lobby",
        "/static/style.css",
        "/healthz",
        "/metrics",
        "/openapi.json",
    ] {
        let path = format!("/community{path}");
        assert_eq!(client.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(client.get("/community/chat/").await.status, 200);

    let (store, _folder) = store().await;
    let refused = |app: chat_http::AppBuilder| app.build().err().map(|error| error.to_string());
    let builder = || App::builder(store.clone());
    assert!(refused(builder().without(Part::Live)).is_some_and(|e| e.contains("pages need")));
    assert!(refused(builder().mount_at("/chat")).is_some_and(|e| e.contains("/chat")));
    assert!(refused(builder().mount_at("community/")).is_some_and(|e| e.contains("/community")));
    assert!(refused(builder().allow_origin("app.example")).is_some_and(|e| e.contains("origin")));
    assert!(refused(builder().without(Part::Live).without(Part::Pages)).is_none());
}

#[tokio::test]
async fn bare_hyper_serves_it_with_the_prefix_in_the_path() {
    let (store, _folder) = store().await;
    let app = App::builder(store).mount_at("/community").build();
    let app = app.expect("an application");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let app = app.clone();
            let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                let mut app = app.clone();
                async move {
                    let path = request.uri().path();
                    assert!(path.starts_with("/community"), "{path}");
                    Ok::<_, Infallible>(app.call(request).await.expect("an answer"))
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });

    let mut client = Client::new(address);
    let post = json!({ "text": "hello", "sender": "bob" });
    let posted = client.post(&format!("{ROOM}/messages"), &post).await;
    assert_eq!(posted.status, 201, "{}", posted.text());
    let mut socket = Socket::open_at(address, "/community/ws", &[])
        .await
        .expect("a socket");
    socket
        .say(&json!({ "type": "subscribe", "room": "lobby", "after": 0 }))
        .await;
    assert_eq!(socket.expect("message").await["text"], "hello");
    let moved = client.get("/community/chat").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, Some("/community/chat/"))
    );
    let login = client
        .post("/community/auth/login", &json!({ "username": "bob" }))
        .await;
    let cookie = login.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("Path=/community"), "{cookie}");
}

#[tokio::test]
async fn a_router_of_axum_takes_the_chat_in_at_its_prefix_or_as_the_rest() {
    let hello = || axum::routing::get(async || "hello");
    for (prefix, own) in [("/community", "/"), ("/a%20b/{c}", "/"), ("", "/hello")] {
        let (store, _folder) = store().await;
        store
            .create_room(&"lobby".parse().expect("a room"))
            .await
            .expect("created");
        let app = App::builder(store).mount_at(prefix).build();
        let router: Router = Router::new()
            .route(own, hello())
            .merge(app.expect("an application"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });

        let mut client = Client::new(address);
        assert_eq!(client.get(own).await.text(), "hello", "{prefix}");
        for (path, status) in [("/", 200), ("/chat/lobby", 200), ("/no/such/page", 404)] {
            let reply = client.get(&format!("{prefix}{path}")).await;
            assert_eq!(reply.status, status, "{prefix}{path}: {}", reply.text());
        }
        let socket = Socket::open_at(address, &format!("{prefix}/ws"), &[]).await;
        assert!(socket.is_ok(), "{prefix}");
        if !prefix.is_empty() {
            assert_eq!(client.get(prefix).await.status, 200, "{prefix}");
            assert_eq!(client.get("/chat/lobby").await.status, 404, "{prefix}");
        }
    }
}

#[tokio::test]
async fn two_programs_on_one_replica_set_deliver_to_each_other() {
    let database = chat_testkit::mongod::database(chat_testkit::mongod::Kind::ReplicaSet);
    let mut addresses = Vec::new();
    let mut apps = Vec::new();
    for _ in 0..2 {
        let store = ChatStore::open(&database).await.expect("a store");
        let app = App::builder(store)
            .mount_at("/community")
            .build()
            .expect("an application");
        let router: Router = Router::new().merge(app.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        addresses.push(listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        apps.push(app);
    }
    let (mut here, mut there) = (Client::new(addresses[0]), Client::new(addresses[1]));
    let post = |text: &str| json!({ "text": text, "sender": "bob" });
    here.post(&format!("{ROOM}/messages"), &post("first")).await;
    let events = format!("{ROOM}/events?after=0");
    let mut stream = Events::open(addresses[1], &events, None)
        .await
        .expect("a stream");
    assert_eq!(
        stream.event().await.expect("an event").data["text"],
        "first"
    );
    here.post(&format!("{ROOM}/messages"), &post("second"))
        .await;
    let event = timeout(SOON, stream.event())
        .await
        .expect("in time")
        .expect("an event");
    assert_eq!(event.data["text"], "second");

    // A user who is logged out at one of them is logged out at both.
    let login = there
        .post("/community/auth/login", &json!({ "username": "ann" }))
        .await;
    let cookie = login.cookie().expect("a cookie");
    let headers = [("cookie", cookie.as_str())];
    let events = format!("{ROOM}/events");
    let mut stream = Events::open_with(addresses[1], &events, &headers)
        .await
        .expect("a stream");
    apps[0].end_sessions_of(&name("ann")).await.expect("ended");
    assert!(
        timeout(SOON, stream.event())
            .await
            .expect("an end")
            .is_none()
    );
}
