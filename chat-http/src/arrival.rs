//! Connection by which a request arrived.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use http::Extensions;

/// Address at the other end of a connection: the client, or a proxy.
///
/// A host that mounts [`App`](crate::App) inserts it into the extensions of each request. With the
/// feature `axum`, `axum::extract::ConnectInfo<SocketAddr>` is read in its place. Limits count the
/// clients of requests without an address as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Facts about the connection of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Address at the other end, if it is known.
    pub(crate) peer: Option<IpAddr>,
    /// Listener that accepted the connection, if it is the server's own.
    pub(crate) listener: Option<Listener>,
}

/// The server's own listener, which speaks plain HTTP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    /// Set if it listens on the loopback interface alone.
    pub(crate) is_on_loopback: bool,
}

impl Arrival {
    /// A request that the program hands over, whoever accepted its connection.
    pub(crate) fn from_extensions(extensions: &Extensions) -> Self {
        let peer = peer(extensions);
        if peer.is_none() {
            static WARNING: Once = Once::new();
            WARNING.call_once(|| {
                tracing::warn!("requests have no PeerAddr; limits count all clients as one");
            });
        }
        Self {
            peer: peer.map(|peer| peer.ip()),
            listener: None,
        }
    }

    /// Returns true if the connection was accepted on the loopback interface alone.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.listener
            .is_some_and(|listener| listener.is_on_loopback)
    }
}

fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    if let Some(PeerAddr(peer)) = extensions.get() {
        return Some(*peer);
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(peer)) = extensions.get() {
        return Some(*peer);
    }
    None
}
