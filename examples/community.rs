//! An axum application with users of its own, and the chat below `/community`.
//!
//! `cargo run -p chat-examples --bin community -- [store]` serves until Ctrl-C. With `--once` after
//! the store it logs somebody in, posts, reads, and ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Form, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Router, serve};
use chat_http::{App, FromExtensions, Identity};
use chatcore::{ChatStore, NewMessage, Username};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

type Error = Box<dyn std::error::Error>;

/// State that the handlers of this program share.
#[derive(Clone)]
struct Program {
    store: ChatStore,
    /// Users who are logged in, by the tokens in their cookies.
    sessions: Arc<Mutex<HashMap<String, Session>>>,
}

#[derive(Clone)]
struct Session {
    user: Username,
    /// Cancelled at log-out: it ends what the user has open in the chat.
    ended: CancellationToken,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "community.db".into());
    let store = ChatStore::open(&address).await?;
    store.create_room(&"lobby".parse()?).await?;
    let program = Program {
        store: store.clone(),
        sessions: Arc::default(),
    };

    let stopping = CancellationToken::new();
    let chat = App::builder(store.clone())
        .mount_at("/community")
        .authenticate(FromExtensions)
        .brand("Acme")
        .log_in_link("/login?next={next}")
        .log_out_link("/logout")
        .shutdown(&stopping)
        .build()?;
    let router = router(program, chat.clone());

    if arguments.next().as_deref() == Some("--once") {
        once(router).await?;
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // Frames of sockets are small, and must not wait for each other.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        println!("listening on http://{address}");
        // The chat limits clients by their addresses.
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let shutdown = async move {
            let _ = tokio::signal::ctrl_c().await;
            stopping.cancel();
        };
        serve(listener, service)
            .with_graceful_shutdown(shutdown)
            .await?;
    }

    chat.shut_down().await;
    store.close().await?;
    Ok(())
}

fn router(program: Program, chat: App) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/community/rooms/lobby")))
        .route("/login", get(show_log_in).post(log_in))
        .route("/logout", get(log_out))
        .route("/deploys", post(announce_deploy))
        .nest_service("/community", chat)
        .layer(from_fn_with_state(program.clone(), identify))
        .with_state(program)
}

/// Tells the chat who makes a request.
async fn identify(State(program): State<Program>, mut request: Request, next: Next) -> Response {
    if let Some(session) = program.session(&request) {
        let identity = Identity::new(session.user).until(session.ended);
        request.extensions_mut().insert(identity);
    }
    next.run(request).await
}

impl Program {
    fn session(&self, request: &Request) -> Option<Session> {
        let sessions = self.sessions.lock().ok()?;
        sessions.get(token(request)?).cloned()
    }
}

/// Token in the program's own cookie.
fn token(request: &Request) -> Option<&str> {
    let cookies = request.headers().get(COOKIE)?.to_str().ok()?;
    cookies
        .split("; ")
        .find_map(|cookie| cookie.strip_prefix("token="))
}

#[derive(Deserialize)]
struct ReturnTo {
    next: Option<String>,
}

async fn show_log_in(Query(ReturnTo { next }): Query<ReturnTo>) -> Html<String> {
    let next: String = next
        .filter(|next| next.starts_with("/community/"))
        .unwrap_or_else(|| "/community/".into());
    let next = next.replace('&', "&amp;").replace('"', "&quot;");
    Html(format!(
        "<!doctype html><title>Log in</title><form method=post>\
         <input type=hidden name=next value=\"{next}\"><input name=user autofocus><button>Log in</button></form>"
    ))
}

#[derive(Deserialize)]
struct LogIn {
    user: String,
    next: String,
}

/// Believes everybody. A real program asks for a password, or another server.
async fn log_in(State(program): State<Program>, Form(form): Form<LogIn>) -> Response {
    let Ok(user) = form.user.parse::<Username>() else {
        return (StatusCode::BAD_REQUEST, "this cannot be a name").into_response();
    };
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let token = format!("{:032x}", u128::from_ne_bytes(random));
    let session = Session {
        user,
        ended: CancellationToken::new(),
    };
    if let Ok(mut sessions) = program.sessions.lock() {
        sessions.insert(token.clone(), session);
    }
    let cookie = format!("token={token}; Path=/; HttpOnly; SameSite=Lax");
    let next = if form.next.starts_with("/community/") {
        &form.next
    } else {
        "/"
    };
    ([(SET_COOKIE, cookie)], Redirect::to(next)).into_response()
}

async fn log_out(State(program): State<Program>, request: Request) -> Redirect {
    if let (Some(token), Ok(mut sessions)) = (token(&request), program.sessions.lock())
        && let Some(session) = sessions.remove(token)
    {
        session.ended.cancel();
    }
    Redirect::to("/login")
}

/// Posts through the store that the chat uses: everybody in the room sees it at once.
async fn announce_deploy(State(program): State<Program>) -> Result<String, StatusCode> {
    let message = NewMessage::new(
        "lobby".parse().map_err(internal)?,
        "robot".parse().map_err(internal)?,
        "A new version is out.".parse().map_err(internal)?,
    );
    let posted = program.store.post(message).await.map_err(internal)?;
    Ok(format!("message {}\n", posted.message.seq))
}

fn internal<E>(_: E) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Does what a user does, without a socket.
async fn once(router: Router) -> Result<(), Error> {
    let form = "application/x-www-form-urlencoded";
    let log_in = Request::post("/login")
        .header(CONTENT_TYPE, form)
        .body(Body::from("user=ann&next=/community/rooms/lobby"))?;
    let logged_in = router.clone().oneshot(log_in).await?;
    let cookie = logged_in.headers()[SET_COOKIE].to_str()?.to_owned();
    let cookie = cookie.split(';').next().unwrap_or_default();

    let post = Request::post("/community/chat/lobby/messages")
        .header(COOKIE, cookie)
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"text": "hello"}"#))?;
    println!("{}", text(router.clone().oneshot(post).await?).await?);
    let deploy = Request::post("/deploys").body(Body::empty())?;
    println!("{}", text(router.clone().oneshot(deploy).await?).await?);

    let page = Request::get("/community/rooms/lobby")
        .header(COOKIE, cookie)
        .body(Body::empty())?;
    let page = text(router.oneshot(page).await?).await?;
    for shown in [
        "hello",
        "A new version is out.",
        "/community/static/",
        "/logout",
    ] {
        if !page.contains(shown) {
            return Err(format!("the page does not show {shown}").into());
        }
    }
    Ok(())
}

async fn text(response: Response) -> Result<String, Error> {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
    let text = String::from_utf8(body.into())?;
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("{status}: {text}").into())
    }
}
