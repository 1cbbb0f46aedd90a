//! The pages: server-rendered, usable without JavaScript.

pub(crate) mod account;
pub(crate) mod assets;
mod bundle;
mod device;
pub(crate) mod direct;
mod encoding;
mod markdown;
mod message;
pub(crate) mod one_message;
pub(crate) mod people;
pub(crate) mod room;
pub(crate) mod rooms;
pub(crate) mod rows;
mod sidebar;
mod words;

use chatcore::{RoomName, Seq};
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, VARY,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use tinytemplate::TinyTemplate;

use self::account::{log_in_link, log_in_pattern};
use self::encoding::{Effort, Encoding};
use self::message::{hue, initials};
use self::sidebar::Sidebar;
use self::words::in_words;
use crate::app::App;
use crate::error::{HttpError, Result};
use crate::paths::Part;
use crate::request::{Call, Segments};
use crate::response::{Response, bytes, problem, see_other};
use crate::texts::Language;

/// RFC 3986's unreserved characters stand for themselves in a path segment and in a query.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Scripts and styles come from `/static/` only, and no other site may frame a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Bytes up to which an answer is compressed: more would keep the thread from its other requests.
const MAX_COMPRESSED: usize = 128 * 1024;
/// Header by which a script asks for a page without what stands beside it.
const FRAGMENT: &str = "x-chat-part";

const TEMPLATES: &[(&str, &str)] = &[
    ("head", include_str!("../templates/head.html")),
    ("foot", include_str!("../templates/foot.html")),
    ("login", include_str!("../templates/login.html")),
    ("account", include_str!("../templates/account.html")),
    ("rooms", include_str!("../templates/rooms.html")),
    ("new", include_str!("../templates/new.html")),
    ("room", include_str!("../templates/room.html")),
    ("people", include_str!("../templates/people.html")),
    ("message", include_str!("../templates/message.html")),
    ("one_message", include_str!("../templates/one_message.html")),
    ("missing", include_str!("../templates/missing.html")),
    ("error", include_str!("../templates/error.html")),
];

thread_local! {
    // The engine is bound to its thread; the templates are part of the program.
    static ENGINE: std::result::Result<TinyTemplate<'static>, tinytemplate::error::Error> = {
        let mut engine = TinyTemplate::new();
        TEMPLATES.iter().try_for_each(|(name, text)| engine.add_template(name, text)).map(|()| engine)
    };
}

/// Wishes of the client for whom a page is drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    pub(crate) language: Language,
    encoding: Encoding,
}

impl Reader {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            language: Language::of(headers),
            encoding: Encoding::of(headers),
        }
    }
}

/// Parts that all pages have in common.
#[derive(Serialize)]
struct Head<'a> {
    title: &'a str,
    lang: &'static str,
    brand: &'a str,
    prefix: &'a str,
    style: String,
    script: String,
    icon: String,
    icon_unread: String,
    user: Option<&'a str>,
    verified: bool,
    hue: u32,
    initials: String,
    /// Set if the chat has accounts of its own.
    accounts: bool,
    /// Address to log in at, and from there back to the page, if there is one.
    log_in: Option<String>,
    /// The same for scripts of a user's page, which put its path below the prefix for `{next}`.
    log_in_pattern: Option<String>,
    /// Page of the program for logging out.
    log_out: Option<&'a str>,
    /// Rooms, on pages that list them.
    sidebar: Option<Sidebar>,
    t: &'static Value,
    /// Texts for scripts, as JSON that may stand in a script element.
    texts: &'static str,
    #[serde(skip)]
    reader: Reader,
}

impl<'a> Head<'a> {
    /// Returns the head of a page on its own.
    fn new(app: &'a App, reader: Reader, title: &'a str) -> Self {
        let texts = reader.language.texts();
        Self {
            title,
            lang: reader.language.tag(),
            brand: match &app.branding().name {
                Some(name) => name,
                None => texts.text("pages", "brand"),
            },
            prefix: app.prefix(),
            style: assets::url(app, "style.css"),
            script: assets::url(app, "app.js"),
            icon: assets::url(app, "icon.svg"),
            icon_unread: assets::url(app, "icon-unread.svg"),
            user: None,
            verified: false,
            hue: 0,
            initials: String::new(),
            accounts: app.has(Part::Accounts),
            log_in: log_in_link(app, ""),
            log_in_pattern: None,
            log_out: app.branding().log_out.as_deref(),
            sidebar: None,
            t: texts.section("pages"),
            texts: texts.for_scripts(),
            reader,
        }
    }

    /// Returns the head of a page for the user of a request, who is in `room`.
    async fn load(
        app: &'a App,
        call: &'a Call,
        title: &'a str,
        room: Option<&RoomName>,
    ) -> Result<Self> {
        let user = call.user.as_ref();
        let name = user.map(|user| user.username.as_str());
        let sidebar = match call.head.headers.contains_key(FRAGMENT) {
            true => None,
            false => Some(Sidebar::load(app, call, room).await?),
        };
        let next = room.map(|room| format!("/rooms/{}", encode(room.as_str())));
        Ok(Self {
            user: name,
            verified: user.is_some_and(|user| user.verified),
            hue: hue(name.unwrap_or_default()),
            initials: initials(name.unwrap_or_default()),
            log_in: log_in_link(app, next.as_deref().unwrap_or_default()),
            log_in_pattern: user.and_then(|_| log_in_pattern(app)),
            sidebar,
            ..Self::new(app, Reader::of(&call.head.headers), title)
        })
    }

    fn text(&self, key: &str) -> &'static str {
        self.reader.language.texts().text("pages", key)
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

fn render(
    reader: Reader,
    status: StatusCode,
    template: &str,
    context: &impl Serialize,
) -> Result<Response> {
    Ok(html(reader, status, draw(template, context)?))
}

/// Answers with HTML that is for this client alone.
fn html(reader: Reader, status: StatusCode, page: String) -> Response {
    let encoded = match page.len() {
        ..=MAX_COMPRESSED => reader.encoding.compress(page.as_bytes(), Effort::Fast),
        _ => None,
    };
    let coding = encoded.as_ref().and(reader.encoding.name());
    let body = encoded.unwrap_or_else(|| page.into());
    let mut response = bytes(status, "text/html; charset=utf-8", body);

    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (VARY, "accept-encoding, accept-language, cookie"),
    ] {
        headers.insert::<HeaderName>(name, HeaderValue::from_static(value));
    }
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// Draws the page for a request to a page that failed.
pub(crate) fn error(app: &App, reader: Reader, error: HttpError) -> Response {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        detail: &'a str,
        /// Set if a log-in would help.
        may_log_in: bool,
    }
    let key = format!("status_{}", error.status.as_u16());
    let texts = reader.language.texts();
    let title = match texts.text("pages", &key) {
        "" => texts.text("pages", "error"),
        title => title,
    };
    let detail = in_words(reader.language, &error.detail);
    let context = Context {
        head: Head::new(app, reader, title),
        detail: &detail,
        may_log_in: error.status == StatusCode::UNAUTHORIZED,
    };
    match render(reader, error.status, "error", &context) {
        Ok(page) => refused(error, page),
        Err(_) => problem(error),
    }
}

/// Renders a page that shows an error, if there is one, and has its status and headers.
fn render_with(
    error: Option<HttpError>,
    reader: Reader,
    template: &str,
    context: &impl Serialize,
) -> Result<Response> {
    match error {
        Some(error) => {
            let page = render(reader, error.status, template, context)?;
            Ok(refused(error, page))
        }
        None => render(reader, StatusCode::OK, template, context),
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
