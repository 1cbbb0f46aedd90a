//! The pages for logging in, registering, and looking after one's account.

use chatcore::{RoomName, Session, SessionId, Username};
use hyper::StatusCode;
use serde::Serialize;

use super::device::Device;
use super::message::minutes;
use super::words::in_words;
use super::{Head, Reader, encode, refused, render, render_with};
use crate::app::App;
use crate::config::Guests;
use crate::credentials::CurrentUser;
use crate::error::{HttpError, Result};
use crate::own_sessions;
use crate::paths::Part;
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};
use crate::texts::Language;

/// Kinds of form that begin a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    LogIn,
    Register,
}

/// Section of the log-in page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Guest,
    LogIn,
    Register,
}

impl Section {
    /// Returns the section that a form was sent from.
    fn of(form: Form, fields: &Fields) -> Self {
        let password = fields.text("password").ok().flatten().unwrap_or_default();
        match form {
            Form::Register => Self::Register,
            Form::LogIn if password.is_empty() => Self::Guest,
            Form::LogIn => Self::LogIn,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "register" => Self::Register,
            "log-in" => Self::LogIn,
            _ => Self::Guest,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::LogIn => "log-in",
            Self::Register => "register",
        }
    }
}

pub(crate) fn log_in_page(app: &App) -> String {
    format!("{}/login", app.prefix())
}

/// Link to the page for logging in, from where the user returns to the page at the path `next`:
/// the program's own page, if the chat is mounted in one that has it. There may be none.
pub(crate) fn log_in_link(app: &App, next: &str) -> Option<String> {
    if let Some(link) = &app.branding().log_in {
        let path = format!(
            "{}{}",
            app.prefix(),
            if next.is_empty() { "/" } else { next }
        );
        return Some(link.replace("{next}", &encode(&path)));
    }
    let query = if next.is_empty() {
        String::new()
    } else {
        format!("?next={}", encode(next))
    };
    app.has(Part::Accounts)
        .then(|| format!("{}{query}", log_in_page(app)))
}

/// Returns the link to log in with `{next}` where the path of a page below the prefix goes,
/// percent-encoded.
pub(crate) fn log_in_pattern(app: &App) -> Option<String> {
    if let Some(link) = &app.branding().log_in {
        let next = format!("{}{{next}}", encode(app.prefix()));
        return Some(link.replace("{next}", &next));
    }
    app.has(Part::Accounts)
        .then(|| format!("{}?next={{next}}", log_in_page(app)))
}

pub(crate) fn account_page(app: &App) -> String {
    format!("{}/account", app.prefix())
}

/// Back to the log-in page, with what was typed but for the password.
///
/// The page is told the status and not the sentence: with a sentence in its address, anyone could
/// make it say anything.
pub(crate) fn to_log_in(
    app: &App,
    fields: &Fields,
    form: Form,
    error: &HttpError,
) -> Result<Response> {
    let kept = |name| encode(fields.text(name).ok().flatten().unwrap_or_default());
    see_other(&format!(
        "{}?form={}&refused={}&username={}&next={}",
        log_in_page(app),
        Section::of(form, fields).name(),
        error.status.as_u16(),
        kept("username"),
        kept("next")
    ))
}

/// Returns the path that a form leads to, if it is on this server.
pub(crate) fn after_log_in(app: &App, fields: &Fields) -> String {
    let next = fields.text("next").ok().flatten().and_then(local);
    format!("{}{}", app.prefix(), next.as_deref().unwrap_or("/"))
}

/// The path of a page. Anything else could lead to another site.
fn local(next: &str) -> Option<String> {
    if next == "/account" {
        return Some(next.into());
    }
    let room = next.strip_prefix("/rooms/")?;
    let room: RoomName = crate::request::decode(room).ok()?.parse().ok()?;
    Some(format!("/rooms/{}", encode(room.as_str())))
}

/// Field of a form that an error is shown at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Password,
}

/// An error in a section of the log-in page.
struct Refusal {
    section: Section,
    field: Field,
    text: String,
}

