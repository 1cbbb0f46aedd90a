//! The connection under a socket: what is written to it, and how it ends.
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
/// How long it may take to say goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

/// Why a socket ends.
pub(super) enum End {
    /// The connection is lost or closed.
    Gone,
    /// It is closed with a code and a reason.
    Close(CloseCode, &'static str),
}

pub(super) type Flow<T = ()> = Result<T, End>;

/// What the connection gives, before it is known whether that is a message.
pub(super) type Arrived = Option<Result<Message, Error>>;

pub(super) struct Wire<C>(WebSocketStream<C>);

impl<C: AsyncRead + AsyncWrite + Unpin> Wire<C> {
    /// A connection on which the handshake is done.
    pub(super) fn new(connection: C) -> Self {
        let builder = ServerBuilder::new()
            .limits(Limits::default().max_payload_len(Some(MAX_FRAME)))
            .config(Config::default().flush_threshold(FLUSH));
        Self(builder.serve(connection))
    }

    /// What comes next. Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> Arrived {
        self.0.next().await
    }

    /// The message that arrived, or the end of the connection.
    pub(super) async fn message(&mut self, arrived: Arrived) -> Flow<Message> {
        match arrived {
            Some(Ok(message)) => Ok(message),
            Some(Err(Error::PayloadTooLong { .. })) => Err(End::Close(
                CloseCode::MESSAGE_TOO_BIG,
                "a frame must be at most 64 KiB",
            )),
            // The answer to a violated protocol, or to a goodbye, is queued by now.
            Some(Err(_)) | None => {
                let _ = timeout(GOODBYE, self.part()).await;
                Err(End::Gone)
            }
        }
    }

    /// Queues a text; writes only when much is queued.
    pub(super) async fn say(&mut self, text: impl Into<Bytes>) -> Flow {
        self.0
            .feed(Message::text(text.into()))
            .await
            .map_err(|_| End::Gone)
    }

    /// Asks whether the client is there.
    pub(super) async fn ping(&mut self) -> Flow {
        self.0
            .feed(Message::ping(Bytes::new()))
            .await
            .map_err(|_| End::Gone)
    }

    /// Writes what is queued.
    pub(super) async fn flush(&mut self) -> Flow {
        self.0.flush().await.map_err(|_| End::Gone)
    }

    pub(super) async fn say_goodbye(&mut self, code: CloseCode, reason: &str) {
        let goodbye = async {
            // Fails if the protocol has its own queued already.
            let _ = self.0.feed(Message::close(Some(code), reason)).await;
            self.part().await
        };
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// Writes what is queued, and reads until the client closes too: a connection that is dropped
    /// with something unread is reset, and the client might never see why.
    async fn part(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush().await;
        let connection = self.0.get_mut();
        connection.shutdown().await?;
        let mut unread = vec![0; 4096];
        while connection.read(&mut unread).await? > 0 {}
        Ok(())
    }
}
