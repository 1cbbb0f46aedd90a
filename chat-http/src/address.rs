//! Address of the client of a request: the peer, or the one that a trusted proxy names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Proxies whose `X-Forwarded-For` counts: an address, or a network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxies(IpNet);

impl FromStr for Proxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| "must be an IP address, or a network such as 10.0.0.0/8".into())
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Network of a client, as limits count it: an IPv4 address, or an IPv6 network of 64 bits,
/// which is the least that one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpNet);

/// A network that counts for a client, and how many allowances of one client it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) network: IpNet,
    pub(crate) allowances: u16,
}

/// Prefix lengths of the IPv6 networks that count, the widest first: many a customer has one of 56
/// or 48 bits, in which there are 256 or 65,536 of those of 64.
const V6_TIERS: [(u8, u16); 3] = [(48, 16), (56, 4), (64, 1)];
const V4_TIERS: [(u8, u16); 1] = [(32, 1)];

impl Network {
    /// Returns the networks that count for the client: the widest first and its own last, so that a
    /// client whose wide network is refused leaves no trace of its many narrow ones.
    pub(crate) fn tiers(self) -> impl Iterator<Item = Tier> {
        let lengths = match self.0 {
            IpNet::V4(_) => &V4_TIERS[..],
            IpNet::V6(_) => &V6_TIERS[..],
        };
        lengths.iter().map(move |&(length, allowances)| {
            let network = IpNet::new(self.0.addr(), length).unwrap_or(self.0);
            Tier {
                network: network.trunc(),
                allowances,
            }
        })
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let own = IpNet::from(address);
        let length = if address.is_ipv6() { 64 } else { 32 };
        Self(IpNet::new(address, length).unwrap_or(own).trunc())
    }
}

pub(crate) fn is_trusted(proxies: &[Proxies], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|proxy| proxy.0.contains(&address))
}

/// Returns the client's address. Every proxy appends the address of its client to the right of
/// `X-Forwarded-For`. So a trusted proxy wrote the right-most address that is not one itself, and
/// any client may have written the entries left of it.
pub(crate) fn client(proxies: &[Proxies], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    if proxies.is_empty() {
        return client;
    }
    let all = headers.get_all(HeaderName::from_static("x-forwarded-for"));
    let listed: Vec<_> = all
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    let mut listed = listed.iter().flat_map(|list| list.split(',')).rev();
    while is_trusted(proxies, client)
        && let Some(before) = listed.next().and_then(address)
    {
        client = before.to_canonical();
    }
    client
}

/// Returns an address as proxies write it, some with the port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(proxies: &[&str], peer: &str, lists: &[&str]) -> String {
        let proxies: Vec<Proxies> = proxies
            .iter()
            .map(|text| text.parse().expect("proxies"))
            .collect();
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append("x-forwarded-for", list.parse().expect("a value"));
        }
        client(&proxies, peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_has_seen_counts() {
        let trusted = ["10.0.0.0/8", "::1"];
        for (proxies, peer, lists, client) in [
            (&[][..], "10.0.0.1", &["192.0.2.1"][..], "10.0.0.1"),
            (&trusted, "198.51.100.9", &["192.0.2.1"], "198.51.100.9"),
            (&trusted, "10.0.0.1", &[], "10.0.0.1"),
            (&trusted, "10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            (
                &trusted,
                "::ffff:10.0.0.1",
                &["192.0.2.1:4711"],
                "192.0.2.1",
            ),
            (&trusted, "::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            (&trusted, "::1", &["[2001:db8::1]"], "2001:db8::1"),
            // Entries further left were written by the client.
            (&trusted, "10.0.0.1", &["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
            (
                &trusted,
                "10.0.0.1",
                &["1.1.1.1", "192.0.2.1, 10.2.3.4"],
                "192.0.2.1",
            ),
            (&trusted, "10.0.0.1", &["10.9.9.9"], "10.9.9.9"),
            // An entry that cannot be read is counted against the proxy that sent it.
            (&trusted, "10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            (&trusted, "10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(
                found(proxies, peer, lists),
                client,
                "{proxies:?} {peer} {lists:?}"
            );
        }
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0"] {
            assert!(text.parse::<Proxies>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff::"));
        assert_ne!(network("2001:db8:1:2::3"), network("2001:db8:1:3::3"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));

        let tiers = |text: &str| {
            let tiers = network(text)
                .tiers()
                .map(|tier| (tier.network.to_string(), tier.allowances));
            tiers.collect::<Vec<_>>()
        };
        assert_eq!(tiers("192.0.2.1"), [("192.0.2.1/32".to_owned(), 1)]);
        let wide = [
            ("2001:db8:1::/48", 16),
            ("2001:db8:1:200::/56", 4),
            ("2001:db8:1:2ff::/64", 1),
        ];
        assert_eq!(
            tiers("2001:db8:1:2ff::3"),
            wide.map(|(network, n)| (network.to_owned(), n))
        );
    }
}
