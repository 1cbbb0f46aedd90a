//! Many WebSockets that only count what they get, so that they cost the machine little.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chat_testkit::live::make_room;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// For what must happen.
const SOON: Duration = Duration::from_secs(60);
/// A client's pong, without which the server takes it for gone.
const PONG: [u8; 6] = [0x8A, 0x80, 0, 0, 0, 0];

/// Numbers of frames that the sockets of a crowd have got.
#[derive(Debug, Default)]
struct Seen {
    frames: Cell<u64>,
    wanted: Cell<u64>,
    reached: Notify,
    last: Cell<Option<Instant>>,
    lost: Cell<usize>,
}

/// Sockets that read for as long as the crowd lives. Lives in a `LocalSet`.
#[derive(Debug)]
pub struct Crowd {
    seen: Rc<Seen>,
    _readers: JoinSet<()>,
}

/// Counts text frames in a stream of bytes, wherever it is cut.
#[derive(Debug, Default)]
struct Counter {
    head: [u8; 10],
    have: usize,
    skip: u64,
    pinged: bool,
}

impl Counter {
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut frames = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() as u64);
                self.skip -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            let length = match self.head[1] {
                _ if self.have < 2 => continue,
                126 if self.have < 4 => continue,
                126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
                127 if self.have < 10 => continue,
                127 => u64::from_be_bytes(self.head[2..].try_into().expect("eight bytes")),
                short => u64::from(short),
            };
            frames += u64::from(self.head[0] == 0x81);
            self.pinged |= self.head[0] == 0x89;
            self.skip = length;
            self.have = 0;
        }
        frames
    }
}

impl Crowd {
    /// Opens `n` sockets that follow a room, or no room.
    pub async fn open(address: SocketAddr, n: usize, room: Option<&str>) -> Self {
        if let Some(room) = room {
            make_room(address, room).await;
        }
        let subscribe =
            room.map(|room| masked(&json!({ "type": "subscribe", "room": room }).to_string()));
        let this = Self::connect(n, || handshake(address, subscribe.clone())).await;
        // Two frames each: that it is subscribed, and who is there.
        this.wait_for(room.map_or(0, |_| 2 * n as u64)).await;
        this
    }

    /// Opens `n` connections to what only writes.
    pub async fn open_raw(address: SocketAddr, n: usize) -> Self {
        let connect = || async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"follow\n").await?;
            Ok(stream)
        };
        let this = Self::connect(n, connect).await;
        this.wait_for(n as u64).await;
        this
    }

    async fn connect<F: Future<Output = std::io::Result<TcpStream>>>(
        n: usize,
        connect: impl Fn() -> F,
    ) -> Self {
        let seen = Rc::new(Seen::default());
        let mut readers = JoinSet::new();
        for _ in 0..n {
            readers.spawn_local(read(connect().await.expect("a socket"), seen.clone()));
        }
        Self {
            seen,
            _readers: readers,
        }
    }

    /// The frames that all sockets together have got.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.seen.frames.get()
    }

    /// Time at which one of them last received a frame.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.seen.last.get()
    }

    /// Waits until all sockets together have got this many frames.
    ///
    /// # Panics
    ///
    /// If that takes very long, or a socket is closed.
    pub async fn wait_for(&self, frames: u64) {
        self.seen.wanted.set(frames);
        let enough = async {
            while self.frames() < frames {
                self.seen.reached.notified().await;
            }
        };
        let in_time = tokio::time::timeout(SOON, enough).await;
        assert!(
            in_time.is_ok(),
            "{} of {frames} frames; {} lost",
            self.frames(),
            self.seen.lost.get()
        );
        assert_eq!(self.seen.lost.get(), 0, "sockets were closed");
    }
}

async fn handshake(address: SocketAddr, then: Option<Vec<u8>>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Nothing follows the head before something is asked for.
        if stream.read_buf(&mut head).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    if let Some(frame) = then {
        stream.write_all(&frame).await?;
    }
    Ok(stream)
}

/// A client's text frame. A mask of zeros is a mask.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len())
        .ok()
        .filter(|length| *length < 126)
        .expect("a short frame");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

async fn read(stream: TcpStream, seen: Rc<Seen>) {
    let mut counter = Counter::default();
    loop {
        if stream.readable().await.is_err() {
            break;
        }
        match take(&stream, &mut counter) {
            Ok(Some(frames)) => {
                if std::mem::take(&mut counter.pinged) {
                    // So few bytes find room.
                    let _ = stream.try_write(&PONG);
                }
                seen.frames.set(seen.frames.get() + frames);
                seen.last.set(Some(Instant::now()));
                if seen.frames.get() >= seen.wanted.get() {
                    seen.reached.notify_waiters();
                }
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    seen.lost.set(seen.lost.get() + 1);
    seen.reached.notify_waiters();
}

/// Reads what is there, into memory that a waiting socket does not hold.
fn take(stream: &TcpStream, counter: &mut Counter) -> std::io::Result<Option<u64>> {
    let mut buffer = [0; 64 * 1024];
    let n = stream.try_read(&mut buffer)?;
    Ok((n > 0).then(|| counter.count(&buffer[..n])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        for (head, length) in [
            (0x81, 5_usize),
            (0x89, 0),
            (0x81, 200),
            (0x81, 70_000),
            (0x81, 0),
        ] {
            stream.push(head);
            match length {
                0..126 => stream.push(length as u8),
                126..65_536 => {
                    stream.push(126);
                    stream.extend((length as u16).to_be_bytes());
                }
                _ => {
                    stream.push(127);
                    stream.extend((length as u64).to_be_bytes());
                }
            }
            stream.resize(stream.len() + length, 0x81);
        }
        for cut in [1, 2, 3, 7, 1_000, stream.len()] {
            let mut counter = Counter::default();
            assert_eq!(
                stream
                    .chunks(cut)
                    .map(|part| counter.count(part))
                    .sum::<u64>(),
                4,
                "{cut}"
            );
        }
    }
}
