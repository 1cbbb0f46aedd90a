//! Listener: accepts connections, limits them, and ends them in good order.

mod connection_limit;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::connection_limit::ConnectionLimit;
use crate::app::App;
use crate::connection::Connection;
use crate::router;
use crate::write_timeout::WriteTimeout;

/// How long a client may take to send the head of a request, and stay silent between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same once connections are scarce, so that they change hands quickly.
const SCARCE_TIMEOUT: Duration = Duration::from_secs(5);
/// The head of a request: larger ones get `431`.
const MAX_HEAD: usize = 32 * 1024;
/// How long requests under way may take to end after a shutdown began.
const GRACE: Duration = Duration::from_secs(8);
/// The pause after the system could not give a connection, which is when it has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `app` on `listener` until `shutdown` is done; then takes no new connections, and returns
/// once the requests under way are answered, or after 8 seconds.
///
/// An error of one connection ends that connection, never the server.
pub async fn run(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let (stop, stopping) = watch::channel(());
    let limit = ConnectionLimit::new(app.settings());
    let on_loopback = listener
        .local_addr()
        .is_ok_and(|at| at.ip().to_canonical().is_loopback());
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = limit.acquire().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, peer)) => {
                    let Some(permit) = permit else { break };
                    let Some(address_permit) = limit.acquire_for(peer) else {
                        limit.refuse(stream, permit);
                        continue;
                    };
                    let header_timeout = if limit.is_scarce() { SCARCE_TIMEOUT } else { HEADER_TIMEOUT };
                    let connection = Connection::new(app.clone(), peer, stopping.clone(), on_loopback);
                    let serving = serve(stream, connection, header_timeout);
                    connections.spawn(async move {
                        serving.await;
                        drop((permit, address_permit));
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

async fn serve(stream: TcpStream, connection: Connection, header_timeout: Duration) {
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
        .header_read_timeout(header_timeout)
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
