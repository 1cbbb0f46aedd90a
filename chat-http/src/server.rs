//! Listener: accepts connections, limits them, and ends them in good order.

mod connection_limit;
mod open_connection;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::connection_limit::ConnectionLimit;
use self::open_connection::OpenConnection;
use crate::app::App;
use crate::arrival::{Arrival, Listener};
use crate::pages;
use crate::request_body::RequestBody;
use crate::response::Response;
use crate::service;
use crate::write_timeout::WriteTimeout;

/// Time for a client to send the head of a request, and to stay silent between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same once connections are scarce, so that they change hands quickly.
const SCARCE_TIMEOUT: Duration = Duration::from_secs(5);
/// The head of a request: larger ones get `431`.
const MAX_HEAD: usize = 32 * 1024;
/// Time for requests under way to end after a shutdown began.
const GRACE: Duration = Duration::from_secs(8);
/// The pause after the system could not give a connection, which is when it has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `app` on `listener` until `shutdown` is done; then takes no new connections, and returns
/// once the requests under way are answered and the sockets are closed, or after 8 seconds.
///
/// An error of one connection ends that connection, never the server.
pub async fn run(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let limit = ConnectionLimit::new(app.settings());
    let is_on_loopback = listener
        .local_addr()
        .is_ok_and(|at| at.ip().to_canonical().is_loopback());
    let mut connections = JoinSet::new();
    tokio::task::spawn_blocking(pages::assets::prepare);
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
                    // Answers are written whole; waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    let open = OpenConnection::new(app.clone(), (permit, address_permit));
                    let stream = WriteTimeout::holding(stream, open);
                    let arrival = Arrival {
                        peer: Some(peer.ip()),
                        listener: Some(Listener { is_on_loopback }),
                    };
                    connections.spawn(serve(app.clone(), stream, arrival, header_timeout));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }

    drop(listener);
    let end_connections = async { while connections.join_next().await.is_some() {} };
    let (ended, ()) = tokio::join!(timeout(GRACE, end_connections), app.shut_down());
    if ended.is_err() {
        tracing::warn!("some requests were cut off by the shutdown");
    }
}

async fn serve(
    app: App,
    stream: WriteTimeout<TcpStream, OpenConnection>,
    arrival: Arrival,
    header_timeout: Duration,
) {
    let mut stopping = Box::pin(app.stopping().clone().cancelled_owned());
    let service = service_fn(|request| answer(app.clone(), request, arrival));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);

    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = &mut stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(
    app: App,
    request: Request<Incoming>,
    arrival: Arrival,
) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let body = RequestBody::new(body, &head);
    Ok(service::respond(&app, head, body, arrival).await)
}
