//! How many connections there may be, in all and from one address.

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

/// Connections at once, where the system has files for so many.
const MOST: usize = 16_384;
/// Files kept for the store and everything else.
const RESERVED: u64 = 128;
/// Refused connections that are read from until they hear of it. More are cut off.
const REFUSALS: usize = 64;
const GOODBYE: Duration = Duration::from_secs(1);
const REFUSED: &str = "HTTP/1.1 429 Too Many Requests\r\n\
    content-type: application/problem+json\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 101\r\n\r\n\
    {\"title\":\"Too Many Requests\",\"status\":429,\"detail\":\"too many connections come from this address\"}    ";

/// The places for connections.
pub(super) struct ConnectionLimit {
    all: Arc<Semaphore>,
    most: usize,
    by_network: NetworkLimit,
    /// Speak for many.
    proxies: Vec<Proxies>,
    refusals: Arc<Semaphore>,
}

/// A place in all; free again when it is dropped.
pub(super) struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// As many places as the system has files for.
fn count() -> usize {
    let files = rlimit::Resource::NOFILE
        .get_soft()
        .unwrap_or(u64::MAX)
        .saturating_sub(RESERVED);
    usize::try_from(files).unwrap_or(MOST).clamp(16, MOST)
}

/// How many connections a network may have: one address a quarter of all if the settings do not
/// say, and a wide IPv6 network never more than half, because others need the rest.
pub(crate) fn allowance(settings: &Settings) -> Allowance {
    let all = count();
    let each = settings.connections_per_address.unwrap_or(all / 4);
    Allowance {
        each,
        widest: all / 2,
        all,
    }
}

impl ConnectionLimit {
    pub(super) fn new(settings: &Settings) -> Self {
        let most = count();
        Self {
            all: Arc::new(Semaphore::new(most)),
            most,
            by_network: NetworkLimit::new(allowance(settings)),
            proxies: settings.trusted_proxies.clone(),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        }
    }

    /// Waits for a place; until there is one, connections wait in the system's queue.
    pub(super) async fn take(&self) -> Option<Place> {
        self.all.clone().acquire_owned().await.ok().map(Place)
    }

    /// Whether more than half of the places are taken.
    pub(super) fn are_scarce(&self) -> bool {
        self.all.available_permits() < self.most / 2
    }

    /// Takes one of the places of an address, unless they are all taken.
    pub(super) fn share(&self, peer: SocketAddr) -> Option<NetworkPermit> {
        if is_trusted(&self.proxies, peer.ip()) {
            return Some(NetworkPermit::unlimited());
        }
        self.by_network.take(Network::from(peer.ip()))
    }

    /// Tells a client that its address has no place left. Reads what it had to say, for a while:
    /// closing a connection with something unread would take the answer back.
    pub(super) fn refuse(&self, mut stream: TcpStream, place: Place) {
        let Ok(turn) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let goodbye = async {
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
            let _ = timeout(GOODBYE, goodbye).await;
            drop((place, turn));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_a_proxy_has_no_limit() {
        let settings = Settings {
            connections_per_address: Some(2),
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..Settings::default()
        };
        let places = ConnectionLimit::new(&settings);
        let peer = |text: &str| SocketAddr::new(text.parse().expect("an address"), 1);
        let first = places.share(peer("192.0.2.1")).expect("a place");
        let _second = places.share(peer("192.0.2.1")).expect("a place");
        assert!(places.share(peer("192.0.2.1")).is_none());
        assert!(places.share(peer("192.0.2.2")).is_some());
        drop(first);
        assert!(places.share(peer("192.0.2.1")).is_some(), "free again");
        let many: Vec<_> = (0..100).map(|_| places.share(peer("10.1.2.3"))).collect();
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
