//! What is said on a socket: one JSON object a frame.

use chatcore::{MessageText, Nonce, RoomName, Seq, Username};
use serde::Serialize;

use crate::error::{HttpError, Result};
use crate::request::Fields;

/// What a client says.
#[derive(Debug)]
pub(super) enum Said {
    Subscribe { room: RoomName, after: Option<Seq> },
    Unsubscribe { room: RoomName },
    Post { room: RoomName, sender: Option<Username>, text: MessageText, nonce: Option<Nonce> },
    Typing { room: RoomName },
    Read { room: RoomName, seq: Seq },
}

/// What the server says, but for messages, which are encoded once for all.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Say<'a> {
    Subscribed {
        room: &'a RoomName,
        last_seq: Seq,
    },
    Posted {
        room: &'a RoomName,
        seq: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        nonce: Option<&'a str>,
    },
    Typing {
        room: &'a RoomName,
        username: &'a Username,
    },
    Read {
        room: &'a RoomName,
        seq: Seq,
    },
    Deleted {
        room: &'a RoomName,
        /// Left out if it is not known which message was deleted.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
    },
    Error {
        /// The room, if it is followed no more.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a RoomName>,
        status: u16,
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        nonce: Option<&'a str>,
    },
}

impl<'a> Say<'a> {
    pub(super) fn error(room: Option<&'a RoomName>, error: &'a HttpError, nonce: Option<&'a str>) -> Self {
        Self::Error { room, status: error.status.as_u16(), detail: &error.detail, nonce }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Made of strings and numbers, which JSON always takes.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What could not be understood, and the nonce it came with.
#[derive(Debug)]
pub(super) struct Misunderstood {
    pub(super) error: HttpError,
    pub(super) nonce: Option<String>,
}

pub(super) fn parse(text: &str) -> std::result::Result<Said, Box<Misunderstood>> {
    let fields = Fields::parse(text, "the frame").map_err(|error| Misunderstood { error, nonce: None })?;
    read(&fields).map_err(|error| {
        // Whatever it is, it is given back as it came, if it is short enough to be one.
        let nonce = fields.get::<Nonce>("nonce").ok().flatten().map(|nonce| nonce.to_string());
        Misunderstood { error, nonce }.into()
    })
}

fn read(fields: &Fields) -> Result<Said> {
    let room = || fields.required("room");
    match fields.text("type")? {
        Some("subscribe") => Ok(Said::Subscribe { room: room()?, after: fields.seq("after")? }),
        Some("unsubscribe") => Ok(Said::Unsubscribe { room: room()? }),
        Some("post") => Ok(Said::Post {
            room: room()?,
            sender: fields.get("sender")?,
            text: fields.required("text")?,
            nonce: fields.get("nonce")?,
        }),
        Some("typing") => Ok(Said::Typing { room: room()? }),
        Some("read") => {
            let seq = fields.seq("seq")?.ok_or_else(|| HttpError::bad_request("seq is missing"))?;
            Ok(Said::Read { room: room()?, seq })
        }
        Some(_) => {
            Err(HttpError::bad_request("type must be one of subscribe, unsubscribe, post, typing and read"))
        }
        None => Err(HttpError::bad_request("type is missing")),
    }
}
