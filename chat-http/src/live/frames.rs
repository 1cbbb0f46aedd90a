//! What is said on a socket: one JSON object a frame.

use chatcore::{ChangeSeq, Nonce, RoomName, Seq, Topic, Username};
use serde::Serialize;

use crate::error::{HttpError, Result};
use crate::posting::Post;
use crate::request::Fields;

/// What a client says.
#[derive(Debug)]
pub(super) enum ClientFrame {
    Subscribe {
        room: RoomName,
        after: Option<Seq>,
        changes_after: Option<ChangeSeq>,
        /// Tells if messages come with their rows, as pages draw them.
        html: bool,
    },
    Unsubscribe {
        room: RoomName,
    },
    Post(Box<Post>),
    Typing {
        room: RoomName,
    },
    Read {
        room: RoomName,
        seq: Seq,
    },
}

/// What the server says, but for messages, which are encoded once for all.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ServerFrame<'a> {
    Subscribed {
        room: &'a RoomName,
        last_seq: Seq,
        last_change: ChangeSeq,
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
    /// Changes were missed that are not kept any more.
    Resync {
        room: &'a RoomName,
    },
    /// The room has another topic.
    Room {
        room: &'a RoomName,
        topic: &'a Topic,
    },
    /// A message mentions the user.
    Mention {
        room: &'a RoomName,
        seq: Seq,
    },
    Error {
        #[serde(flatten)]
        subject: &'a Subject,
        status: u16,
        detail: &'a str,
    },
}

impl<'a> ServerFrame<'a> {
    pub(super) fn error(subject: &'a Subject, error: &'a HttpError) -> Self {
        Self::Error {
            subject,
            status: error.status.as_u16(),
            detail: &error.detail,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Made of strings and numbers, which JSON always takes.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Names the frame that an error answers, or the room that it is about.
#[derive(Debug, Default, Serialize)]
pub(super) struct Subject {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<RoomName>,
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// A frame of the client: what it says, or why it cannot be understood.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) subject: Subject,
    pub(super) said: Result<ClientFrame>,
}

impl Frame {
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
            said: read(&fields),
        }
    }

    pub(super) fn wrong(error: HttpError) -> Self {
        Self {
            subject: Subject::default(),
            said: Err(error),
        }
    }
}

/// Fails if a place among the changes is given without one among the messages: a change would come
/// before its message.
pub(super) fn check_places(after: Option<Seq>, changes_after: Option<ChangeSeq>) -> Result<()> {
    match (after, changes_after) {
        (None, Some(_)) => Err(HttpError::bad_request("changes_after goes with after")),
        _ => Ok(()),
    }
}

/// Returns the frame of a message with one more field: its row.
pub(super) fn with_html(frame: &[u8], row: &[u8]) -> Vec<u8> {
    let text = serde_json::to_vec(&String::from_utf8_lossy(row)).unwrap_or_default();
    let fields = frame.strip_suffix(b"}").unwrap_or(frame);
    [fields, b",\"html\":", &text, b"}"].concat()
}

fn read(fields: &Fields) -> Result<ClientFrame> {
    let room = || fields.required("room");
    match fields.text("type")? {
        Some("subscribe") => {
            let (after, changes_after) = (fields.seq("after")?, fields.change("changes_after")?);
            check_places(after, changes_after)?;
            Ok(ClientFrame::Subscribe {
                room: room()?,
                after,
                changes_after,
                html: fields.flag("html")?.unwrap_or_default(),
            })
        }
        Some("unsubscribe") => Ok(ClientFrame::Unsubscribe { room: room()? }),
        Some("post") => Ok(ClientFrame::Post(Box::new(Post {
            room: room()?,
            sender: fields.get("sender")?,
            text: fields.required("text")?,
            nonce: fields.get("nonce")?,
            reply_to: fields.seq("reply_to")?,
        }))),
        Some("typing") => Ok(ClientFrame::Typing { room: room()? }),
        Some("read") => {
            let seq = fields
                .seq("seq")?
                .ok_or_else(|| HttpError::bad_request("seq is missing"))?;
            Ok(ClientFrame::Read { room: room()?, seq })
        }
        Some(_) => Err(HttpError::bad_request(
            "type must be one of subscribe, unsubscribe, post, typing and read",
        )),
        None => Err(HttpError::bad_request("type is missing")),
    }
}
