//! Making an account, and changing its password.

use chatcore::{Error, Password, Username};
use hyper::StatusCode;
use hyper::header::USER_AGENT;

use super::sessions::answer_start;
use crate::app::App;
use crate::error::{HttpError, Result};
use crate::pages::account::{Form, account_page, draw_account, to_account};
use crate::request::{BodyFormat, Call, Fields};
use crate::response::{Response, done, see_other};

pub(crate) async fn register(app: App, call: Call) -> Result<Response> {
    let fields = call.fields()?;
    let started = async {
        let username: Username = fields.required("username")?;
        let password: Password = fields.required("password")?;
        let _hashing = app.limits().password(call.network(&app))?;
        app.limits().registration(call.network(&app))?;
        let device = call.header(USER_AGENT).unwrap_or_default();
        Ok(app.store().register(&username, &password, device).await?)
    };
    let started = started.await;
    answer_start(
        &app,
        &call,
        &fields,
        Form::Register,
        started,
        StatusCode::CREATED,
    )
    .await
}

pub(crate) async fn change_password(app: App, call: Call) -> Result<Response> {
    let fields = call.fields()?;
    let is_form = call.body_format()? == BodyFormat::Form;
    match change(&app, &call, &fields).await {
        Ok(()) if is_form => see_other(&format!("{}?changed=", account_page(&app))),
        Ok(()) => done(),
        Err(error) if is_form && error.status == StatusCode::TOO_MANY_REQUESTS => {
            draw_account(&app, &call, Some(error)).await
        }
        Err(error) if is_form && error.status.is_client_error() => to_account(&app, &error),
        Err(error) => Err(error),
    }
}

async fn change(app: &App, call: &Call, fields: &Fields) -> Result<()> {
    let session = call.session()?;
    if !session.verified {
        return Err(HttpError::forbidden(
            "a guest has no password; register the name first",
        ));
    }
    let old = fields
        .text("password")?
        .ok_or_else(|| HttpError::bad_request("password is missing"))?;
    let new: Password = fields.required("new_password")?;
    // A guess, like a log-in.
    let _checking = app.limits().password(call.network(app))?;
    let attempt = app.limits().log_in(&session.username, call.network(app))?;
    match app.store().change_password(session, old, &new).await {
        // Not a 401: the session is as good as before.
        Err(Error::WrongPassword) => {
            attempt.fail();
            Err(HttpError::forbidden(
                "password is not the account's password",
            ))
        }
        changed => {
            attempt.give_back();
            Ok(changed?)
        }
    }
}
