//! A connection as the handlers of its requests see it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::app::App;

pub(crate) struct Connection {
    pub(crate) app: App,
    /// Address at the other end: the client, or a proxy.
    pub(crate) peer: SocketAddr,
    /// Changes when the server stops.
    pub(crate) stopping: watch::Receiver<()>,
    /// Set if the server listens on the loopback interface alone.
    pub(crate) on_loopback: bool,
    /// Task that takes the connection over once it speaks HTTP no more.
    next: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Connection {
    pub(crate) fn new(
        app: App,
        peer: SocketAddr,
        stopping: watch::Receiver<()>,
        on_loopback: bool,
    ) -> Self {
        Self {
            app,
            peer,
            stopping,
            on_loopback,
            next: Mutex::default(),
        }
    }

    /// Hands the connection over to `next` after the answer under way, which must be a `101`.
    pub(crate) fn hand_over(&self, next: BoxFuture<'static, ()>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }

    /// Takes what [`hand_over`](Self::hand_over) was given.
    pub(crate) fn taken_over(&self) -> Option<BoxFuture<'static, ()>> {
        self.next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
