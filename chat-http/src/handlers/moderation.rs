//! Members and bans of a room.

use chatcore::{MAX_NAMES, RoomName, UserStore};
use hyper::StatusCode;

use crate::app::App;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, done, json, no_content};

/// The room of a request that says who may be in it, as the user sees it.
fn begin(app: &App, call: &Call) -> Result<(UserStore, RoomName)> {
    call.user()?;
    app.limits().moderation(&call.charged(app))?;
    Ok((call.user_store(app), call.room()?))
}

pub(crate) async fn invite(app: App, call: Call) -> Result<Response> {
    let (view, room) = begin(&app, &call)?;
    direct::check_moderation(&room)?;
    view.invite(&room, &call.username()?).await?;
    done()
}

pub(crate) async fn remove(app: App, call: Call) -> Result<Response> {
    let (view, room) = begin(&app, &call)?;
    direct::check_moderation(&room)?;
    view.remove(&room, &call.username()?).await?;
    Ok(no_content())
}

pub(crate) async fn bans(app: App, call: Call) -> Result<Response> {
    let (after, limit) = (
        call.query.parsed("after")?,
        call.query.limit(MAX_NAMES, MAX_NAMES)?,
    );
    call.user()?;
    json(
        StatusCode::OK,
        &call
            .user_store(&app)
            .bans(&call.room()?, after.as_ref(), limit)
            .await?,
    )
}

pub(crate) async fn ban(app: App, call: Call) -> Result<Response> {
    let (view, room) = begin(&app, &call)?;
    direct::check_moderation(&room)?;
    view.ban(&room, &call.username()?).await?;
    done()
}

pub(crate) async fn unban(app: App, call: Call) -> Result<Response> {
    let (view, room) = begin(&app, &call)?;
    match view.unban(&room, &call.username()?).await? {
        true => Ok(no_content()),
        false => Err(HttpError::not_found("this name is not banned")),
    }
}
