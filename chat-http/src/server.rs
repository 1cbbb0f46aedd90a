//! Connections: taking them, limiting them, and ending them in good order.

pub(crate) mod connection_limit;
pub(crate) mod write_timeout;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::connection_limit::ConnectionLimit;
use self::write_timeout::WriteTimeout;
use crate::error::Result;
use crate::{App, host, router};

/// How long a client may take to send the head of a request, and stay silent between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same once places are scarce, so that they change hands quickly.
const SCARCE_TIMEOUT: Duration = Duration::from_secs(5);
/// The head of a request: larger ones get `431`.
const MAX_HEAD: usize = 32 * 1024;
/// How long requests under way may take to end after a shutdown began.
const GRACE: Duration = Duration::from_secs(8);
/// The pause after the system could not give a connection, which is when it has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection as the handlers of its requests see it.
pub(crate) struct Connection {
    pub(crate) app: App,
    /// Who is at the other end: the client, or a proxy.
    pub(crate) peer: SocketAddr,
    /// Changes when the server stops.
    pub(crate) stopping: watch::Receiver<()>,
    /// Tells if the server listens on the loopback interface alone.
    on_loopback: bool,
    /// What the connection does once it speaks HTTP no more.
    next: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Connection {
    /// Hands the connection over to `next` after the answer under way, which must be a `101`.
    pub(crate) fn hand_over(&self, next: BoxFuture<'static, ()>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }

    /// Fails unless the server answers to the host of a request.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<()> {
        host::check(self.app.settings(), self.on_loopback, uri, headers)
    }

    fn taken_over(&self) -> Option<BoxFuture<'static, ()>> {
        self.next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Serves `app` on `listener` until `shutdown` is done; then takes no new connections, and returns
/// once the requests under way are answered, or after 8 seconds.
///
/// An error of one connection ends that connection, never the server.
pub async fn run(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let (stop, stopping) = watch::channel(());
    let places = ConnectionLimit::new(app.settings());
    let on_loopback = listener
        .local_addr()
        .is_ok_and(|at| at.ip().to_canonical().is_loopback());
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = places.take().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (accepted, place) = next => match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = place else { break };
                    let Some(share) = places.share(peer) else {
                        places.refuse(stream, place);
                        continue;
                    };
                    let patience = if places.are_scarce() { SCARCE_TIMEOUT } else { HEADER_TIMEOUT };
                    let connection = Connection {
                        app: app.clone(),
                        peer,
                        stopping: stopping.clone(),
                        on_loopback,
                        next: Mutex::default(),
                    };
                    let serving = serve(stream, connection, patience);
                    connections.spawn(async move {
                        serving.await;
                        drop((place, share));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drop(stop);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        tracing::warn!("some requests were cut off by the shutdown");
    }
}

async fn serve(stream: TcpStream, connection: Connection, patience: Duration) {
    let (app, mut stopping) = (connection.app.clone(), connection.stopping.clone());
    let this = Arc::new(connection);
    // Answers are written whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    app.metrics().connection_opened();
    let service = service_fn(|request| {
        let this = this.clone();
        async move { Ok::<_, Infallible>(router::respond(&this, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service)
        .with_upgrades();
    // In memory of its own, which is free again when the connection is handed over.
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    drop(connection);
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    if let Some(next) = this.taken_over() {
        next.await;
    }
    app.metrics().connection_closed();
}
