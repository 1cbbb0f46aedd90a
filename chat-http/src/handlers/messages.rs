//! Reading and posting.

use chatcore::{Message, NewMessage, Nonce, Posted, Range, Username};
use hyper::StatusCode;
use hyper::header::HeaderName;
use serde::Serialize;

use crate::App;
use crate::config::Guests;
use crate::error::{HttpError, Result};
use crate::request::{Call, Query};
use crate::response::{Response, cacheable_json, json};

/// Messages in an answer, if the client does not say.
const DEFAULT_LIMIT: u32 = 50;

pub(crate) async fn read(app: App, call: Call) -> Result<Response> {
    let (room, range) = (call.room()?, range(&call.query)?);
    let limit = call.query.limit(DEFAULT_LIMIT, chatcore::MAX_MESSAGES)?;
    let messages = app.store().messages(&room, range, limit).await?;
    cacheable_json(&call, &messages)
}

/// Which messages a query asks for.
pub(crate) fn range(query: &Query) -> Result<Range> {
    let since = query.parsed("since")?.map(Range::Since);
    let after = query.parsed("after")?.map(Range::After);
    let before = query.parsed("before")?.map(Range::Before);
    let mut given = [since, after, before].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Range::Newest),
        (Some(range), None) => Ok(range),
        _ => Err(HttpError::bad_request("at most one of since, after and before may be given")),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    status: &'static str,
    #[serde(flatten)]
    message: &'a Message,
}

pub(crate) async fn post(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.json()?;
    let (sender, verified) = sender(&app, &call, fields.get("sender")?)?;
    let text = fields.required("text")?;
    let nonce = nonce(&call, fields.get("nonce")?)?;
    let posted = store(&app, NewMessage { room, sender, text, nonce, verified }).await?;
    let status = if posted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    json(status, &Answer { status: "ok", message: &posted.message })
}

/// Stores a message within its sender's allowance.
pub(crate) async fn store(app: &App, message: NewMessage) -> Result<Posted> {
    app.throttle().check(&message.sender)?;
    let posted = app.store().post(message).await?;
    app.metrics().posted(posted.repeated);
    Ok(posted)
}

/// Who posts, and whether that is proved.
fn sender(app: &App, call: &Call, named: Option<Username>) -> Result<(Username, bool)> {
    let session = call.who.as_ref().map(|who| &who.session);
    if app.settings().guests == Guests::Deny && !call.session()?.verified {
        return Err(HttpError::forbidden("this server does not take guests"));
    }
    match (session, named) {
        (Some(session), Some(named)) if named != session.username => {
            Err(HttpError::forbidden(format!("sender must be {}, who is logged in", session.username)))
        }
        (Some(session), _) => Ok((session.username.clone(), session.verified)),
        (None, Some(named)) => Ok((named, false)),
        (None, None) if call.ended => Err(HttpError::unauthorized("the session has ended; log in")),
        (None, None) => Err(HttpError::bad_request("sender is missing; name one, or log in")),
    }
}

fn nonce(call: &Call, field: Option<Nonce>) -> Result<Option<Nonce>> {
    let Some(value) = call.headers.get(HeaderName::from_static("idempotency-key")) else {
        return Ok(field);
    };
    let text = value.to_str().map_err(|_| HttpError::bad_request("Idempotency-Key must be visible ASCII"))?;
    let header: Nonce = text.parse().map_err(|e| chatcore::Invalid { field: "Idempotency-Key", ..e })?;
    if field.is_some_and(|field| field != header) {
        return Err(HttpError::bad_request("nonce and Idempotency-Key differ; give one of them"));
    }
    Ok(Some(header))
}
