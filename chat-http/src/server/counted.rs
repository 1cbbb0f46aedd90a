//! A connection that is counted for as long as it is open, whoever has it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_limit::Permit;
use crate::app::App;
use crate::permits::NetworkPermit;

/// Holds the permits of a connection. They are given back when the connection is dropped: by the
/// server, or by the socket that took it over.
pub(super) struct Counted<S> {
    stream: S,
    app: App,
    _permits: (Permit, NetworkPermit),
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, app: App, permits: (Permit, NetworkPermit)) -> Self {
        app.metrics().connection_opened();
        Self {
            stream,
            app,
            _permits: permits,
        }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.app.metrics().connection_closed();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
