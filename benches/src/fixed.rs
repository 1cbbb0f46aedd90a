//! The floor of a request: hyper with one answer for all.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Puts an answer into a file: its headers, but for those that hyper adds by itself, and its body.
pub fn keep(headers: &HeaderMap, body: &[u8], file: &Path) {
    let mut text = Vec::new();
    for (name, value) in headers {
        if !["date", "content-length"].contains(&name.as_str()) {
            text.extend_from_slice(
                &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat(),
            );
        }
    }
    text.push(b'\n');
    text.extend_from_slice(body);
    fs::write(file, text).expect("a file");
}

/// The answer to all requests. As a service it needs no host's own types.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    headers: Arc<[(HeaderName, HeaderValue)]>,
    body: Bytes,
}

impl Fixed {
    fn answer(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        for (name, value) in &*self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

impl<B> tower_service::Service<Request<B>> for Fixed {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(self.answer()))
    }
}

/// Reads what [`keep`] put into a file.
pub(crate) fn read(text: &[u8]) -> Fixed {
    let end = text
        .windows(2)
        .position(|two| two == b"\n\n")
        .expect("an empty line");
    let (head, body) = (&text[..end], Bytes::copy_from_slice(&text[end + 2..]));
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.expect("a header");
        let name = HeaderName::from_bytes(&line[..colon]).expect("a name");
        let value = HeaderValue::from_bytes(&line[colon + 2..]).expect("a value");
        (name, value)
    };
    Fixed {
        headers: head.split(|byte| *byte == b'\n').map(header).collect(),
        body,
    }
}

/// Gives every request the same answer.
pub(crate) async fn serve(listener: TcpListener, fixed: Fixed) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let fixed = fixed.clone();
        tokio::spawn(async move {
            let service = service_fn(|_: Request<hyper::body::Incoming>| {
                let response = fixed.answer();
                async { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
