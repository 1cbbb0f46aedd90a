//! A client for [`chat-http`](https://crates.io/crates/chat-http): the types of the wire.

#![warn(missing_docs)]

pub mod wire;
