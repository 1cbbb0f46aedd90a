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
mod app;
mod arrival;
mod authenticate;
#[cfg(feature = "axum")]
mod axum_router;
mod body;
mod claims;
mod config;
mod cookies;
mod creating;
mod credentials;
mod direct;
mod error;
mod handlers;
mod host;
mod limits;
mod live;
mod metrics;
mod openapi;
mod origin;
mod own_sessions;
mod pages;
mod paths;
mod permits;
mod posting;
mod request;
mod request_body;
mod response;
mod revision;
mod router;
mod row_cache;
mod server;
mod service;
mod session_monitor;
mod texts;
mod throttle;
mod wire;
mod write_timeout;

pub use async_trait::async_trait;

pub use address::Proxies;
pub use app::{App, AppBuilder, BuildError};
pub use arrival::PeerAddr;
pub use authenticate::{Authenticate, FromExtensions, Identity};
pub use body::Body;
pub use config::{AllowedHost, Guests, PublicUrl, Settings};
pub use paths::Part;
pub use server::run;
pub use service::ResponseFuture;
