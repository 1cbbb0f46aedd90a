//! Signals between processes.

use mongodb::bson::{DateTime, Document, RawDocument, doc};

use super::fields::text;
use crate::error::Result;
use crate::model::Signal;

pub(in crate::backend::mongo) fn new_signal(signal: &Signal) -> Document {
    let mut document = doc! { "at": DateTime::now() };
    match signal {
        Signal::Typing(room, user) => document.insert(
            "typing",
            doc! { "room": room.as_str(), "user": user.as_str() },
        ),
        Signal::SessionsEnded(user) => {
            document.insert("sessions_ended", doc! { "user": user.as_str() })
        }
        Signal::Revoked(user) => document.insert("revoked", doc! { "user": user.as_str() }),
        Signal::PrivateRoomCreated(room) => {
            document.insert("room_closed", doc! { "room": room.as_str() })
        }
        Signal::Evicted(room, user) => document.insert(
            "evicted",
            doc! { "room": room.as_str(), "user": user.as_str() },
        ),
        Signal::TopicSet(room, topic) => document.insert(
            "topic_set",
            doc! { "room": room.as_str(), "topic": topic.as_str() },
        ),
        Signal::RoomsChanged(user) => {
            document.insert("rooms_changed", doc! { "user": user.as_str() })
        }
    };
    document
}

/// The kinds of signals that name a room.
pub(in crate::backend::mongo) const SIGNALS_OF_ROOMS: [&str; 4] =
    ["typing", "room_closed", "evicted", "topic_set"];

pub(in crate::backend::mongo) fn signal(document: &RawDocument) -> Result<Option<Signal>> {
    if let Ok(typing) = document.get_document("typing") {
        return Ok(Some(Signal::Typing(
            text(typing, "room")?,
            text(typing, "user")?,
        )));
    }
    if let Ok(ended) = document.get_document("sessions_ended") {
        return Ok(Some(Signal::SessionsEnded(text(ended, "user")?)));
    }
    if let Ok(revoked) = document.get_document("revoked") {
        return Ok(Some(Signal::Revoked(text(revoked, "user")?)));
    }
    if let Ok(closed) = document.get_document("room_closed") {
        return Ok(Some(Signal::PrivateRoomCreated(text(closed, "room")?)));
    }
    if let Ok(evicted) = document.get_document("evicted") {
        return Ok(Some(Signal::Evicted(
            text(evicted, "room")?,
            text(evicted, "user")?,
        )));
    }
    if let Ok(set) = document.get_document("topic_set") {
        return Ok(Some(Signal::TopicSet(
            text(set, "room")?,
            text(set, "topic")?,
        )));
    }
    if let Ok(changed) = document.get_document("rooms_changed") {
        return Ok(Some(Signal::RoomsChanged(text(changed, "user")?)));
    }
    // From a newer version.
    Ok(None)
}
