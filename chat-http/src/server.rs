//! Connections: taking them, limiting them, and ending them in good order.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{App, router};

/// Connections at once. Those beyond wait in the system's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// How long a client may take to send the head of a request, and stay silent between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
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
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, _)) => {
                    let serving = serve(stream, app.clone(), stopping.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
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

async fn serve(stream: TcpStream, app: App, mut stopping: watch::Receiver<()>) {
    // Answers are written whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    app.metrics().connection_opened();
    let service = service_fn(|request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(router::respond(&app, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    app.metrics().connection_closed();
}
