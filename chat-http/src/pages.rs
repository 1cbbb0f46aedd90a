//! The pages: server-rendered, usable without JavaScript.

pub(crate) mod account;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::{MAX_NAMES, Message, NewMessage, Nonce, Range, RoomName, Timestamp};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tinytemplate::TinyTemplate;

use self::account::log_in_page;
use crate::App;
use crate::config::Guests;
use crate::error::{HttpError, Result};
use crate::handlers::messages;
use crate::request::{Call, Fields};
use crate::response::{Response, bytes, cacheable, see_other};

/// Messages on the page of a room.
const MESSAGES: u32 = 50;
/// RFC 3986's unreserved characters stand for themselves in a path segment and in a query.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Scripts and styles come from `/static/` only, and no other site may frame a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const FILES: &[(&str, &str, &[u8])] = &[
    ("style.css", "text/css; charset=utf-8", include_bytes!("../../templates/static/style.css")),
    ("live.js", "text/javascript; charset=utf-8", include_bytes!("../../templates/static/live.js")),
    ("room.js", "text/javascript; charset=utf-8", include_bytes!("../../templates/static/room.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../templates/static/icon.svg")),
];

const TEMPLATES: &[(&str, &str)] = &[
    ("head", include_str!("../../templates/head.html")),
    ("login", include_str!("../../templates/login.html")),
    ("account", include_str!("../../templates/account.html")),
    ("rooms", include_str!("../../templates/rooms.html")),
    ("room", include_str!("../../templates/room.html")),
    ("error", include_str!("../../templates/error.html")),
];

thread_local! {
    // The engine is bound to its thread; the templates are part of the program.
    static ENGINE: std::result::Result<TinyTemplate<'static>, tinytemplate::error::Error> = {
        let mut engine = TinyTemplate::new();
        TEMPLATES.iter().try_for_each(|(name, text)| engine.add_template(name, text)).map(|()| engine)
    };
}

/// What every page shows.
#[derive(Serialize)]
struct Head<'a> {
    title: &'a str,
    prefix: &'a str,
    user: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn new(app: &'a App, call: &'a Call, title: &'a str) -> Self {
        let user = call.who.as_ref().map(|who| who.session.username.as_str());
        Self { title, prefix: app.prefix(), user }
    }
}

fn render(status: StatusCode, template: &str, context: &impl Serialize) -> Result<Response> {
    let page = ENGINE.with(|engine| match engine {
        Ok(engine) => engine.render(template, context).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    });
    let page = page.map_err(|error| {
        tracing::error!(template, error, "a page could not be drawn");
        HttpError::internal()
    })?;
    let mut response = bytes(status, "text/html; charset=utf-8", page);
    for (name, value) in
        [(CACHE_CONTROL, "no-store"), (CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "same-origin")]
    {
        response.headers_mut().insert::<HeaderName>(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The page for a request to a page that failed.
pub(crate) fn error(app: &App, error: HttpError) -> Response {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        detail: &'a str,
    }
    let head = Head { title: error.title(), prefix: app.prefix(), user: None };
    match render(error.status, "error", &Context { head, detail: &error.detail }) {
        Ok(page) => refused(error, page),
        Err(_) => error.into_response(),
    }
}

/// A page that tells of an error, with the error's status and headers: `Allow` and `Retry-After`
/// belong to the page too.
fn refused(error: HttpError, page: Response) -> Response {
    let (drawn, body) = page.into_parts();
    let mut response = error.into_response();
    response.headers_mut().extend(drawn.headers);
    *response.body_mut() = body;
    response
}

pub(crate) async fn file(_: App, call: Call) -> Result<Response> {
    let found = FILES.iter().find(|(name, ..)| Some(*name) == call.file());
    let (_, content_type, body) = found.ok_or_else(|| HttpError::not_found("there is no such file"))?;
    Ok(cacheable(&call, content_type, *body))
}

/// With guests switched off, who has no account sees only the log-in page.
fn turned_away(app: &App, call: &Call, next: &str) -> Option<Result<Response>> {
    let verified = call.who.as_ref().is_some_and(|who| who.session.verified);
    let away = app.settings().guests == Guests::Deny && !verified;
    away.then(|| see_other(&format!("{}?next={}", log_in_page(app), encode(next))))
}

// Rooms

fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn room_page(app: &App, room: &RoomName) -> String {
    format!("{}/rooms/{}", app.prefix(), encode(room.as_str()))
}

#[derive(Serialize)]
struct Link<'a> {
    name: &'a str,
    href: String,
}

pub(crate) async fn rooms(app: App, call: Call) -> Result<Response> {
    if let Some(away) = turned_away(&app, &call, "") {
        return away;
    }
    draw_rooms(&app, &call, StatusCode::OK, "", None).await
}

async fn draw_rooms(
    app: &App,
    call: &Call,
    status: StatusCode,
    typed: &str,
    error: Option<&str>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        rooms: Vec<Link<'a>>,
        more: Option<String>,
        count: u64,
        /// What the form holds.
        typed: &'a str,
        error: Option<&'a str>,
    }
    let after = call.query.parsed("after")?;
    let found = app.store().rooms(after.as_ref(), MAX_NAMES).await?;
    let rooms: Vec<_> =
        found.iter().map(|room| Link { name: room.as_str(), href: room_page(app, room) }).collect();
    let last = found.last().filter(|_| found.len() == MAX_NAMES as usize);
    let more = last.map(|last| format!("{}/?after={}", app.prefix(), encode(last.as_str())));
    let count = match &call.who {
        Some(who) => app.store().message_count(&who.session.username).await?,
        None => 0,
    };
    render(
        status,
        "rooms",
        &Context { head: Head::new(app, call, "Rooms"), rooms, more, count, typed, error },
    )
}

