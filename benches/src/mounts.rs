//! Services in programs that are not the server's own listener: axum, and bare hyper.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::serve::ListenerExt as _;
use chat_http::{App, PeerAddr};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower_service::Service;

/// Path below which a service is mounted.
pub const PREFIX: &str = "/community";

/// Returns a program of axum's with a service below the prefix.
pub(crate) fn nested<S>(service: S) -> Router
where
    S: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    Router::new().nest_service(PREFIX, service)
}

/// Serves a program of axum's.
pub(crate) async fn serve_in_axum(listener: TcpListener, router: Router) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, service).await.expect("served");
}

/// Serves by hyper with the settings that it has by itself.
pub(crate) async fn serve_in_hyper(listener: TcpListener, app: App) {
    loop {
        let (stream, peer) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let app = app.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            app.clone().call(request)
        });
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(connection);
    }
}
