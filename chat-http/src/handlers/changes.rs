//! Changes of messages: edits, deletions, reactions, and the log of all of them.

use std::time::Duration;

use chatcore::{ChangeSeq, Emoji, MessageText, RoomName, Seq};
use hyper::StatusCode;

use super::messages::{DEFAULT_LIMIT, answer};
use crate::app::App;
use crate::credentials::RoomReader;
use crate::direct;
use crate::error::Result;
use crate::request::Call;
use crate::response::{Response, json, no_content};
use crate::session_monitor::{SessionMonitor, ended};
use crate::wire;

/// Messages that changed after a change, as they are now.
pub(crate) async fn read(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let after = call.query.parsed("after")?.unwrap_or(ChangeSeq::ZERO);
    let limit = call.query.limit(DEFAULT_LIMIT, chatcore::MAX_MESSAGES)?;
    let wait = super::messages::wait(&call.query)?.unwrap_or_default();

    let reader = RoomReader::of(&app, &call.head, &room).await?;
    let mut monitor = reader
        .user
        .as_ref()
        .map(|user| SessionMonitor::new(&app, user));
    let stopping = app.stopping();
    let found = match wait {
        Duration::ZERO => reader.store.changes(&room, after, limit).await?,
        _ => tokio::select! {
            found = reader.store.wait_for_changes(&room, after, limit, wait) => found?,
            () = ended(&mut monitor) => Vec::new(),
            () = stopping.cancelled() => Vec::new(),
        },
    };

    let answer = answer(&call, &found);
    // A room that the reader may not know of looks like an empty one.
    Ok(if found.is_empty() {
        answer
    } else {
        reader.restrict_caching(answer)
    })
}

pub(crate) async fn edit(app: App, call: Call) -> Result<Response> {
    call.user()?;
    let (room, seq) = (call.room()?, call.seq()?);
    let text: MessageText = call.json()?.required("text")?;
    app.limits().post(&call.charged(&app))?;

    json(
        StatusCode::OK,
        &call.user_store(&app).edit_message(&room, seq, text).await?,
    )
}

pub(crate) async fn delete(app: App, call: Call) -> Result<Response> {
    let user = call.user()?;
    let (room, seq) = (call.room()?, call.seq()?);
    app.limits().post(&call.charged(&app))?;

    let store = call.user_store(&app);
    direct::check_deletion(&store, &room, seq, &user.username).await?;
    store.delete_message(&room, seq).await?;
    Ok(no_content())
}

pub(crate) async fn add_reaction(app: App, call: Call) -> Result<Response> {
    let (room, seq, emoji) = begin_reaction(&app, &call)?;
    let store = call.user_store(&app);
    let message = store.add_reaction(&room, seq, emoji).await?;
    json(StatusCode::OK, &wire::reactions(&message))
}

pub(crate) async fn remove_reaction(app: App, call: Call) -> Result<Response> {
    let (room, seq, emoji) = begin_reaction(&app, &call)?;
    let store = call.user_store(&app);
    let message = store.remove_reaction(&room, seq, emoji).await?;
    json(StatusCode::OK, &wire::reactions(&message))
}

/// Charges a request that reacts to a message, and returns what it names.
fn begin_reaction(app: &App, call: &Call) -> Result<(RoomName, Seq, Emoji)> {
    call.user()?;
    let named = (call.room()?, call.seq()?, call.emoji()?);
    app.limits().post(&call.charged(app))?;
    Ok(named)
}
