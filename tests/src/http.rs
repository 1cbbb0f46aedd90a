//! A plain HTTP/1.1 client over real sockets.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::mount;

/// Why there was no answer.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// One client: a connection, opened again when it is lost, and the headers of every request.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    /// Where it connects from, if that matters.
    from: Option<IpAddr>,
    connection: Option<http1::SendRequest<Full<Bytes>>>,
    headers: HeaderMap,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        self.read()
    }

    /// The body as a type of the wire.
    #[must_use]
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `name=value` of the first cookie it sets.
    #[must_use]
    pub fn cookie(&self) -> Option<String> {
        let cookie = self.headers.get(SET_COOKIE)?.to_str().ok()?;
        cookie.split(';').next().map(str::to_owned)
    }
}

impl Client {
    /// A client of the server at `address`; connects with the first request.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            from: None,
            connection: None,
            headers: HeaderMap::new(),
        }
    }

    /// Connects from this address of this machine.
    #[must_use]
    pub fn from_address(mut self, from: IpAddr) -> Self {
        self.from = Some(from);
        self
    }

    /// Sends this header with every request from now on.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Has the session that an answer gave, from now on.
    ///
    /// # Panics
    ///
    /// If it gave none.
    #[must_use]
    pub fn with_session(self, answer: &Reply) -> Self {
        let cookie = answer
            .cookie()
            .unwrap_or_else(|| panic!("no cookie: {}", answer.text()));
        self.with_header("cookie", &cookie)
    }

    /// A header that is sent with every request.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `GET`.
    ///
    /// # Panics
    ///
    /// If there is no answer, as all the methods of this kind.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, "").await
    }

    /// A number that the server tells in its metrics.
    pub async fn metric(&mut self, name: &str) -> i64 {
        let text = self.get("/metrics").await.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// A request with a JSON body, or none if it is empty.
    pub async fn send(&mut self, method: Method, path: &str, body: &str) -> Reply {
        let content_type = if body.is_empty() {
            None
        } else {
            Some("application/json")
        };
        let label = format!("{method} {path}");
        self.request(method, path, content_type, body.to_owned().into())
            .await
            .unwrap_or_else(|e| panic!("{label}: {e}"))
    }

    /// `POST` with a JSON body.
    pub async fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, &body.to_string()).await
    }

    /// `POST` as a browser's form does it.
    pub async fn form(&mut self, path: &str, body: &str) -> Reply {
        let kind = Some("application/x-www-form-urlencoded");
        let sent = self
            .request(Method::POST, path, kind, body.to_owned().into())
            .await;
        sent.unwrap_or_else(|e| panic!("POST {path}: {e}"))
    }

    /// Any request.
    ///
    /// # Errors
    ///
    /// If there is no whole answer. Whether the server acted on the request is then unknown.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Reply, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(mount::path(path))
            .body(Full::new(body))?;
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(&self.address.to_string())?);
        request.headers_mut().extend(self.headers.clone());
        if let Some(kind) = content_type {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let mut connection = match self.connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => connect(self.address, self.from).await?,
        };
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.connection = Some(connection);

        let mut headers = head.headers;
        let body = mount::unmount(&mut headers, body);
        Ok(Reply {
            status: head.status.as_u16(),
            headers,
            body,
        })
    }
}

async fn connect(
    address: SocketAddr,
    from: Option<IpAddr>,
) -> Result<http1::SendRequest<Full<Bytes>>, Error> {
    let stream = match from {
        None => TcpStream::connect(address).await?,
        Some(from) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            socket.connect(address).await?
        }
    };
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends bytes as they are, and returns all that comes back until the server closes or `complete`
/// says that it is enough.
pub async fn raw(address: SocketAddr, request: &[u8], complete: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&mount::raw(request)).await.expect("sent");
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => reply.extend_from_slice(&buffer[..n]),
        }
        if complete(&String::from_utf8_lossy(&reply)) {
            break;
        }
    }
    String::from_utf8_lossy(&reply).into_owned()
}
