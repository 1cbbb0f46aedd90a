//! Notation of a case, and its run.

use futures_util::{StreamExt as _, stream};

use crate::peer::Heard::{self, Close, End, Message, Refused};
use crate::peer::{Frame, Peer};
use crate::support::Running;

/// Cases at once.
const AT_ONCE: usize = 16;
/// Frames that are sent and received, in turns.
pub(crate) struct Case {
    name: String,
    steps: Vec<Step>,
    chop: Option<usize>,
}

enum Step {
    Send(Vec<u8>),
    Hear(Heard),
}

/// A case; its name is also its room.
pub(crate) fn case(name: impl Into<String>) -> Case {
    Case {
        name: name.into(),
        steps: Vec::new(),
        chop: None,
    }
}

impl Case {
    /// Everything that follows is written in pieces of so many bytes.
    pub(crate) fn chopped(self, chop: usize) -> Self {
        Self {
            chop: Some(chop),
            ..self
        }
    }

    pub(crate) fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    /// Sends frames in one piece.
    pub(crate) fn send(self, frames: impl IntoIterator<Item = Frame>) -> Self {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| frame.bytes()).collect();
        self.bytes(bytes)
    }

    /// Sends frames, each in a piece of its own.
    pub(crate) fn send_each(self, frames: impl IntoIterator<Item = Frame>) -> Self {
        frames
            .into_iter()
            .fold(self, |case, frame| case.send([frame]))
    }

    pub(crate) fn hear(mut self, heard: impl IntoIterator<Item = Heard>) -> Self {
        self.steps.extend(heard.into_iter().map(Step::Hear));
        self
    }

    /// The server closes, by itself or after the client.
    pub(crate) fn closed(self, code: impl Into<Option<u16>>) -> Self {
        let code = code.into();
        self.hear([Close(code), End])
    }

    /// The client closes, and the server with the same code.
    pub(crate) fn close(self) -> Self {
        self.send([close(1000)]).closed(1000)
    }

    async fn run(self, server: &Running) -> Option<String> {
        // Not by a request: there are more cases than one address may create rooms.
        server
            .store
            .create_room(&self.name.parse().expect("a name"))
            .await
            .expect("created");
        let mut peer = Peer::open(server.address, &self.name).await;
        for step in self.steps {
            match step {
                Step::Send(bytes) => {
                    for piece in bytes.chunks(self.chop.unwrap_or(usize::MAX)) {
                        peer.write(piece).await;
                        // Lets the server read before the next piece comes.
                        tokio::task::yield_now().await;
                    }
                }
                Step::Hear(expected) => {
                    let heard = peer.hear().await;
                    if heard != expected {
                        return Some(format!("{}: {heard:?} instead of {expected:?}", self.name));
                    }
                }
            }
        }
        None
    }
}

/// Runs all of them, and fails with all that fail.
pub(crate) async fn run(cases: Vec<Case>) {
    let server = Running::sqlite().await;
    let server = &server;
    let outcomes = stream::iter(cases)
        .map(|case| case.run(server))
        .buffer_unordered(AT_ONCE);
    let failed: Vec<_> = outcomes
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .flatten()
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

pub(crate) fn text(payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(1, payload)
}

pub(crate) fn binary(payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(2, payload)
}

pub(crate) fn more(payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(0, payload)
}

pub(crate) fn ping(payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(9, payload)
}

pub(crate) fn pong(payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(10, payload)
}

pub(crate) fn close(code: u16) -> Frame {
    Frame::new(8, code.to_be_bytes())
}

pub(crate) fn close_because(code: u16, reason: &[u8]) -> Frame {
    Frame::new(8, [&code.to_be_bytes(), reason].concat())
}

/// A post of this text to the room of the case.
pub(crate) fn post(name: &str, text: impl AsRef<[u8]>) -> Vec<u8> {
    let start = format!(r#"{{"type":"post","room":"{name}","sender":"ann","text":""#);
    [start.as_bytes(), text.as_ref(), b"\"}"].concat()
}

/// A post that is `length` bytes long, and its text: stars, then spaces where there would be too
/// many.
pub(crate) fn long_post(name: &str, length: usize) -> (Vec<u8>, String) {
    let stars = "*".repeat((length - post(name, "").len()).min(4000));
    let mut post = post(name, &stars);
    post.resize(length, b' ');
    (post, stars)
}

/// One message in a frame for each part.
pub(crate) fn in_frames<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<Frame> {
    let parts: Vec<P> = parts.into_iter().collect();
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().map(|(i, part)| {
        let frame = if i == 0 {
            text(part.as_ref())
        } else {
            more(part.as_ref())
        };
        if i == last { frame } else { frame.begun() }
    });
    frames.collect()
}

/// A post whose text is cut between the parts.
pub(crate) fn cut_post(name: &str, parts: &[&str]) -> Vec<Frame> {
    let whole = post(name, parts.concat());
    let start = post(name, "").len() - 2;
    let mut from = 0;
    let mut to = start;
    let mut cut = Vec::new();
    for part in &parts[..parts.len() - 1] {
        to += part.len();
        cut.push(&whole[from..to]);
        from = to;
    }
    cut.push(&whole[from..]);
    in_frames(cut)
}

pub(crate) fn message(text: &str) -> Heard {
    Message(text.to_owned())
}

pub(crate) fn refused(detail: &str) -> Heard {
    Refused(detail.to_owned())
}
