//! Users and their counters.

use chat_client::wire::MessageCount;
use chatcore::{MAX_MESSAGES, MAX_NAMES};
use hyper::StatusCode;

use super::messages::DEFAULT_LIMIT;
use crate::app::App;
use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, cacheable_json, json};
use crate::wire;

pub(crate) async fn rooms(app: App, call: Call) -> Result<Response> {
    let username = call.username()?;
    if call.user()?.username != username {
        return Err(HttpError::forbidden(
            "only a user's own rooms may be listed",
        ));
    }
    let (after, limit) = (
        call.query.parsed("after")?,
        call.query.limit(MAX_NAMES, MAX_NAMES)?,
    );
    let rooms = app.store().rooms_of(&username, after.as_ref(), limit);
    let rooms: Vec<_> = rooms.await?.iter().map(wire::user_room).collect();
    json(StatusCode::OK, &rooms)
}

pub(crate) async fn mentions(app: App, call: Call) -> Result<Response> {
    let username = call.username()?;
    if call.user()?.username != username {
        return Err(HttpError::forbidden(
            "only a user's own mentions may be listed",
        ));
    }

    let (before, limit) = (
        call.query.parsed("before")?,
        call.query.limit(DEFAULT_LIMIT, MAX_MESSAGES)?,
    );
    json(
        StatusCode::OK,
        &call.user_store(&app).mentions(before, limit).await?,
    )
}

pub(crate) async fn count(app: App, call: Call) -> Result<Response> {
    let username = call.username()?;
    let message_count = app.store().message_count(&username).await?;
    let count = MessageCount {
        username: username.to_string(),
        message_count,
    };
    cacheable_json(&call.head.headers, &count)
}
