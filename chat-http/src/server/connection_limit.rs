//! Limit of connections, in all and from one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::address::{Network, Proxies, is_trusted};
use crate::config::Settings;
use crate::permits::{Allowance, NetworkLimit, NetworkPermit};

/// Refused connections that are told why. More are cut off.
const MAX_REFUSALS: usize = 64;
/// Time for which a refused connection is read from.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSED: &str = "HTTP/1.1 429 Too Many Requests\r\n\
    content-type: application/problem+json\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 101\r\n\r\n\
    {\"title\":\"Too Many Requests\",\"status\":429,\"detail\":\"too many connections come from this address\"}    ";

pub(super) struct ConnectionLimit {
    all: Arc<Semaphore>,
    max_connections: usize,
    by_network: NetworkLimit,
    /// Proxies, which speak for many clients and have no limit.
    proxies: Vec<Proxies>,
    refusals: Arc<Semaphore>,
}

/// Permit for one connection; given back when it is dropped.
pub(super) struct Permit(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl ConnectionLimit {
    pub(super) fn new(settings: &Settings) -> Self {
        let max_connections = settings.max_connections;
        Self {
            all: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            by_network: NetworkLimit::new(Allowance::of_connections(settings)),
            proxies: settings.trusted_proxies.clone(),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// Waits for a permit; until there is one, connections wait in the system's queue.
    pub(super) async fn acquire(&self) -> Option<Permit> {
        self.all.clone().acquire_owned().await.ok().map(Permit)
    }

    /// Returns true if more than half of the permits are taken.
    pub(super) fn is_scarce(&self) -> bool {
        self.all.available_permits() < self.max_connections / 2
    }

    /// Takes one of the permits of an address, unless they are all taken.
    pub(super) fn acquire_for(&self, peer: SocketAddr) -> Option<NetworkPermit> {
        if is_trusted(&self.proxies, peer.ip()) {
            return Some(NetworkPermit::unlimited());
        }
        self.by_network.take(Network::from(peer.ip()))
    }

    /// Tells a client that its address has no permit left. Reads what it sent, for a while:
    /// closing a connection with something unread would take the answer back.
    pub(super) fn refuse(&self, mut stream: TcpStream, permit: Permit) {
        let Ok(turn) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let refusal = async {
                stream.write_all(REFUSED.as_bytes()).await?;
                stream.shutdown().await?;
                let mut rest = [0; 1_024];
                for _ in 0..64 {
                    if stream.read(&mut rest).await? == 0 {
                        break;
                    }
                }
                Ok::<_, io::Error>(())
            };
            let _ = timeout(REFUSAL_TIMEOUT, refusal).await;
            drop((permit, turn));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_limit_and_a_proxy_has_no_limit() {
        let settings = Settings {
            connections_per_address: Some(2),
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..Settings::default()
        };
        let limit = ConnectionLimit::new(&settings);
        let peer = |text: &str| SocketAddr::new(text.parse().expect("an address"), 1);
        let first = limit.acquire_for(peer("192.0.2.1")).expect("a permit");
        let _second = limit.acquire_for(peer("192.0.2.1")).expect("a permit");
        assert!(limit.acquire_for(peer("192.0.2.1")).is_none());
        assert!(limit.acquire_for(peer("192.0.2.2")).is_some());
        drop(first);
        assert!(limit.acquire_for(peer("192.0.2.1")).is_some(), "free again");
        let many: Vec<_> = (0..100)
            .map(|_| limit.acquire_for(peer("10.1.2.3")))
            .collect();
        assert!(many.iter().all(Option::is_some));
    }

    #[test]
    fn the_refusal_is_whole() {
        let (head, body) = REFUSED.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
