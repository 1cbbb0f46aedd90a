//! The pages for logging in, registering, and looking after one's account.

use chatcore::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS, RoomName, Session, SessionId, Username};
use hyper::StatusCode;
use serde::Serialize;

use super::{Head, encode, refused, render};
use crate::app::App;
use crate::config::Guests;
use crate::credentials::CurrentUser;
use crate::error::{HttpError, Result};
use crate::own_sessions;
use crate::paths::Part;
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};

/// Which of the two forms of the log-in page was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    LogIn,
    Register,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
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
        form.name(),
        error.status.as_u16(),
        kept("username"),
        kept("next")
    ))
}

/// Where a form wants to go, if that is on this server.
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

/// Why a form was refused, by the status that the page was told.
fn reason(app: &App, form: Form, status: &str, username: &str) -> String {
    let name = match username.parse::<Username>() {
        Ok(name) => name,
        Err(e) => return e.to_string(),
    };
    match (form, status) {
        (Form::Register, "409") => format!("{name} is taken"),
        (Form::Register, "400") => password_rule("the password"),
        (Form::LogIn, "401") => format!("{name} cannot log in with this password"),
        (Form::LogIn, "403") if app.settings().guests != Guests::Allow => {
            "this server does not take guests".into()
        }
        (Form::LogIn, "403") => {
            format!("{name} differs only in case from a name that has an account")
        }
        _ => "this did not work".into(),
    }
}

fn password_rule(which: &str) -> String {
    format!("{which} must have {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")
}

pub(crate) async fn log_in(app: App, call: Call) -> Result<Response> {
    let username = call.query.get("username")?.unwrap_or_default();
    let next = call.query.get("next")?.unwrap_or_default();
    let registers = call.query.get("form")? == Some(Form::Register.name());
    let form = if registers {
        Form::Register
    } else {
        Form::LogIn
    };
    let error = call
        .query
        .get("refused")?
        .map(|status| reason(&app, form, status, username));
    draw_log_in(&app, &call, StatusCode::OK, form, [username, next], error)
}

/// The log-in page itself, with what was typed but for the password, for who has to wait.
pub(crate) fn log_in_later(
    app: &App,
    call: &Call,
    fields: &Fields,
    form: Form,
    error: HttpError,
) -> Result<Response> {
    let typed =
        ["username", "next"].map(|name| fields.text(name).ok().flatten().unwrap_or_default());
    let page = draw_log_in(
        app,
        call,
        error.status,
        form,
        typed,
        Some(error.detail.to_string()),
    )?;
    Ok(refused(error, page))
}

fn draw_log_in(
    app: &App,
    call: &Call,
    status: StatusCode,
    form: Form,
    [username, next]: [&str; 2],
    error: Option<String>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        /// What was typed into each of the forms.
        log_in: &'a str,
        register: &'a str,
        next: &'a str,
        error: Option<String>,
        register_error: Option<String>,
        guests: bool,
    }
    let registers = form == Form::Register;
    let (log_in, register) = if registers {
        ("", username)
    } else {
        (username, "")
    };
    let (error, register_error) = if registers {
        (None, error)
    } else {
        (error, None)
    };
    let guests = app.settings().guests == Guests::Allow;
    let head = Head::new(app, call, "Log in");
    render(
        status,
        "login",
        &Context {
            head,
            log_in,
            register,
            next,
            error,
            register_error,
            guests,
        },
    )
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

/// The account page; with an error, for who has to wait before the next try.
pub(crate) async fn draw_account(
    app: &App,
    call: &Call,
    later: Option<HttpError>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        /// The user's name as part of an address.
        name: String,
        verified: bool,
        /// Whether the password was changed just now.
        changed: bool,
        error: Option<String>,
        sessions: Vec<Line>,
        others: bool,
    }
    #[derive(Serialize)]
    struct Line {
        id: SessionId,
        device: String,
        since: String,
        seen: String,
        current: bool,
    }
    let Some(current) = call.user.as_ref().and_then(CurrentUser::session) else {
        return see_other(&format!("{}?next=%2Faccount", log_in_page(app)));
    };
    let sessions = own_sessions::list(app, current).await?;
    let minutes = |time: chatcore::Timestamp| {
        time.to_string()
            .get(..16)
            .unwrap_or_default()
            .replace('T', " ")
    };
    let line = |session: &Session| Line {
        id: session.id,
        device: session.device.clone(),
        since: minutes(session.created_at),
        seen: minutes(session.last_seen),
        current: session.id == current.id,
    };
    let told = call.query.get("refused")?.map(|status| match status {
        "400" => password_rule("the new password"),
        "403" => "the current password is wrong".into(),
        _ => "this did not work".into(),
    });
    let error = later
        .as_ref()
        .map(|later| later.detail.to_string())
        .or(told);
    let context = Context {
        head: Head::new(app, call, "Account"),
        name: encode(current.username.as_str()),
        verified: current.verified,
        changed: call.query.get("changed")?.is_some(),
        error,
        others: sessions.len() > 1,
        sessions: sessions.iter().map(line).collect(),
    };
    let page = render(
        later.as_ref().map_or(StatusCode::OK, |later| later.status),
        "account",
        &context,
    )?;
    Ok(match later {
        Some(error) => refused(error, page),
        None => page,
    })
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
