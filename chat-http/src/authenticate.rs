//! Users of the program that the chat is mounted in.

use std::error::Error;

use async_trait::async_trait;
use chatcore::Username;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

/// Answers who makes a request, in place of the sessions and passwords of the chat.
///
/// With [`AppBuilder::authenticate`](crate::AppBuilder::authenticate) the chat has no passwords, no
/// `/auth/…` and no log-in page. Whoever the hook names is the account of that name: their messages
/// are verified, and private rooms are theirs. A request for which it names nobody may read public
/// rooms, unless guests are denied.
///
/// A request that changes something is refused before the hook is asked if a page of another site
/// made it, because the browser sends the program's cookies along.
///
/// ```
/// use chat_http::{Authenticate, Identity, async_trait};
///
/// /// Trusts a header that a proxy sets.
/// struct ProxyUser;
///
/// #[async_trait]
/// impl Authenticate for ProxyUser {
///     async fn authenticate(
///         &self,
///         head: &http::request::Parts,
///     ) -> Result<Option<Identity>, Box<dyn std::error::Error + Send + Sync>> {
///         let Some(name) = head.headers.get("x-user") else {
///             return Ok(None);
///         };
///         Ok(Some(Identity::new(name.to_str()?.parse()?)))
///     }
/// }
/// ```
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// Returns the user who makes a request, or `None` for somebody who is not logged in.
    ///
    /// Called at most once for each request, and only where the answer matters.
    ///
    /// # Errors
    ///
    /// Any error is logged and answered with `503`: it is not known who makes the request.
    async fn authenticate(
        &self,
        head: &Parts,
    ) -> Result<Option<Identity>, Box<dyn Error + Send + Sync>>;
}

/// A user of the program, by the name that the chat shows.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) username: Username,
    pub(crate) ended: Option<CancellationToken>,
}

impl Identity {
    /// A user whose open sockets and event streams end with
    /// [`App::end_sessions_of`](crate::App::end_sessions_of).
    #[must_use]
    pub fn new(username: Username) -> Self {
        Self {
            username,
            ended: None,
        }
    }

    /// Has the sockets and event streams that this request opens end when `token` is cancelled, as
    /// a program does that has a token for each session of its own.
    #[must_use]
    pub fn until(mut self, token: CancellationToken) -> Self {
        self.ended = Some(token);
        self
    }
}

/// Reads an [`Identity`] from the extensions of a request, where a layer of the program put it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromExtensions;

#[async_trait]
impl Authenticate for FromExtensions {
    async fn authenticate(
        &self,
        head: &Parts,
    ) -> Result<Option<Identity>, Box<dyn Error + Send + Sync>> {
        Ok(head.extensions.get().cloned())
    }
}
