//! The floor of a request: hyper with one answer for all.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

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

/// Answers every request with what [`keep`] put into a file.
pub(crate) async fn serve(listener: TcpListener, text: &[u8]) {
    let end = text
        .windows(2)
        .position(|two| two == b"\n\n")
        .expect("an empty line");
    let (head, body) = (&text[..end], Bytes::copy_from_slice(&text[end + 2..]));
    let mut headers = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .expect("a header");
        let name = HeaderName::from_bytes(&line[..colon]).expect("a name");
        headers.push((
            name,
            HeaderValue::from_bytes(&line[colon + 2..]).expect("a value"),
        ));
    }
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let (headers, body) = (headers.clone(), body.clone());
        tokio::spawn(async move {
            let service = service_fn(|_: Request<hyper::body::Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                for (name, value) in &headers {
                    response.headers_mut().insert(name, value.clone());
                }
                async { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
