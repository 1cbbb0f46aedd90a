//! The application: a store, and everything that its requests share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chatcore::{ChatStore, Username};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authenticate::Authenticate;
use crate::claims::Claims;
use crate::config::{Guests, PublicUrl, Settings};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::paths::{Part, check_prefix};
use crate::row_cache::RowCache;

/// Time for open sockets to end after a shutdown began.
const GRACE: Duration = Duration::from_secs(8);

/// A chat application over a store: a [`tower_service::Service`] that answers HTTP requests.
///
/// A clone is another handle on the same. [`run`](crate::run) serves it on a listener of its own;
/// [`App::builder`] prepares it for a mount in another program.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: ChatStore,
    settings: Settings,
    prefix: String,
    parts: Vec<Part>,
    authenticate: Option<Arc<dyn Authenticate>>,
    allowed_origins: Vec<String>,
    branding: Branding,
    claims: Claims,
    limits: Limits,
    metrics: Metrics,
    rows: RowCache,
    /// Cancelled when the application stops.
    stopping: CancellationToken,
    /// Sockets that are open.
    sockets: TaskTracker,
}

/// Name and links of the program that the pages belong to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Branding {
    /// Name shown on all pages.
    pub(crate) name: Option<String>,
    /// The program's own page for logging in; `{next}` stands for the page to return to.
    pub(crate) log_in: Option<String>,
    /// The program's own page for logging out.
    pub(crate) log_out: Option<String>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("settings", &self.0.settings)
            .field("prefix", &self.0.prefix)
            .field("parts", &self.0.parts)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Serves `store` with every part of the chat, at the path of the public URL. The caller closes
    /// the store once the server has stopped.
    #[must_use]
    pub fn new(store: ChatStore, settings: Settings) -> Self {
        let prefix = settings
            .public_url
            .as_ref()
            .map_or("", PublicUrl::prefix)
            .to_owned();
        Self::builder(store).settings(settings).assemble(prefix)
    }

    /// Begins an application that is mounted in another program, or leaves some parts out.
    pub fn builder(store: ChatStore) -> AppBuilder {
        AppBuilder {
            store,
            settings: Settings::default(),
            prefix: None,
            parts: Part::ALL.into(),
            authenticate: None,
            allowed_origins: Vec::new(),
            branding: Branding::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// Ends the open sockets and event streams of a user, at every process that shares the store,
    /// and the user's sessions if there are any.
    ///
    /// A program with users of its own calls it when somebody logs out or loses an account. A
    /// request after that counts again if [`Authenticate`] names the user.
    ///
    /// # Errors
    ///
    /// The store does not answer; the call may be repeated.
    pub async fn end_sessions_of(&self, user: &Username) -> Result<(), chatcore::Error> {
        self.store().revoke(user).await
    }

    /// Ends all event streams, sockets and waiting polls, and waits until the sockets are closed,
    /// at most 8 seconds. Requests after that are answered as before, but none stays open.
    pub async fn shut_down(&self) {
        self.0.stopping.cancel();
        self.0.sockets.close();
        if timeout(GRACE, self.0.sockets.wait()).await.is_err() {
            tracing::warn!("some sockets were cut off by the shutdown");
        }
    }

    pub(crate) fn store(&self) -> &ChatStore {
        &self.0.store
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn rows(&self) -> &RowCache {
        &self.0.rows
    }

    /// Returns the path that every link begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.0.parts.contains(&part)
    }

    /// Returns the program's own way to tell who makes a request, if it has one.
    pub(crate) fn authenticate(&self) -> Option<&dyn Authenticate> {
        self.0.authenticate.as_deref()
    }

    /// Returns true if pages of this origin may do what the pages of the chat may.
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        let mut allowed = self.0.allowed_origins.iter();
        allowed.any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// Makes sure that nobody else can use the name of a user of the program: as a guest, or by
    /// registering it.
    pub(crate) async fn claim(&self, username: &Username) -> Result<(), chatcore::Error> {
        self.0.claims.ensure(self.store(), username).await
    }

    pub(crate) fn branding(&self) -> &Branding {
        &self.0.branding
    }

    /// Returns the token that is cancelled when the application stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Returns the tasks of the open sockets.
    pub(crate) fn sockets(&self) -> &TaskTracker {
        &self.0.sockets
    }
}

/// Prepares an [`App`]; see [`App::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct AppBuilder {
    store: ChatStore,
    settings: Settings,
    prefix: Option<String>,
    parts: Vec<Part>,
    authenticate: Option<Arc<dyn Authenticate>>,
    allowed_origins: Vec<String>,
    branding: Branding,
    stopping: CancellationToken,
}

