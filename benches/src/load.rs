//! Clients that cost little: they send the same bytes again and again, and count what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::{TEXT, shares};

/// One connection, and a request to send on it.
#[derive(Debug)]
pub struct Asker {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Asker {
    /// Connects and asks once.
    pub async fn new(address: SocketAddr, request: Vec<u8>) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let mut this = Self {
            stream,
            request,
            buffer: vec![0; 32 * 1024],
        };
        this.ask().await;
        this
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&mut self) {
        self.stream.write_all(&self.request).await.expect("sent");
        let (mut read, mut length) = (0, None);
        while length.is_none_or(|length| read < length) {
            let n = self
                .stream
                .read(&mut self.buffer[read..])
                .await
                .expect("an answer");
            assert!(n > 0, "it closed");
            read += n;
            length = length.or_else(|| answer_length(&self.buffer[..read]));
        }
        let answer = &self.buffer[..read];
        assert!(
            answer.starts_with(b"HTTP/1.1 20"),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
}

/// The length of an answer, once its head is there.
fn answer_length(answer: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let at = answer[..head]
        .windows(NAME.len())
        .position(|name| name == NAME)
        .expect("a length")
        + NAME.len();
    let digits = answer[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    Some(head + body)
}

/// A `GET` of this path.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n").into()
}

/// A `POST` of a message.
#[must_use]
pub fn post(room: &str, sender: &str) -> Vec<u8> {
    let body = serde_json::json!({ "sender": sender, "text": TEXT }).to_string();
    let length = body.len();
    format!(
        "POST /chat/{room}/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// `n` posts by so many senders, at most so many a second. Returns how long they took.
pub async fn post_at_rate(
    address: SocketAddr,
    room: &str,
    senders: usize,
    n: u64,
    rate: f64,
) -> Duration {
    let mut askers = Vec::new();
    for i in 0..senders {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let request = post(room, &format!("sender{i}"));
        askers.push(Asker {
            stream,
            request,
            buffer: vec![0; 4096],
        });
    }
    let tickets = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for mut asker in askers {
        let tickets = tickets.clone();
        tasks.spawn(async move {
            loop {
                let ticket = tickets.fetch_add(1, Ordering::Relaxed);
                if ticket >= n {
                    break;
                }
                sleep_until((started + Duration::from_secs_f64(ticket as f64 / rate)).into()).await;
                asker.ask().await;
            }
        });
    }
    tasks.join_all().await;
    started.elapsed()
}

/// So many connections that all send the same request.
pub async fn askers(address: SocketAddr, request: &[u8], connections: usize) -> Vec<Asker> {
    let mut all = Vec::new();
    for _ in 0..connections {
        all.push(Asker::new(address, request.to_vec()).await);
    }
    all
}

/// `n` requests, shared by the connections, each of which waits for its answer before the next.
pub async fn ask(askers: &mut Vec<Asker>, n: u64) -> Duration {
    let mut tasks = JoinSet::new();
    let count = askers.len();
    let started = Instant::now();
    for (mut asker, (_, share)) in askers.drain(..).zip(shares(count, n)) {
        tasks.spawn(async move {
            for _ in 0..share {
                asker.ask().await;
            }
            asker
        });
    }
    askers.extend(tasks.join_all().await);
    started.elapsed()
}
