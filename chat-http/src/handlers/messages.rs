//! Reading and posting.

use std::time::Duration;

use chat_client::wire::{Posted, StatusOk};
use chatcore::{Actor, Nonce, Range, RoomName, SharedMessage};
use hyper::StatusCode;
use hyper::header::HeaderName;

use crate::app::App;
use crate::credentials::RoomReader;
use crate::error::{HttpError, Result};
use crate::posting::{self, Post};
use crate::request::{Call, Query};
use crate::response::{JSON, Response, cacheable_as, json};
use crate::revision::hash;
use crate::session_monitor::{SessionMonitor, ended};

/// Messages in an answer, if the client does not say.
pub(super) const DEFAULT_LIMIT: u32 = 50;
/// Longest time that a reader may wait for messages, in seconds.
const MAX_WAIT: u64 = 30;

pub(crate) async fn read(app: App, call: Call) -> Result<Response> {
    let (room, range) = (call.room()?, call.query.range()?);
    let limit = call.query.limit(DEFAULT_LIMIT, chatcore::MAX_MESSAGES)?;
    let wait = self::wait(&call.query)?;
    if wait.is_some() && !matches!(range, Range::Since(_) | Range::After(_)) {
        return Err(HttpError::bad_request("wait goes with since or after"));
    }
    let wait = wait.filter(|wait| !wait.is_zero());
    let at_hand = app
        .store()
        .as_user(Actor::Anonymous)
        .messages_in_memory(&room, range, limit);
    if let Some(messages) = at_hand.filter(|found| wait.is_none() || !found.is_empty()) {
        return Ok(answer(&call, &messages));
    }
    // Boxed, so that requests that are answered at once do not carry the size of its future.
    Box::pin(look_and_wait(
        &app,
        &call,
        &room,
        range,
        limit,
        wait.unwrap_or_default(),
    ))
    .await
}

async fn look_and_wait(
    app: &App,
    call: &Call,
    room: &RoomName,
    range: Range,
    limit: u32,
    wait: Duration,
) -> Result<Response> {
    let reader = RoomReader::of(app, &call.head, room).await?;
    let mut monitor = reader
        .user
        .as_ref()
        .map(|user| SessionMonitor::new(app, user));
    let stopping = app.stopping();
    let found = match wait {
        Duration::ZERO => reader.store.messages(room, range, limit).await?,
        _ => tokio::select! {
            found = reader.store.wait_for_messages(room, range, limit, wait) => found?,
            () = ended(&mut monitor) => Vec::new(),
            () = stopping.cancelled() => Vec::new(),
        },
    };
    let answer = answer(call, &found);
    // A room that the reader may not know of looks like an empty one.
    Ok(if found.is_empty() {
        answer
    } else {
        reader.restrict_caching(answer)
    })
}

/// Returns one message as it is now.
pub(crate) async fn get(app: App, call: Call) -> Result<Response> {
    let (room, seq) = (call.room()?, call.seq()?);
    let reader = RoomReader::of(&app, &call.head, &room).await?;
    let message = reader.store.message(&room, seq).await?;

    let hash = hash([&*message]);
    Ok(
        reader.restrict_caching(cacheable_as(&call.head.headers, JSON, hash, || {
            message.json().clone()
        })),
    )
}

pub(super) fn answer(call: &Call, messages: &[SharedMessage]) -> Response {
    cacheable_as(
        &call.head.headers,
        JSON,
        hash(messages.iter().map(|message| &**message)),
        || array(messages),
    )
}

/// Reads `wait`: how long to wait for messages if there are none yet.
pub(super) fn wait(query: &Query) -> Result<Option<Duration>> {
    let Some(text) = query.get("wait")? else {
        return Ok(None);
    };
    let seconds = text.parse().ok().filter(|seconds| *seconds <= MAX_WAIT);
    let seconds = seconds.ok_or_else(|| {
        HttpError::bad_request(format!(
            "wait must be a whole number of seconds from 0 to {MAX_WAIT}"
        ))
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// The messages as a JSON array, each as it was encoded for its first reader.
fn array(messages: &[SharedMessage]) -> Vec<u8> {
    let length: usize = messages
        .iter()
        .map(|message| message.json().len() + 1)
        .sum();
    let mut array = Vec::with_capacity(length + 2);
    array.push(b'[');
    for message in messages {
        if array.len() > 1 {
            array.push(b',');
        }
        array.extend_from_slice(message.json());
    }
    array.push(b']');
    array
}

pub(crate) async fn post(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.json()?;
    let post = Post {
        room,
        sender: fields.get("sender")?,
        text: fields.required("text")?,
        nonce: nonce(&call, fields.get("nonce")?)?,
        reply_to: fields.seq("reply_to")?,
    };
    let message = post.into_message(call.user.as_ref(), call.ended)?;
    let posted = posting::store(&app, message, &call.charged(&app), call.network(&app)).await?;

    let status = if posted.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let answer = Posted {
        status: StatusOk::Ok,
        message: &posted.message,
    };
    json(status, &answer)
}

fn nonce(call: &Call, field: Option<Nonce>) -> Result<Option<Nonce>> {
    let Some(value) = call
        .head
        .headers
        .get(HeaderName::from_static("idempotency-key"))
    else {
        return Ok(field);
    };
    let text = value
        .to_str()
        .map_err(|_| HttpError::bad_request("Idempotency-Key must be visible ASCII"))?;
    let header: Nonce = text.parse().map_err(|e| chatcore::Invalid {
        field: "Idempotency-Key",
        ..e
    })?;
    if field.is_some_and(|field| field != header) {
        return Err(HttpError::bad_request(
            "nonce and Idempotency-Key differ; give one of them",
        ));
    }
    Ok(Some(header))
}
