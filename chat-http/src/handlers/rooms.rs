//! Rooms and their members.

use chat_client::wire::StoredReadMark;
use chatcore::{MAX_NAMES, Privacy};
use hyper::StatusCode;

use crate::app::App;
use crate::creating;
use crate::credentials::RoomReader;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, cacheable_json, done, json, redirect};
use crate::wire;

pub(crate) async fn to_list(app: App, call: Call) -> Result<Response> {
    let query = call
        .query
        .raw()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    redirect(
        StatusCode::PERMANENT_REDIRECT,
        &format!("{}/chat/{query}", app.prefix()),
    )
}

pub(crate) async fn list(app: App, call: Call) -> Result<Response> {
    let (after, limit) = (
        call.query.parsed("after")?,
        call.query.limit(MAX_NAMES, MAX_NAMES)?,
    );
    let rooms = call.user_store(&app).rooms(after.as_ref(), limit).await?;
    // With a session, the list has rooms that others do not see.
    if call.user.is_some() {
        json(StatusCode::OK, &rooms)
    } else {
        cacheable_json(&call.head.headers, &rooms)
    }
}

pub(crate) async fn get(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let reader = RoomReader::of(&app, &call.head, &room).await?;
    let room = wire::room(&reader.store.room(&room).await?);
    Ok(reader.restrict_caching(cacheable_json(&call.head.headers, &room)?))
}

pub(crate) async fn create(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let privacy = privacy(&call)?;
    if privacy == Privacy::Private {
        call.user()?;
    }
    let created = creating::create(&app, &call, &room, privacy).await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let room = call.user_store(&app).room(&room).await?;
    json(status, &wire::room(&room))
}

pub(crate) async fn set_topic(app: App, call: Call) -> Result<Response> {
    call.user()?;
    let (room, topic) = (call.room()?, call.json()?.required("topic")?);
    app.limits().post(&call.charged(&app))?;

    let room = call.user_store(&app).set_topic(&room, topic).await?;
    json(StatusCode::OK, &wire::room(&room))
}

/// Reads the privacy of the room that is asked for. A request without a body asks for a public one.
fn privacy(call: &Call) -> Result<Privacy> {
    let private = if call.body.is_empty() {
        None
    } else {
        call.json()?.flag("private")?
    };
    Ok(if private == Some(true) {
        Privacy::Private
    } else {
        Privacy::Public
    })
}

pub(crate) async fn users(app: App, call: Call) -> Result<Response> {
    let (after, limit) = (
        call.query.parsed("after")?,
        call.query.limit(MAX_NAMES, MAX_NAMES)?,
    );
    let room = call.room()?;
    let reader = RoomReader::of(&app, &call.head, &room).await?;
    let users = reader.store.members(&room, after.as_ref(), limit).await?;
    Ok(reader.restrict_caching(cacheable_json(&call.head.headers, &users)?))
}

pub(crate) async fn read(app: App, call: Call) -> Result<Response> {
    call.user()?;
    let room = call.room()?;
    app.limits().mark_read(&call.charged(&app))?;
    let seq = call
        .json()?
        .seq("seq")?
        .ok_or_else(|| HttpError::bad_request("seq is missing"))?;
    let read = call.user_store(&app).mark_read(&room, seq).await?;
    let read_seq = read.get();
    json(StatusCode::OK, &StoredReadMark { read_seq })
}

pub(crate) async fn join(app: App, call: Call) -> Result<Response> {
    call.user()?;
    let room = call.room()?;
    app.limits().post(&call.charged(&app))?;
    // A direct conversation has two members, and nobody else may join it.
    if direct::is_reserved(&room) {
        call.user_store(&app).room(&room).await?;
    }
    // A public room exists for good, so joining it creates none.
    if app.store().privacy(&room).await? != Some(Privacy::Public) {
        app.limits().room(call.network(&app))?;
    }
    call.user_store(&app).join(&room).await?;
    done()
}

pub(crate) async fn leave(app: App, call: Call) -> Result<Response> {
    call.user()?;
    let room = call.room()?;
    app.limits().post(&call.charged(&app))?;
    call.user_store(&app).leave(&room).await?;
    done()
}
