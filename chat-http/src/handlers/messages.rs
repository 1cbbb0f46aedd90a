//! Reading and posting.

use std::time::Duration;

use chatcore::{
    Actor, Error, Message, NewMessage, Nonce, Posted, Range, RoomName, Session, SharedMessage,
    Username,
};
use hyper::StatusCode;
use hyper::header::HeaderName;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::address::Network;
use crate::auth::sight;
use crate::error::{HttpError, Result};
use crate::limits::Charged;
use crate::live::session_monitor::{SessionMonitor, ended};
use crate::request::{Call, Query};
use crate::response::{JSON, Response, cacheable_as, json};

/// Messages in an answer, if the client does not say.
pub(super) const DEFAULT_LIMIT: u32 = 50;
/// Seconds that a reader may wait for messages.
const LONGEST_WAIT: u64 = 30;

pub(crate) async fn read(app: App, call: Call) -> Result<Response> {
    let (room, range) = (call.room()?, range(&call.query)?);
    let limit = call.query.limit(DEFAULT_LIMIT, chatcore::MAX_MESSAGES)?;
    let patience = patience(&call.query)?;
    if patience.is_some() && !matches!(range, Range::Since(_) | Range::After(_)) {
        return Err(HttpError::bad_request("wait goes with since or after"));
    }
    let patience = patience.filter(|patience| !patience.is_zero());
    let at_hand = app
        .store()
        .as_user(Actor::Anonymous)
        .messages_at_hand(&room, range, limit);
    if let Some(messages) = at_hand.filter(|found| patience.is_none() || !found.is_empty()) {
        return Ok(answer(&call, &messages));
    }
    // In memory of its own, which those who are answered at once need not pass around.
    Box::pin(look_and_wait(
        &app,
        &call,
        &room,
        range,
        limit,
        patience.unwrap_or_default(),
    ))
    .await
}

async fn look_and_wait(
    app: &App,
    call: &Call,
    room: &RoomName,
    range: Range,
    limit: u32,
    patience: Duration,
) -> Result<Response> {
    let sight = sight(app, &call.headers, room).await?;
    let mut proof = sight.who.as_ref().map(|who| SessionMonitor::new(app, who));
    let mut stopping = call.connection.stopping.clone();
    let found = match patience {
        Duration::ZERO => sight.view.messages(room, range, limit).await?,
        _ => tokio::select! {
            found = sight.view.wait_for_messages(room, range, limit, patience) => found?,
            () = ended(&mut proof) => Vec::new(),
            _ = stopping.changed() => Vec::new(),
        },
    };
    let answer = answer(call, &found);
    // That there is nothing for the reader looks like a room where there is nothing.
    Ok(if found.is_empty() {
        answer
    } else {
        sight.keep(answer)
    })
}

/// Returns one message as it is now.
pub(crate) async fn get(app: App, call: Call) -> Result<Response> {
    let (room, seq) = (call.room()?, call.seq()?);
    let sight = sight(&app, &call.headers, &room).await?;
    let message = sight.view.message(&room, seq).await?;

    let hash = hash(std::slice::from_ref(&message));
    Ok(sight.keep(cacheable_as(&call, JSON, hash, || message.json().clone())))
}

pub(super) fn answer(call: &Call, messages: &[SharedMessage]) -> Response {
    cacheable_as(call, JSON, hash(messages), || array(messages))
}

/// A hash of an answer, made of what is known of each message, so that a long answer costs little.
/// All digests are of one length, so no two answers are one sequence of bytes.
fn hash(messages: &[SharedMessage]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for message in messages {
        hash.update(message.digest());
    }
    hash.finalize().into()
}

/// Time that a reader waits if there is nothing yet.
pub(super) fn patience(query: &Query) -> Result<Option<Duration>> {
    let Some(text) = query.get("wait")? else {
        return Ok(None);
    };
    let seconds = text.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT);
    let seconds = seconds.ok_or_else(|| {
        HttpError::bad_request(format!(
            "wait must be a whole number of seconds from 0 to {LONGEST_WAIT}"
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

/// Which messages a query asks for.
pub(crate) fn range(query: &Query) -> Result<Range> {
    let since = query.parsed("since")?.map(Range::Since);
    let after = query.parsed("after")?.map(Range::After);
    let before = query.parsed("before")?.map(Range::Before);
    let mut given = [since, after, before].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Range::Newest),
        (Some(range), None) => Ok(range),
        _ => Err(HttpError::bad_request(
            "at most one of since, after and before may be given",
        )),
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
    let session = call.who.as_ref().map(|who| &who.session);
    let (sender, verified) = sender(session, call.ended, fields.get("sender")?)?;
    let text = fields.required("text")?;
    let nonce = nonce(&call, fields.get("nonce")?)?;
    let reply_to = fields.seq("reply_to")?;
    let message = NewMessage {
        nonce,
        verified,
        reply_to,
        ..NewMessage::new(room, sender, text)
    };
    let posted = store(&app, message, &call.charged(&app), call.network(&app)).await?;
    let status = if posted.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    json(
        status,
        &Answer {
            status: "ok",
            message: &posted.message,
        },
    )
}

/// Stores a message within the allowances of the caller, and of the address that it comes from: a
/// post may create its room only if the address may create one.
pub(crate) async fn store(
    app: &App,
    message: NewMessage,
    caller: &Charged,
    from: Network,
) -> Result<Posted> {
    app.limits().post(caller)?;
    // Taken before it is known whether the room exists, so that no post asks the store for that.
    let may_create_room = app.limits().room(from);
    let message = NewMessage {
        may_create_room: may_create_room.is_ok(),
        ..message
    };
    let posted = app.store().post(message).await;

    match (&posted, may_create_room) {
        // A private room is refused in the same way, so that nobody learns the names of many.
        (Err(Error::RoomNotFound), Err(too_many)) => return Err(too_many),
        (Err(Error::RoomNotFound | Error::NameClaimed | Error::NameReserved), Ok(())) => {}
        (
            Ok(Posted {
                created_room: true, ..
            }),
            Ok(()),
        ) => {}
        (_, Ok(())) => app.limits().no_room(from),
        (_, Err(_)) => {}
    }
    let posted = posted?;
    app.metrics().posted(posted.repeated);
    Ok(posted)
}

/// Who posts, and whether that is proved.
pub(crate) fn sender(
    session: Option<&Session>,
    ended: bool,
    named: Option<Username>,
) -> Result<(Username, bool)> {
    match (session, named) {
        (Some(session), Some(named)) if named != session.username => Err(HttpError::forbidden(
            format!("sender must be {}, who is logged in", session.username),
        )),
        (Some(session), _) => Ok((session.username.clone(), session.verified)),
        (None, Some(named)) => Ok((named, false)),
        (None, None) if ended => Err(HttpError::no_session(ended)),
        (None, None) => Err(HttpError::bad_request(
            "sender is missing; name one, or log in",
        )),
    }
}

fn nonce(call: &Call, field: Option<Nonce>) -> Result<Option<Nonce>> {
    let Some(value) = call.headers.get(HeaderName::from_static("idempotency-key")) else {
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
