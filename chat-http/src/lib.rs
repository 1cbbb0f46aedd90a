//! A small HTTP server around [`chatcore`]: JSON routes and pages.
//!
//! The binary `chat-http` is [`run`] with options from the command line. Another program can start
//! the same server on a listener and a store of its own:
//!
//! ```
//! use chat_http::{App, Settings};
//! use tokio::net::TcpListener;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("chat.db");
//! # let address = path.to_str().ok_or("path")?;
//! let store = chatcore::ChatStore::open(address).await?;
//! let app = App::new(store.clone(), Settings::default());
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let shutdown = async { /* until the program wants to stop */ };
//! chat_http::run(listener, app, shutdown).await;
//! store.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod address;
mod auth;
mod config;
mod error;
mod handlers;
mod host;
mod limits;
mod live;
mod metrics;
mod pages;
mod permits;
mod request;
mod response;
mod router;
mod server;
mod throttle;

use std::sync::Arc;

use chatcore::ChatStore;

pub use address::Proxies;
pub use config::{Config, Guests, PublicUrl, Settings, StoreAddress};
pub use host::AllowedHost;
pub use server::run;

/// What the server serves: a store, and how it behaves. A clone is another handle on the same.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: ChatStore,
    settings: Settings,
    limits: limits::Limits,
    metrics: metrics::Metrics,
    router: router::Router,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Serves `store`. Closing the store when the server has stopped is up to the caller.
    #[must_use]
    pub fn new(store: ChatStore, settings: Settings) -> Self {
        Self(Arc::new(Shared {
            limits: limits::Limits::new(&settings),
            metrics: metrics::Metrics::default(),
            router: router::Router::new(),
            store,
            settings,
        }))
    }

    fn store(&self) -> &ChatStore {
        &self.0.store
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn limits(&self) -> &limits::Limits {
        &self.0.limits
    }

    fn metrics(&self) -> &metrics::Metrics {
        &self.0.metrics
    }

    fn router(&self) -> &router::Router {
        &self.0.router
    }

    /// What every link of a page begins with.
    fn prefix(&self) -> &str {
        self.0
            .settings
            .public_url
            .as_ref()
            .map_or("", PublicUrl::prefix)
    }
}