/// Returns why a form was refused, by the status that the page was told.
fn reason(app: &App, language: Language, sent: Section, status: &str, username: &str) -> Refusal {
    let text = |key| {
        let text = language.texts().text("pages", key);
        text.replace("{name}", username)
    };
    let at_name = |text| Refusal {
        section: sent,
        field: Field::Name,
        text,
    };
    let at_password = |section, text| Refusal {
        section,
        field: Field::Password,
        text,
    };
    if let Err(invalid) = username.parse::<Username>() {
        return at_name(in_words(language, &invalid.to_string()).into_owned());
    }
    match (sent, status) {
        (Section::Register, "409") => at_name(text("name_taken")),
        (Section::Register, "400") => at_password(sent, text("password_rule")),
        (Section::LogIn, "401") => at_password(sent, text("wrong_password")),
        (Section::Guest, "401") => at_password(Section::LogIn, text("name_has_account")),
        (_, "403") if app.settings().guests != Guests::Allow => at_name(text("no_guests")),
        (_, "403") => at_name(text("name_reserved")),
        _ => at_name(text("did_not_work")),
    }
}

pub(crate) async fn log_in(app: App, call: Call) -> Result<Response> {
    let username = call.query.get("username")?.unwrap_or_default();
    let next = call.query.get("next")?.unwrap_or_default();
    let section = Section::named(call.query.get("form")?.unwrap_or_default());
    let language = Language::of(&call.head.headers);
    let refusal = call
        .query
        .get("refused")?
        .map(|status| reason(&app, language, section, status, username));
    draw_log_in(
        &app,
        &call,
        StatusCode::OK,
        [username, next],
        section,
        refusal,
    )
}

/// Draws the log-in page, with what was typed but for the password, for who has to wait.
pub(crate) fn log_in_later(
    app: &App,
    call: &Call,
    fields: &Fields,
    form: Form,
    error: HttpError,
) -> Result<Response> {
    let typed =
        ["username", "next"].map(|name| fields.text(name).ok().flatten().unwrap_or_default());
    let section = Section::of(form, fields);
    let text = in_words(Language::of(&call.head.headers), &error.detail).into_owned();
    let refusal = Refusal {
        section,
        field: Field::Name,
        text,
    };
    let page = draw_log_in(app, call, error.status, typed, section, Some(refusal))?;
    Ok(refused(error, page))
}

/// One form of the log-in page.
#[derive(Default, Serialize)]
struct FormView<'a> {
    open: bool,
    username: &'a str,
    name_error: Option<&'a str>,
    password_error: Option<&'a str>,
}

/// Fields of the template of the log-in page.
#[derive(Serialize)]
struct LogInContext<'a> {
    head: Head<'a>,
    next: &'a str,
    /// Set if the server takes guests.
    guests: bool,
    guest: FormView<'a>,
    log_in: FormView<'a>,
    register: FormView<'a>,
}

fn draw_log_in(
    app: &App,
    call: &Call,
    status: StatusCode,
    [username, next]: [&str; 2],
    opened: Section,
    refusal: Option<Refusal>,
) -> Result<Response> {
    let guests = app.settings().guests == Guests::Allow;
    let opened = refusal.as_ref().map_or(opened, |refusal| refusal.section);
    let opened = match opened {
        Section::Guest if !guests => Section::LogIn,
        opened => opened,
    };
    let view = |section| {
        let is_open = section == opened;
        let error_at = |field| {
            let refusal = refusal.as_ref().filter(|refusal| refusal.field == field);
            refusal
                .filter(|_| is_open)
                .map(|refusal| refusal.text.as_str())
        };
        FormView {
            open: is_open,
            username: if is_open { username } else { "" },
            name_error: error_at(Field::Name),
            password_error: error_at(Field::Password),
        }
    };

    let reader = Reader::of(&call.head.headers);
    let mut head = Head::new(app, reader, "");
    head.title = head.text("log_in");
    let context = LogInContext {
        head,
        next,
        guests,
        guest: view(Section::Guest),
        log_in: view(Section::LogIn),
        register: view(Section::Register),
    };
    render(reader, status, "login", &context)
}

