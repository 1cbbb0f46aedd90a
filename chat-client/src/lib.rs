//! A client for [`chat-http`](https://docs.rs/chat-http).
//!
//! [`Client`] makes the calls: it logs in, posts, reads and changes messages. A call that failed
//! for a while, such as a post while the server restarts, is made again, and a post makes one
//! message however often it is sent. [`Client::follow`] follows rooms over one WebSocket as a
//! stream of [`Event`]s, and goes on after every interruption where it stopped: nothing is missed
//! and nothing comes twice. Where sockets are blocked it polls.
//!
//! ```
//! use chat_client::{Client, Event, Subscription};
//!
//! # use chat_http::{App, Settings};
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("chat.db");
//! # let store = chatcore::ChatStore::open(path.to_str().ok_or("path")?).await?;
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let url = format!("http://{}", listener.local_addr()?);
//! # let app = App::new(store, Settings::default());
//! # tokio::spawn(chat_http::run(listener, app, std::future::pending()));
//! let mut client = Client::connect(&url).await?;
//! client.log_in_guest("ann").await?;
//! client.post("general", "hello").await?;
//!
//! let mut events = client.follow([Subscription::from_start("general")]);
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event? {
//!         println!("{}: {}", message.sender, message.text);
//! #       assert_eq!((message.seq, message.text.as_str()), (1, "hello"));
//!         break;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Features
//!
//! - `client` (default): all of the above. Without it there are the [types of the wire](wire) alone,
//!   which need no HTTP stack.
//! - `tls`: `https` addresses, by rustls; [`Options::trust`] adds authorities to those of Mozilla.
//! - `schema`: JSON schemas of the types of the wire.

#![warn(missing_docs)]

#[cfg(feature = "client")]
mod backoff;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod follow;
#[cfg(feature = "client")]
mod options;
#[cfg(feature = "client")]
mod transport;
pub mod wire;

#[cfg(feature = "client")]
pub use client::{Client, Page, Post};
#[cfg(feature = "client")]
pub use error::{Error, Result};
#[cfg(feature = "client")]
pub use follow::{Event, Follower, Position, Subscription, Way};
#[cfg(feature = "client")]
pub use options::Options;
