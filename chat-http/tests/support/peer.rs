//! A WebSocket client that writes its frames itself: a library would refuse most of them.
//! RFC 6455, 5.2.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);

/// A frame as it is to be written, right or wrong.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    opcode: u8,
    last: bool,
    reserved: u8,
    masked: bool,
    /// Bytes in which the length is written; the fewest that do if `None`.
    width: Option<usize>,
    payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            opcode,
            last: true,
            reserved: 0,
            masked: true,
            width: None,
            payload: payload.into(),
        }
    }

    /// More of the message follows.
    pub(crate) fn begun(self) -> Self {
        Self {
            last: false,
            ..self
        }
    }

    pub(crate) fn reserved(self, bits: u8) -> Self {
        Self {
            reserved: bits,
            ..self
        }
    }

    pub(crate) fn unmasked(self) -> Self {
        Self {
            masked: false,
            ..self
        }
    }

    pub(crate) fn with_length_in(self, bytes: usize) -> Self {
        Self {
            width: Some(bytes),
            ..self
        }
    }

    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = head(self.opcode, self.last, self.reserved, self.masked);
        put_length(&mut bytes, self.payload.len() as u64, self.width);
        // Not the same for every frame, so that a key that outlives its frame shows.
        let key = [
            0x37,
            0xfa ^ self.payload.len() as u8,
            0x21,
            0x3d ^ self.opcode,
        ];
        if self.masked {
            bytes.extend(key);
            bytes.extend(
                self.payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// The head of a text frame of this length, whose payload is never sent.
pub(crate) fn announced(length: u64) -> Vec<u8> {
    let mut bytes = head(1, true, 0, true);
    put_length(&mut bytes, length, None);
    bytes.extend([1, 2, 3, 4]);
    bytes
}

fn head(opcode: u8, last: bool, reserved: u8, masked: bool) -> Vec<u8> {
    vec![
        u8::from(last) << 7 | reserved << 4 | opcode,
        u8::from(masked) << 7,
    ]
}

fn put_length(bytes: &mut Vec<u8>, length: u64, width: Option<usize>) {
    let fewest = match length {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    let width = width.unwrap_or(fewest);
    bytes[1] |= match width {
        0 => length as u8,
        2 => 126,
        _ => 127,
    };
    bytes.extend(&length.to_be_bytes()[8 - width..]);
}

/// Next text from the server. Of its own JSON, that which answers to a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// The text of a `message`.
    Message(String),
    /// The detail of an `error` with status 400, up to a colon.
    Refused(String),
    Pong(Vec<u8>),
    /// A close frame and its code.
    Close(Option<u16>),
    /// The end of the connection, in good order.
    End,
    /// Anything else.
    Other(String),
}

/// Spaces after a colon are no matter here.
fn detail(text: &str) -> String {
    text.split(':').next().unwrap_or_default().to_owned()
}

/// The client.
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    /// Opens a socket, with a session or without.
    pub(crate) async fn connect(address: SocketAddr, cookie: Option<&str>) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        // Each write is sent at once, as small as it is.
        stream.set_nodelay(true).expect("no delay");
        let mut peer = Self {
            stream: BufReader::new(stream),
        };
        let cookie = cookie
            .map(|cookie| format!("Cookie: {cookie}\r\n"))
            .unwrap_or_default();
        // The extension is offered, so that a server which took it would be found out.
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{cookie}\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        peer.write(request.as_bytes()).await;
        let mut line = String::new();
        peer.stream.read_line(&mut line).await.expect("an answer");
        assert_eq!(line, "HTTP/1.1 101 Switching Protocols\r\n");
        while line != "\r\n" {
            assert!(
                !line
                    .to_ascii_lowercase()
                    .starts_with("sec-websocket-extensions"),
                "{line}"
            );
            line.clear();
            peer.stream.read_line(&mut line).await.expect("an answer");
        }
        peer
    }

    /// Opens a socket and follows a room.
    pub(crate) async fn open(address: SocketAddr, room: &str) -> Self {
        let mut peer = Self::connect(address, None).await;
        let subscribe = json!({ "type": "subscribe", "room": room, "after": 0 });
        peer.write(&Frame::new(1, subscribe.to_string()).bytes())
            .await;
        while peer
            .json()
            .await
            .is_none_or(|said| said["type"] != "subscribed")
        {}
        peer
    }

    /// Writes. A connection that is lost shows when the answer is read.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Writes no more.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    async fn json(&mut self) -> Option<Value> {
        match self.frame().await {
            Ok((1, payload)) => serde_json::from_slice(&payload).ok(),
            other => panic!("{other:?}"),
        }
    }

    /// Next text from the server. Frames of who is there, and that a post is stored, are
    /// passed over: the one comes at any time, the other before or after the message itself.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            return match timeout(SOON, self.frame()).await {
                Ok(Ok((1, payload))) => {
                    let said: Value = serde_json::from_slice(&payload).unwrap_or_default();
                    let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
                    match (text("type").as_str(), said["status"].as_u64()) {
                        ("presence" | "posted", _) => continue,
                        ("message", _) => Heard::Message(text("text")),
                        ("error", Some(400)) => Heard::Refused(detail(&text("detail"))),
                        _ => Heard::Other(said.to_string()),
                    }
                }
                Ok(Ok((10, payload))) => Heard::Pong(payload),
                Ok(Ok((8, payload))) => {
                    Heard::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
                }
                Ok(Ok(other)) => Heard::Other(format!("{other:?}")),
                Ok(Err(heard)) => heard,
                Err(_) => Heard::Other("nothing, for long".to_owned()),
            };
        }
    }

    /// The next frame, whose form must be right: its opcode and its payload.
    pub(crate) async fn frame(&mut self) -> Result<(u8, Vec<u8>), Heard> {
        let lost = |error: std::io::Error| Heard::Other(error.to_string());
        if self.stream.fill_buf().await.map_err(lost)?.is_empty() {
            return Err(Heard::End);
        }
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.map_err(lost)?;
        let length = match head[1] {
            126 => u64::from(self.stream.read_u16().await.map_err(lost)?),
            127 => self.stream.read_u64().await.map_err(lost)?,
            length => u64::from(length),
        };
        // Whole, no reserved bits, and not masked.
        if head[0] & 0xf0 != 0x80 || head[1] & 0x80 != 0 || length > 1 << 20 {
            return Err(Heard::Other(format!("a frame with the head {head:?}")));
        }
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.map_err(lost)?;
        Ok((head[0] & 0x0f, payload))
    }
}