/// Back to the account page after a password was refused.
pub(crate) fn to_account(app: &App, error: &HttpError) -> Result<Response> {
    if error.status == StatusCode::UNAUTHORIZED {
        return see_other(&format!("{}?next=%2Faccount", log_in_page(app)));
    }
    see_other(&format!(
        "{}?refused={}",
        account_page(app),
        error.status.as_u16()
    ))
}

pub(crate) async fn account(app: App, call: Call) -> Result<Response> {
    draw_account(&app, &call, None).await
}

/// A session in the list.
#[derive(Serialize)]
struct SessionView {
    id: SessionId,
    device: String,
    /// Times in full, for scripts, and in minutes.
    since_at: String,
    since: String,
    seen_at: String,
    seen: String,
    current: bool,
}

impl SessionView {
    fn new(session: &Session, current: &Session, language: Language) -> Self {
        let (since, seen) = (
            session.created_at.to_string(),
            session.last_seen.to_string(),
        );
        Self {
            id: session.id,
            device: device(&session.device, language),
            since: minutes(&since),
            since_at: since,
            seen: minutes(&seen),
            seen_at: seen,
            current: session.id == current.id,
        }
    }
}

/// Returns the name of a device, as "Chrome on Linux".
fn device(user_agent: &str, language: Language) -> String {
    let text = |key| language.texts().text("pages", key);
    let Device { browser, system } = Device::of(user_agent);
    match (browser, system) {
        (Some(browser), Some(system)) => text("browser_on_system")
            .replace("{browser}", browser)
            .replace("{system}", system),
        (Some(name), None) => name.to_owned(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => text("unknown_device").to_owned(),
    }
}

/// Fields of the template of the account page.
#[derive(Serialize)]
struct AccountContext<'a> {
    head: Head<'a>,
    /// The user's name as part of an address.
    name: String,
    verified: bool,
    /// Number of messages that the user has written.
    count: u64,
    /// Set if the password was changed just now.
    changed: bool,
    current_error: Option<String>,
    new_error: Option<String>,
    sessions: Vec<SessionView>,
    others: bool,
}

/// Draws the account page; with an error, if the user has to wait before the next try.
pub(crate) async fn draw_account(
    app: &App,
    call: &Call,
    later: Option<HttpError>,
) -> Result<Response> {
    let Some(current) = call.user.as_ref().and_then(CurrentUser::session) else {
        return see_other(&format!("{}?next=%2Faccount", log_in_page(app)));
    };
    let mut head = Head::load(app, call, "", None).await?;
    head.title = head.text("account");
    let reader = head.reader;
    let told = call.query.get("refused")?;
    let current_error = match (&later, told) {
        (Some(later), _) => Some(in_words(reader.language, &later.detail).into_owned()),
        (None, Some("400")) | (None, None) => None,
        (None, Some("403")) => Some(head.text("wrong_current_password").to_owned()),
        (None, Some(_)) => Some(head.text("did_not_work").to_owned()),
    };
    let new_error = (told == Some("400")).then(|| head.text("password_rule").to_owned());

    let sessions = own_sessions::list(app, current).await?;
    let context = AccountContext {
        name: encode(current.username.as_str()),
        verified: current.verified,
        count: app.store().message_count(&current.username).await?,
        changed: call.query.get("changed")?.is_some(),
        current_error,
        new_error,
        others: sessions.len() > 1,
        sessions: sessions
            .iter()
            .map(|session| SessionView::new(session, current, reader.language))
            .collect(),
        head,
    };
    render_with(later, reader, "account", &context)
}

/// Ends the session whose id the form names, or all others if it names none.
pub(crate) async fn end_sessions(app: App, call: Call) -> Result<Response> {
    let current = call.session()?;
    match call.form()?.get::<SessionId>("id")? {
        // A session that is not there has ended, which is what was asked for.
        Some(id) => drop(own_sessions::end(&app, current, id).await?),
        None => own_sessions::end_others(&app, current).await?,
    }
    see_other(&account_page(&app))
}
