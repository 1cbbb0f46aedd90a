//! Calls of a client, each as whoever it is logged in as.

mod accounts;
mod messages;
mod rooms;

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::messages::{Page, Post};
use crate::error::Result;
use crate::options::Options;
use crate::transport::{Address, Answer, Call, SessionHeader, Transport, path};

/// A client of one server. A clone shares its connections, and has the session that it was cloned
/// with.
///
/// All calls must be made within a Tokio runtime; they panic outside of one. A call that is dropped
/// before it returns may or may not have had its effect. A call fails with
/// [`Error::Refused`](crate::Error::Refused) if the server refuses it, and with
/// [`Error::Unreachable`](crate::Error::Unreachable) if it has no answer after all
/// [attempts](Options::retry_for).
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    session: Option<SessionHeader>,
    /// The user of the session, where that is known.
    username: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the session, which is a secret.
        f.debug_struct("Client")
            .field("address", &self.transport.address)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the server at `url`, such as `http://localhost:8000`, with the path prefix that
    /// it may have.
    ///
    /// # Errors
    ///
    /// [`Error::Address`](crate::Error::Address) if the address cannot be used, and those of calls
    /// if no server answers there.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Options::default()).await
    }

    /// Connects as [`connect`](Self::connect) does, with other options.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, options: Options) -> Result<Self> {
        let client = Self {
            transport: Arc::new(Transport::new(Address::parse(url)?, options)?),
            session: None,
            username: None,
        };
        client.check_health().await?;
        Ok(client)
    }

    /// Fails unless the server answers.
    pub(crate) async fn check_health(&self) -> Result<()> {
        let call = Call::new(Method::GET, path(&["healthz"], &[]));
        self.transport.send_once(&call).await.map(drop)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.transport.options
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn session(&self) -> Option<&SessionHeader> {
        self.session.as_ref()
    }

    fn call(&self, method: Method, path: String) -> Call {
        Call {
            session: self.session.clone(),
            ..Call::new(method, path)
        }
    }

    async fn send(&self, method: Method, path: String) -> Result<Answer> {
        self.transport.send(&self.call(method, path)).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: String,
        body: &impl Serialize,
    ) -> Result<Answer> {
        let call = self.call(method, path).with_body(body)?;
        self.transport.send(&call).await
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T> {
        self.send(Method::GET, path).await?.json()
    }

    /// Asks once, and lets the server wait for something to answer.
    pub(crate) async fn poll<T: DeserializeOwned>(
        &self,
        path: String,
        wait: Duration,
    ) -> Result<T> {
        let call = Call {
            wait,
            ..self.call(Method::GET, path)
        };
        self.transport.send_once(&call).await?.json()
    }
}