/// Creates the room that was typed, unless it is there, and opens it.
pub(crate) async fn open_room(app: App, call: Call) -> Result<Response> {
    if let Some(away) = turned_away(&app, &call, "") {
        return away;
    }
    let fields = call.form()?;
    let room = fields.required::<RoomName>("room");
    match room.and_then(|room| app.limits().room(call.network(&app)).map(|()| room)) {
        Ok(room) => {
            app.store().create_room(&room).await?;
            see_other(&room_page(&app, &room))
        }
        Err(error) => {
            let typed = fields.text("room")?.unwrap_or_default();
            let page = draw_rooms(&app, &call, error.status, typed, Some(&error.detail)).await?;
            Ok(refused(error, page))
        }
    }
}

// One room

pub(crate) async fn room(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    if let Some(away) = turned_away(&app, &call, &format!("/rooms/{}", encode(room.as_str()))) {
        return away;
    }
    draw_room(&app, &call, &room, StatusCode::OK, &Draft::new(None)?).await
}

/// What the form of a room holds.
struct Draft<'a> {
    text: &'a str,
    /// Makes sending the same form twice harmless.
    nonce: String,
    error: Option<&'a str>,
}

impl<'a> Draft<'a> {
    fn new(error: Option<&'a str>) -> Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| {
            tracing::error!(error = %e, "the system gives no random bytes");
            HttpError::internal()
        })?;
        Ok(Self { text: "", nonce: URL_SAFE_NO_PAD.encode(random), error })
    }
}

#[derive(Serialize)]
struct Line<'a> {
    seq: i64,
    sender: &'a str,
    text: &'a str,
    timestamp: Timestamp,
    /// Minutes are enough to read; the attribute has the rest.
    time: String,
    verified: bool,
}

impl<'a> From<&'a Message> for Line<'a> {
    fn from(message: &'a Message) -> Self {
        let written = message.timestamp.to_string();
        Self {
            seq: message.seq.get(),
            sender: message.sender.as_str(),
            text: message.text.as_str(),
            timestamp: message.timestamp,
            time: written.get(..16).unwrap_or_default().replace('T', " "),
            verified: message.verified,
        }
    }
}

async fn draw_room(
    app: &App,
    call: &Call,
    room: &RoomName,
    status: StatusCode,
    draft: &Draft<'_>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        room: &'a str,
        page: String,
        api: String,
        log_in: String,
        messages: Vec<Line<'a>>,
        /// Whether this is the end of the room, where new messages appear.
        live: bool,
        older: Option<String>,
        newer: Option<String>,
        events: String,
        /// The newest message shown, after which the page goes on.
        last: i64,
        text: &'a str,
        nonce: &'a str,
        error: Option<&'a str>,
    }
    let range = messages::range(&call.query)?;
    let read = app.store().messages(room, range, MESSAGES).await?;
    let page = room_page(app, room);
    let first = read.first().map_or(0, |m| m.seq.get());
    let context = Context {
        head: Head::new(app, call, room.as_str()),
        room: room.as_str(),
        api: format!("{}/chat/{}/messages", app.prefix(), encode(room.as_str())),
        log_in: format!("{}?next={}", log_in_page(app), encode(&format!("/rooms/{}", encode(room.as_str())))),
        messages: read.iter().map(|message| Line::from(&**message)).collect(),
        live: range == Range::Newest,
        older: (first > 1).then(|| format!("{page}?before={first}")),
        newer: (range != Range::Newest).then(|| page.clone()),
        events: format!("{}/chat/{}/events", app.prefix(), encode(room.as_str())),
        last: read.last().map_or(0, |m| m.seq.get()),
        page,
        text: draft.text,
        nonce: &draft.nonce,
        error: draft.error,
    };
    render(status, "room", &context)
}

/// A message from the form. What is refused stays in the form.
pub(crate) async fn post(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    if let Some(away) = turned_away(&app, &call, &format!("/rooms/{}", encode(room.as_str()))) {
        return away;
    }
    let fields = call.form()?;
    // A form has two characters for the end of a line.
    let text = fields.text("text")?.unwrap_or_default().replace("\r\n", "\n");
    match post_text(&app, &call, &room, &text, &fields).await {
        Ok(()) => see_other(&room_page(&app, &room)),
        Err(error) => {
            let draft = Draft { text: &text, ..Draft::new(Some(&error.detail))? };
            let page = draw_room(&app, &call, &room, error.status, &draft).await?;
            Ok(refused(error, page))
        }
    }
}

async fn post_text(app: &App, call: &Call, room: &RoomName, text: &str, fields: &Fields) -> Result<()> {
    let session = call.session()?;
    let nonce: Option<Nonce> = fields.get("nonce")?;
    let message = NewMessage {
        room: room.clone(),
        sender: session.username.clone(),
        text: text.parse()?,
        nonce,
        verified: session.verified,
    };
    messages::store(app, message).await.map(drop)
}