impl AppBuilder {
    /// Sets how the application behaves.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Puts this path, such as `/community`, before all links, cookies and redirects.
    ///
    /// Requests are answered with the prefix and without it, so it makes no difference if the
    /// program's router removes it.
    pub fn mount_at(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Leaves a part out: its paths are answered with `404`.
    pub fn without(mut self, part: Part) -> Self {
        self.parts.retain(|other| *other != part);
        self
    }

    /// Has the program say who makes a request. Leaves [`Part::Accounts`] out.
    ///
    /// [`Guests::Allow`] then means no more than [`Guests::Read`]: nobody posts without a user.
    pub fn authenticate(mut self, authenticate: impl Authenticate) -> Self {
        self.authenticate = Some(Arc::new(authenticate));
        self
    }

    /// Lets pages of another origin, such as `https://app.example`, change things by the user's
    /// credentials. The program's CORS layer has to let them in too.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.allowed_origins.push(origin.into());
        self
    }

    /// Sets the name that pages show.
    pub fn brand(mut self, name: impl Into<String>) -> Self {
        self.branding.name = Some(name.into());
        self
    }

    /// Sets the program's own page for logging in. `{next}` in it is replaced by the path of the
    /// page to return to, percent-encoded: `/login?next={next}`.
    pub fn log_in_link(mut self, link: impl Into<String>) -> Self {
        self.branding.log_in = Some(link.into());
        self
    }

    /// Sets the program's own page for logging out.
    pub fn log_out_link(mut self, link: impl Into<String>) -> Self {
        self.branding.log_out = Some(link.into());
        self
    }

    /// Ends event streams, sockets and waiting polls when `token` is cancelled.
    /// [`App::shut_down`] waits for them.
    pub fn shutdown(mut self, token: &CancellationToken) -> Self {
        self.stopping = token.child_token();
        self
    }

    /// Makes the application.
    ///
    /// # Errors
    ///
    /// The prefix is no path, or begins as a route of the chat does, or differs from the path of
    /// the public URL; an allowed origin is none; or pages are wanted without a part they need.
    pub fn build(self) -> Result<App, BuildError> {
        let public = self.settings.public_url.as_ref().map(PublicUrl::prefix);
        let prefix = match (&self.prefix, public) {
            (Some(prefix), Some(public)) if !public.is_empty() && prefix != public => {
                return Err(BuildError(format!(
                    "the chat is mounted at {prefix}, but the path of its public URL is {public}"
                )));
            }
            (Some(prefix), _) => prefix.clone(),
            (None, public) => public.unwrap_or_default().to_owned(),
        };
        check_prefix(&prefix).map_err(BuildError)?;

        let mut origins = self.allowed_origins.iter();
        if let Some(origin) = origins.find(|origin| !is_origin(origin)) {
            return Err(BuildError(format!(
                "{origin} is no origin; one is a scheme and a host such as https://app.example"
            )));
        }

        let has = |part| self.parts.contains(&part);
        if has(Part::Pages) && !(has(Part::Json) && has(Part::Live)) {
            let reason = "the pages need the JSON routes, event streams and sockets";
            return Err(BuildError(reason.to_owned()));
        }
        Ok(self.assemble(prefix))
    }

    fn assemble(mut self, prefix: String) -> App {
        if self.authenticate.is_some() {
            self.parts.retain(|part| *part != Part::Accounts);
            if self.settings.guests == Guests::Allow {
                self.settings.guests = Guests::Read;
            }
        }
        App(Arc::new(Shared {
            claims: Claims::default(),
            limits: Limits::new(&self.settings),
            metrics: Metrics::default(),
            rows: RowCache::new(),
            store: self.store,
            settings: self.settings,
            prefix,
            parts: self.parts,
            authenticate: self.authenticate,
            allowed_origins: self.allowed_origins,
            branding: self.branding,
            stopping: self.stopping,
            sockets: TaskTracker::new(),
        }))
    }
}

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppBuilder")
            .field("settings", &self.settings)
            .field("prefix", &self.prefix)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

fn is_origin(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        let has_path = text.matches('/').count() > 2;
        uri.scheme().is_some() && uri.authority().is_some() && !has_path && uri.query().is_none()
    })
}

/// Reason why an [`App`] could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}
