//! Changes of messages: edits, deletions, reactions, and the log of all of them.

use std::time::Duration;

use chatcore::{ChangeSeq, Emoji, Message, MessageText, Reaction, RoomName, Seq};
use hyper::StatusCode;
use serde::Serialize;

use super::messages::{DEFAULT_LIMIT, answer};
use crate::app::App;
use crate::credentials::RoomReader;
use crate::direct;
use crate::error::Result;
use crate::request::Call;
use crate::response::{Response, json, no_content};
use crate::session_monitor::{SessionMonitor, ended};

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
    // That there is nothing for the reader looks like a room where there is nothing.
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
    reactions(
        &*call
            .user_store(&app)
            .add_reaction(&room, seq, emoji)
            .await?,
    )
}

pub(crate) async fn remove_reaction(app: App, call: Call) -> Result<Response> {
    let (room, seq, emoji) = begin_reaction(&app, &call)?;
    reactions(
        &*call
            .user_store(&app)
            .remove_reaction(&room, seq, emoji)
            .await?,
    )
}

/// Charges a request that reacts to a message, and returns what it names.
fn begin_reaction(app: &App, call: &Call) -> Result<(RoomName, Seq, Emoji)> {
    call.user()?;
    let named = (call.room()?, call.seq()?, call.emoji()?);
    app.limits().post(&call.charged(app))?;
    Ok(named)
}

fn reactions(message: &Message) -> Result<Response> {
    #[derive(Serialize)]
    struct Reactions<'a> {
        reactions: &'a [Reaction],
    }

    let reactions = message
        .content
        .as_ref()
        .map_or(&[][..], |content| &content.reactions);
    json(StatusCode::OK, &Reactions { reactions })
}
