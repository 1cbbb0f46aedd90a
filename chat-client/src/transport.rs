//! Requests and answers over HTTP: one attempt, and attempts until there is an answer.

mod address;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

pub(crate) use self::address::{Address, path};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::wire::Problem;

/// Time that a connection may take to be opened.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: far above what the server sends.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const AGENT: &str = concat!("chat-client/", env!("CARGO_PKG_VERSION"));

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// A connection that a socket takes over.
pub(crate) type Connection = TokioIo<<Connector as Service<Uri>>::Response>;

/// The header by which requests prove a session.
#[derive(Debug, Clone)]
pub(crate) struct SessionHeader {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

/// A request, which may be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query below the address of the server.
    pub(crate) path: String,
    /// JSON.
    pub(crate) body: Option<Bytes>,
    pub(crate) session: Option<SessionHeader>,
    /// Time that the server is asked to wait for something to answer.
    pub(crate) wait: Duration,
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            body: None,
            session: None,
            wait: Duration::ZERO,
        }
    }

    pub(crate) fn with_body(mut self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body).map_err(|e| Error::Invalid(e.to_string()))?;
        self.body = Some(body.into());
        Ok(self)
    }
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| Error::Answer(e.to_string()))
    }
}

pub(crate) struct Transport {
    pub(crate) address: Address,
    pub(crate) options: Options,
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
}

impl Transport {
    pub(crate) fn new(address: Address, options: Options) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        #[cfg(feature = "tls")]
        let connector = tls::connector(connector, &options)?;

        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Ok(Self {
            address,
            options,
            http,
            connector,
        })
    }

    /// Sends a request until there is an answer that says more than to come later.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer> {
        let give_up = Instant::now() + self.options.retry_for;
        let mut backoff = Backoff::new(self.options.longest_pause);
        loop {
            let error = match self.send_once(call).await {
                Err(error) if error.is_temporary() => error,
                answer => return answer,
            };

            let pause = backoff.pause(error.retry_after());
            if Instant::now() + pause > give_up {
                return Err(error);
            }
            tracing::debug!(%error, ?pause, path = call.path, "a call is made again");
            sleep(pause).await;
        }
    }

    /// Sends a request once.
    pub(crate) async fn send_once(&self, call: &Call) -> Result<Answer> {
        let request = self.request(call)?;
        let answer = timeout(self.options.timeout + call.wait, self.exchange(request)).await;
        answer.unwrap_or_else(|_| Err(Error::unreachable("it takes too long")))
    }

    /// Opens a connection of its own.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let uri = self.address.http("/")?;
        let mut connector = self.connector.clone();
        let ready = std::future::poll_fn(|context| connector.poll_ready(context)).await;
        ready.map_err(Error::unreachable)?;

        let connection = connector.call(uri).await;
        connection.map(TokioIo::new).map_err(Error::unreachable)
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(call.body.clone().unwrap_or_default()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = self.address.http(&call.path)?;

        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(session) = &call.session {
            headers.insert(session.name.clone(), session.value.clone());
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let answer = self.http.request(request).await;
        let (head, body) = answer.map_err(Error::unreachable)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(Error::unreachable)?.to_bytes();

        if head.status.is_success() {
            return Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            });
        }
        Err(Error::Refused {
            problem: problem(head.status, &body),
            retry_after: retry_after(&head.headers),
        })
    }
}

/// Reads the body of a refusal, which may come from a proxy.
pub(crate) fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let title = status.canonical_reason().unwrap_or("Error");
    serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        title: title.to_owned(),
        status: status.as_u16(),
        detail: format!("the server answers {title}"),
    })
}

/// Reads `Retry-After` in its form of seconds, the only one that the server sends.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse();
    seconds.ok().map(Duration::from_secs)
}
