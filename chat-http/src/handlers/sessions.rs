//! Logging in and out, and the list of sessions.

use chatcore::{Error, Session, SessionToken, Username};
use hyper::StatusCode;
use hyper::header::USER_AGENT;

use crate::app::App;
use crate::config::Guests;
use crate::cookies;
use crate::credentials::CurrentUser;
use crate::error::{HttpError, Result};
use crate::own_sessions;
use crate::pages;
use crate::pages::account::Form;
use crate::request::{BodyFormat, Call, Fields};
use crate::response::{Response, done, json, no_content, see_other};
use crate::wire;

pub(crate) async fn log_in(app: App, call: Call) -> Result<Response> {
    let fields = call.fields()?;
    let started = log_in_as(&app, &call, &fields).await;
    answer_start(&app, &call, &fields, Form::LogIn, started, StatusCode::OK).await
}

/// Answers a request for a session: with the session, or with why there is none.
pub(super) async fn answer_start(
    app: &App,
    call: &Call,
    fields: &Fields,
    form: Form,
    started: Result<(SessionToken, Session)>,
    status: StatusCode,
) -> Result<Response> {
    let is_form = call.body_format()? == BodyFormat::Form;
    let (token, session) = match started {
        Ok(started) => started,
        // A form is answered with a page, which says what is wrong with what was typed.
        Err(error) if is_form && error.status == StatusCode::TOO_MANY_REQUESTS => {
            return pages::account::log_in_later(app, call, fields, form, error);
        }
        Err(error) if is_form && error.status.is_client_error() => {
            return pages::account::to_log_in(app, fields, form, &error);
        }
        Err(error) => return Err(error),
    };
    // The client forgets the token it had, so nobody would ever end that session.
    if let Some(token) = call.user.as_ref().and_then(CurrentUser::token) {
        app.store().log_out(token).await?;
    }
    let mut response = if is_form {
        see_other(&pages::account::after_log_in(app, fields))?
    } else {
        json(status, &wire::me(&session))?
    };
    cookies::set(app, &mut response, Some(&token));
    Ok(response)
}

async fn log_in_as(app: &App, call: &Call, fields: &Fields) -> Result<(SessionToken, Session)> {
    let username: Username = fields.required("username")?;
    let device = call.header(USER_AGENT).unwrap_or_default();
    // An empty field of a form is one that was left out.
    if let Some(password) = fields
        .text("password")?
        .filter(|password| !password.is_empty())
    {
        let _checking = app.limits().password(call.network(app))?;
        let attempt = app.limits().log_in(&username, call.network(app))?;
        let started = app.store().log_in(&username, password, device).await;
        match &started {
            Ok(_) => attempt.succeed(),
            Err(Error::WrongPassword) => attempt.fail(),
            Err(_) => attempt.give_back(),
        }
        return Ok(started?);
    }
    app.limits().guest(call.network(app))?;
    if app.settings().guests != Guests::Allow {
        if app.store().account_name(&username).await?.as_ref() == Some(&username) {
            return Err(Error::NameClaimed.into());
        }
        return Err(HttpError::forbidden("this server does not take guests"));
    }
    Ok(app.store().log_in_guest(&username, device).await?)
}

pub(crate) async fn log_out(app: App, call: Call) -> Result<Response> {
    if let Some(token) = call.user.as_ref().and_then(CurrentUser::token) {
        app.store().log_out(token).await?;
    }
    // The content of the body is ignored: only its type matters, which tells a form from a script.
    let mut response = match call.body_format() {
        Ok(BodyFormat::Form) => see_other(&pages::account::log_in_page(&app))?,
        _ => done()?,
    };
    cookies::set(&app, &mut response, None);
    Ok(response)
}

pub(crate) async fn me(_: App, call: Call) -> Result<Response> {
    json(StatusCode::OK, &wire::me(call.session()?))
}

pub(crate) async fn sessions(app: App, call: Call) -> Result<Response> {
    let current = call.session()?;
    let sessions = own_sessions::list(&app, current).await?;
    let listed = |session| wire::session(session, current.id);
    let sessions: Vec<_> = sessions.into_iter().map(listed).collect();
    json(StatusCode::OK, &sessions)
}

pub(crate) async fn end_session(app: App, call: Call) -> Result<Response> {
    if !own_sessions::end(&app, call.session()?, call.id()?).await? {
        return Err(HttpError::not_found("you have no session with this id"));
    }
    Ok(no_content())
}

pub(crate) async fn end_other_sessions(app: App, call: Call) -> Result<Response> {
    own_sessions::end_others(&app, call.session()?).await?;
    Ok(no_content())
}
