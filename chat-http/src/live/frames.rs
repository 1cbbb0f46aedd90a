//! Frames of a socket: those of the client, read strictly, and those of the server, as JSON.
//!
//! [`chat_client::wire`] defines both. A client's frame is checked field by field here, so that an
//! error names the field and the reason.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use chat_client::wire::ServerFrame;
use chatcore::{ChangeSeq, Nonce, Presence, RoomName, Seq, SharedMessage};

use crate::error::{HttpError, Result};
use crate::posting::Post;
use crate::request::Fields;

/// Slots of a message's encodings: frames of a new message, and of one that changed.
const MESSAGE_SLOT: usize = 0;
const CHANGED_SLOT: usize = 1;

/// Command of a client: a [`ClientFrame`](chat_client::wire::ClientFrame) with valid fields.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe(Subscribe),
    Unsubscribe { room: RoomName },
    Post(Box<Post>),
    Typing { room: RoomName },
    Read { room: RoomName, seq: Seq },
    Ping,
}

/// A room that a client wants to follow, and the position after which to begin.
#[derive(Debug)]
pub(super) struct Subscribe {
    pub(super) room: RoomName,
    pub(super) after: Option<Seq>,
    pub(super) changes_after: Option<ChangeSeq>,
    pub(super) drawn: Drawn,
}

/// Forms in which messages come besides their fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    /// True if they come with their rows, as pages draw them.
    pub(super) html: bool,
    /// True if they come with the beginning of their text, without formatting.
    pub(super) line: bool,
}

/// Names the request that an error answers, or the room that it is about.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) room: Option<RoomName>,
    pub(super) nonce: Option<Nonce>,
}

impl Subject {
    pub(super) fn room(room: &RoomName) -> Self {
        Self {
            room: Some(room.clone()),
            nonce: None,
        }
    }
}

/// A frame of the client: its command, or the error that it is answered with.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) subject: Subject,
    pub(super) command: Result<Command>,
}

impl Request {
    /// Reads a frame. Of one that is wrong, the room and the nonce are kept if they are right.
    pub(super) fn parse(text: &str) -> Self {
        let fields = match Fields::parse(text, "the frame") {
            Ok(fields) => fields,
            Err(error) => return Self::wrong(error),
        };

        let subject = Subject {
            room: fields.get("room").unwrap_or_default(),
            nonce: fields.get("nonce").unwrap_or_default(),
        };
        Self {
            subject,
            command: read(&fields),
        }
    }

    pub(super) fn wrong(error: HttpError) -> Self {
        Self {
            subject: Subject::default(),
            command: Err(error),
        }
    }
}

/// Fails if a change is given without a message to begin after: a change would come
/// before its message.
pub(super) fn check_position(after: Option<Seq>, changes_after: Option<ChangeSeq>) -> Result<()> {
    match (after, changes_after) {
        (None, Some(_)) => Err(HttpError::bad_request("changes_after goes with after")),
        _ => Ok(()),
    }
}

fn read(fields: &Fields) -> Result<Command> {
    let room = || fields.required("room");
    match fields.text("type")? {
        Some("subscribe") => {
            let (after, changes_after) = (fields.seq("after")?, fields.change("changes_after")?);
            check_position(after, changes_after)?;
            Ok(Command::Subscribe(Subscribe {
                room: room()?,
                after,
                changes_after,
                drawn: Drawn {
                    html: fields.flag("html")?.unwrap_or_default(),
                    line: fields.flag("line")?.unwrap_or_default(),
                },
            }))
        }
        Some("unsubscribe") => Ok(Command::Unsubscribe { room: room()? }),
        Some("post") => Ok(Command::Post(Box::new(Post {
            room: room()?,
            sender: fields.get("sender")?,
            text: fields.required("text")?,
            nonce: fields.get("nonce")?,
            reply_to: fields.seq("reply_to")?,
        }))),
        Some("typing") => Ok(Command::Typing { room: room()? }),
        Some("read") => {
            let seq = fields
                .seq("seq")?
                .ok_or_else(|| HttpError::bad_request("seq is missing"))?;
            Ok(Command::Read { room: room()?, seq })
        }
        Some("ping") => Ok(Command::Ping),
        Some(_) => Err(HttpError::bad_request(
            "type must be one of subscribe, unsubscribe, post, typing, read and ping",
        )),
        None => Err(HttpError::bad_request("type is missing")),
    }
}

/// Writes a frame as JSON. Messages and presence are not written here, because chatcore writes each
/// of them once for all its readers.
pub(super) fn encode(frame: &ServerFrame) -> Bytes {
    // Made of strings and numbers, which JSON always takes.
    serde_json::to_vec(frame).unwrap_or_default().into()
}

/// Returns the frame of a message with one more field, whose value is JSON.
pub(super) fn with_field(frame: &[u8], name: &str, value: &[u8]) -> Bytes {
    let fields = frame.strip_suffix(b"}").unwrap_or(frame);
    [fields, b",\"", name.as_bytes(), b"\":", value, b"}"]
        .concat()
        .into()
}

/// Writes the frame that refuses a request, or ends what it began.
pub(super) fn refusal(subject: &Subject, error: &HttpError) -> Bytes {
    encode(&ServerFrame::Error {
        room: subject.room.as_ref().map(ToString::to_string),
        nonce: subject.nonce.as_ref().map(ToString::to_string),
        status: error.status.as_u16(),
        detail: error.detail.to_string(),
    })
}

/// Returns the frame of a new message, which all its readers share.
pub(super) fn message_frame(message: &SharedMessage) -> Bytes {
    let encode = |message: &SharedMessage| tagged(br#"{"type":"message","#, message);
    message.encoding::<MESSAGE_SLOT>(encode).clone()
}

/// Returns the frame of a message that changed, which all its readers share.
pub(super) fn changed_frame(message: &SharedMessage) -> Bytes {
    let encode = |message: &SharedMessage| tagged(br#"{"type":"changed","#, message);
    message.encoding::<CHANGED_SLOT>(encode).clone()
}

/// Puts a tag before the fields of a message.
fn tagged(tag: &[u8], message: &SharedMessage) -> Bytes {
    let fields = message.json().get(1..).unwrap_or_default();
    [tag, fields].concat().into()
}

/// Returns the frame of a list of who is present, which all its readers share.
pub(super) fn presence_frame(presence: &Presence) -> Bytes {
    let encode = |presence: &Presence| {
        encode(&ServerFrame::Presence {
            room: presence.room().to_string(),
            users: presence.users().iter().map(ToString::to_string).collect(),
        })
    };
    presence.encoding(encode).clone()
}
