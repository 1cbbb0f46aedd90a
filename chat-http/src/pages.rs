//! The pages: server-rendered, usable without JavaScript.

pub(crate) mod account;
mod markdown;
mod message;
pub(crate) mod room;
pub(crate) mod rooms;
pub(crate) mod rows;

use chatcore::{RoomName, Seq};
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tinytemplate::TinyTemplate;

use self::account::log_in_link;
use crate::app::App;
use crate::error::{HttpError, Result};
use crate::paths::Part;
use crate::request::{Call, Segments};
use crate::response::{Response, bytes, cacheable, problem, redirect, see_other};

/// RFC 3986's unreserved characters stand for themselves in a path segment and in a query.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Scripts and styles come from `/static/` only, and no other site may frame a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The stylesheet, a section for each part of the pages.
const STYLE: &str = concat!(
    include_str!("../../templates/static/style/base.css"),
    include_str!("../../templates/static/style/layout.css"),
    include_str!("../../templates/static/style/pages.css"),
    include_str!("../../templates/static/style/room.css"),
    include_str!("../../templates/static/style/messages.css"),
    include_str!("../../templates/static/style/composer.css"),
    include_str!("../../templates/static/style/dialogs.css"),
    include_str!("../../templates/static/style/print.css"),
);

macro_rules! scripts {
    ($($name:literal)*) => {
        &[$((
            $name,
            include_str!(concat!("../../templates/static/", $name)).as_bytes(),
        )),*]
    };
}

/// The modules of the room page.
const SCRIPTS: &[(&str, &[u8])] = scripts! {
    "actions.js" "completer.js" "composer.js" "conversation.js" "editor.js" "emoji.js" "formatter.js" "jump_button.js" "live.js" "long_poll.js" "message_list.js" "names.js" "navigation.js" "notifier.js" "notify_menu.js" "outbox.js" "paginator.js" "pending_rows.js" "picker.js" "popover.js" "quotes.js" "read_marks.js" "request.js" "room.js" "room_events.js" "row_tools.js" "scroll_manager.js" "session.js" "status.js" "storage.js" "tabs.js" "texts.js" "timeline.js" "toast.js" "typing.js" "writing.js"
};

const FILES: &[(&str, &str, &[u8])] = &[
    ("style.css", "text/css; charset=utf-8", STYLE.as_bytes()),
    (
        "emoji.json",
        "application/json",
        include_bytes!("../../templates/static/emoji.json"),
    ),
    (
        "icon-unread.svg",
        "image/svg+xml",
        include_bytes!("../../templates/static/icon-unread.svg"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_bytes!("../../templates/static/icon.svg"),
    ),
];

const TEMPLATES: &[(&str, &str)] = &[
    ("head", include_str!("../../templates/head.html")),
    ("login", include_str!("../../templates/login.html")),
    ("account", include_str!("../../templates/account.html")),
    ("rooms", include_str!("../../templates/rooms.html")),
    ("room", include_str!("../../templates/room.html")),
    ("message", include_str!("../../templates/message.html")),
    ("missing", include_str!("../../templates/missing.html")),
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
    /// Name of the site.
    brand: &'a str,
    user: Option<&'a str>,
    /// Set if the chat has accounts of its own.
    accounts: bool,
    /// Page for logging in, if there is one.
    log_in: Option<String>,
    /// Page of the program for logging out.
    log_out: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn new(app: &'a App, call: &'a Call, title: &'a str) -> Self {
        let user = call.user.as_ref().map(|user| user.username.as_str());
        Self {
            user,
            ..Self::anonymous(app, title)
        }
    }

    /// A page that is the same for everyone.
    fn anonymous(app: &'a App, title: &'a str) -> Self {
        Self {
            title,
            prefix: app.prefix(),
            brand: app.branding().name.as_deref().unwrap_or("Chat"),
            user: None,
            accounts: app.has(Part::Accounts),
            log_in: log_in_link(app, ""),
            log_out: app.branding().log_out.as_deref(),
        }
    }
}

/// Draws a template.
fn draw(template: &str, context: &impl Serialize) -> Result<String> {
    let drawn = ENGINE.with(|engine| match engine {
        Ok(engine) => engine.render(template, context).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    });
    drawn.map_err(|error| {
        tracing::error!(template, error, "a template could not be drawn");
        HttpError::internal()
    })
}

fn render(status: StatusCode, template: &str, context: &impl Serialize) -> Result<Response> {
    let page = draw(template, context)?;
    let mut response = bytes(status, "text/html; charset=utf-8", page);
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
    ] {
        response
            .headers_mut()
            .insert::<HeaderName>(name, HeaderValue::from_static(value));
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
    let head = Head::anonymous(app, error.title());
    match render(
        error.status,
        "error",
        &Context {
            head,
            detail: &error.detail,
        },
    ) {
        Ok(page) => refused(error, page),
        Err(_) => problem(error),
    }
}

/// A page that tells of an error, with the error's status and headers: `Allow` and `Retry-After`
/// belong to the page too.
fn refused(error: HttpError, page: Response) -> Response {
    let (drawn, body) = page.into_parts();
    let mut response = problem(error);
    response.headers_mut().extend(drawn.headers);
    *response.body_mut() = body;
    response
}

pub(crate) async fn file(_: App, call: Call) -> Result<Response> {
    let scripts = SCRIPTS
        .iter()
        .map(|(name, body)| (*name, "text/javascript; charset=utf-8", *body));
    let (_, content_type, body) = FILES
        .iter()
        .copied()
        .chain(scripts)
        .find(|(name, ..)| Some(*name) == call.file())
        .ok_or_else(|| HttpError::not_found("there is no such file"))?;
    Ok(cacheable(&call.head.headers, content_type, body))
}

/// Browsers ask for it by this name, whatever the pages say.
pub(crate) async fn favicon(app: App, _: Call) -> Result<Response> {
    redirect(
        StatusCode::PERMANENT_REDIRECT,
        &format!("{}/static/icon.svg", app.prefix()),
    )
}

/// Sends somebody who may not use a page without an account to log in, and from there to the page.
pub(crate) fn to_log_in_first(app: &App, route: &str, segments: &Segments) -> Result<Response> {
    let next = match segments.first() {
        Some(room) if route.starts_with("/rooms/") => format!("/rooms/{}", encode(room)),
        _ if route.starts_with("/account") => "/account".into(),
        _ => String::new(),
    };
    let next = if next.is_empty() { "/" } else { &next };
    let link = log_in_link(app, next).ok_or_else(|| HttpError::no_session(false))?;
    see_other(&link)
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn room_page(app: &App, room: &RoomName) -> String {
    format!("{}/rooms/{}", app.prefix(), encode(room.as_str()))
}

/// Address of a message in its room, with the messages around it.
fn message_link(app: &App, room: &RoomName, seq: Seq) -> String {
    format!("{}?around={seq}#m{seq}", room_page(app, room))
}

/// Address of the page of one message.
fn message_page(app: &App, room: &RoomName, seq: Seq) -> String {
    format!("{}/messages/{seq}", room_page(app, room))
}
