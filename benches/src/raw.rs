//! The floor of a delivery: given bytes, written to every connection. No HTTP, no WebSocket, no
//! rooms, no store; only what each connection has not got yet, in one call.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The largest number of frames in one call, as the server has it.
const AT_ONCE: u64 = 512;

/// A connection that says `publish COUNT RATE LENGTH` has so many frames of that length published,
/// so many a second; any other line makes it a follower.
pub(crate) async fn serve(listener: TcpListener) {
    let (published, _) = watch::channel((0, Bytes::new()));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, published.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    published: watch::Sender<(u64, Bytes)>,
) -> std::io::Result<()> {
    let mut stream = BufReader::with_capacity(128, stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut numbers = line
        .split_whitespace()
        .skip(1)
        .map(|n| n.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    match (next(), next(), next()) {
        (0, _, _) => follow(stream.into_inner(), published.subscribe()).await,
        (count, rate, length) => {
            publish(&published, count, rate, length).await;
            stream.write_all(b"done").await
        }
    }
}

async fn publish(published: &watch::Sender<(u64, Bytes)>, count: u64, rate: u64, length: u64) {
    let many = Bytes::from(frame(usize::try_from(length).unwrap_or(0)).repeat(AT_ONCE as usize));
    published.send_modify(|(_, frames)| *frames = many);
    let started = Instant::now();
    for i in 1..=count {
        sleep_until(started + Duration::from_secs(i) / u32::try_from(rate).unwrap_or(1)).await;
        published.send_modify(|(sent, _)| *sent += 1);
    }
}

/// A text frame of this length, head included, from 130 bytes on.
fn frame(length: usize) -> Vec<u8> {
    let payload = u16::try_from(length - 4).unwrap_or(u16::MAX).to_be_bytes();
    let mut frame = vec![0x81, 126, payload[0], payload[1]];
    frame.resize(length, b'x');
    frame
}

async fn follow(
    mut stream: TcpStream,
    mut published: watch::Receiver<(u64, Bytes)>,
) -> std::io::Result<()> {
    let mut done = published.borrow().0;
    stream.write_all(b"\x81\x02ok").await?;
    loop {
        let (sent, frames) = published.borrow_and_update().clone();
        while done < sent {
            let n = (sent - done).min(AT_ONCE);
            let length = frames.len() / AT_ONCE as usize * n as usize;
            stream.write_all(&frames[..length]).await?;
            done += n;
        }
        if published.changed().await.is_err() {
            return Ok(());
        }
    }
}
