//! The connection under a socket: frames in and out, and its end.
//!
//! Writes wait for the client; the connection itself fails if that takes too long.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Config, Error, Limits, Message, ServerBuilder, WebSocketStream};

/// The largest frame, and the largest message of many frames.
const MAX_FRAME: usize = 64 * 1024;
/// Bytes that are queued before they are written.
const FLUSH: usize = 64 * 1024;
/// Time that the closing handshake may take.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Reason why a socket ends.
pub(super) enum End {
    /// The connection is lost or closed.
    Lost,
    /// The server closes it.
    Close(CloseCode, &'static str),
}

pub(super) type Result<T = ()> = std::result::Result<T, End>;

/// Result of a read, before the protocol's own frames are told from messages.
pub(super) type Arrived = Option<std::result::Result<Message, Error>>;

pub(super) struct Transport<C>(WebSocketStream<C>);

impl<C: AsyncRead + AsyncWrite + Unpin> Transport<C> {
    /// Takes a connection on which the handshake is done.
    pub(super) fn new(connection: C) -> Self {
        let builder = ServerBuilder::new()
            .limits(Limits::default().max_payload_len(Some(MAX_FRAME)))
            .config(Config::default().flush_threshold(FLUSH));

        Self(builder.serve(connection))
    }

    /// Waits for the next message. Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> Arrived {
        self.0.next().await
    }

    /// Returns the message that arrived.
    pub(super) async fn message(&mut self, arrived: Arrived) -> Result<Message> {
        match arrived {
            Some(Ok(message)) if !message.is_close() => Ok(message),
            Some(Err(Error::PayloadTooLong { .. })) => Err(End::Close(
                CloseCode::MESSAGE_TOO_BIG,
                "a frame must be at most 64 KiB",
            )),
            // The answer to a violated protocol, or to a close frame, is queued by now, and
            // nothing may follow it.
            _ => {
                let _ = timeout(CLOSE_TIMEOUT, self.drain()).await;
                Err(End::Lost)
            }
        }
    }

    /// Queues a text; writes only when much is queued.
    pub(super) async fn send(&mut self, text: impl Into<Bytes>) -> Result {
        self.0
            .feed(Message::text(text.into()))
            .await
            .map_err(|_| End::Lost)
    }

    /// Queues a ping, which a client that is still there answers.
    pub(super) async fn ping(&mut self) -> Result {
        self.0
            .feed(Message::ping(Bytes::new()))
            .await
            .map_err(|_| End::Lost)
    }

    /// Writes the queue.
    pub(super) async fn flush(&mut self) -> Result {
        self.0.flush().await.map_err(|_| End::Lost)
    }

    /// Closes the socket with a code and a reason.
    pub(super) async fn close(&mut self, code: CloseCode, reason: &str) {
        let close = async {
            // Fails if the protocol has a close frame of its own queued already.
            let _ = self.0.feed(Message::close(Some(code), reason)).await;
            self.drain().await
        };
        let _ = timeout(CLOSE_TIMEOUT, close).await;
    }

    /// Writes the queue, and reads until the client closes too: a connection that is dropped with
    /// something unread is reset, and the client might never see why.
    async fn drain(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush().await;
        let connection = self.0.get_mut();
        connection.shutdown().await?;

        let mut unread = vec![0; 4096];
        while connection.read(&mut unread).await? > 0 {}
        Ok(())
    }
}
