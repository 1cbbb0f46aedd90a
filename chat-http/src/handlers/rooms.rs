//! Rooms and their members.

use chatcore::{MAX_NAMES, Seq};
use hyper::StatusCode;
use serde::Serialize;

use crate::App;
use crate::auth::check_guest;
use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, cacheable_json, done, json, redirect};

pub(crate) async fn to_list(app: App, call: Call) -> Result<Response> {
    let query = call.query.raw().map(|query| format!("?{query}")).unwrap_or_default();
    redirect(StatusCode::PERMANENT_REDIRECT, &format!("{}/chat/{query}", app.prefix()))
}

pub(crate) async fn list(app: App, call: Call) -> Result<Response> {
    let (after, limit) = (call.query.parsed("after")?, call.query.limit(MAX_NAMES, MAX_NAMES)?);
    let rooms = app.store().rooms(after.as_ref(), limit).await?;
    cacheable_json(&call, &rooms)
}

pub(crate) async fn get(app: App, call: Call) -> Result<Response> {
    let room = app.store().room(&call.room()?).await?;
    cacheable_json(&call, &room)
}

pub(crate) async fn create(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    check_guest(&app, call.who.as_ref().map(|who| &who.session), call.ended)?;
    app.limits().room(call.network(&app))?;
    let created = app.store().create_room(&room).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &app.store().room(&room).await?)
}

pub(crate) async fn users(app: App, call: Call) -> Result<Response> {
    let (after, limit) = (call.query.parsed("after")?, call.query.limit(MAX_NAMES, MAX_NAMES)?);
    let users = app.store().users(&call.room()?, after.as_ref(), limit).await?;
    cacheable_json(&call, &users)
}

/// How far the user has read.
#[derive(Serialize)]
struct Read {
    read_seq: Seq,
}

pub(crate) async fn read(app: App, call: Call) -> Result<Response> {
    let (room, user) = (call.room()?, &call.session()?.username);
    app.limits().post(user)?;
    let seq = call.json()?.seq("seq")?.ok_or_else(|| HttpError::bad_request("seq is missing"))?;
    json(StatusCode::OK, &Read { read_seq: app.store().mark_read(user, &room, seq).await? })
}

pub(crate) async fn join(app: App, call: Call) -> Result<Response> {
    check_guest(&app, call.who.as_ref().map(|who| &who.session), call.ended)?;
    let (room, user) = (call.room()?, &call.session()?.username);
    app.limits().post(user)?;
    app.store().join(&room, user).await?;
    done()
}

pub(crate) async fn leave(app: App, call: Call) -> Result<Response> {
    check_guest(&app, call.who.as_ref().map(|who| &who.session), call.ended)?;
    let (room, user) = (call.room()?, &call.session()?.username);
    app.limits().post(user)?;
    app.store().leave(&room, user).await?;
    done()
}
