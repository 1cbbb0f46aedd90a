//! Limits of what each network holds at once: connections, open streams, passwords under check.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use crate::address::{Network, Tier};
use crate::config::Settings;

/// Most permits that may be held at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Most of one client; 0 is no limit at all.
    pub(crate) each: usize,
    /// Most of an IPv6 network that is wider than one client's, however many clients it could have.
    pub(crate) widest: usize,
    /// Most of all together.
    pub(crate) all: usize,
}

impl Allowance {
    /// Returns the connections that a network may have: one address a quarter of all if the
    /// settings do not say, and a wide IPv6 network never more than half, because others need the
    /// rest.
    pub(crate) fn of_connections(settings: &Settings) -> Self {
        let all = settings.max_connections;
        let each = settings.connections_per_address.unwrap_or(all / 4);
        Self {
            each,
            widest: all / 2,
            all,
        }
    }

    fn of(&self, tier: Tier) -> usize {
        let most = self.each.saturating_mul(usize::from(tier.allowances));
        if tier.allowances == 1 {
            most
        } else {
            most.min(self.widest.max(self.each))
        }
    }
}

/// Permits for each network and for the wider networks around it. A clone is another handle.
#[derive(Clone)]
pub(crate) struct NetworkLimit {
    allowance: Allowance,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Networks that hold nothing are left out.
    by_network: HashMap<IpNet, usize>,
}

/// Something that a network holds; given back when it is dropped.
pub(crate) struct NetworkPermit(Option<(NetworkLimit, Network)>);

impl NetworkLimit {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            taken: Arc::default(),
        }
    }

    /// Takes a permit, unless too many are taken in any tier.
    pub(crate) fn take(&self, from: Network) -> Option<NetworkPermit> {
        if self.allowance.each == 0 {
            return Some(NetworkPermit(None));
        }

        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken =
            |tier: Tier| taken.by_network.get(&tier.network) >= Some(&self.allowance.of(tier));
        if taken.all >= self.allowance.all || from.tiers().any(is_taken) {
            return None;
        }

        taken.all += 1;
        for tier in from.tiers() {
            *taken.by_network.entry(tier.network).or_default() += 1;
        }
        Some(NetworkPermit(Some((self.clone(), from))))
    }
}

impl NetworkPermit {
    /// Returns a permit that no limit counts.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }
}

impl Drop for NetworkPermit {
    fn drop(&mut self) {
        let Some((limit, from)) = &self.0 else { return };
        let mut taken = limit.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        for tier in from.tiers() {
            if let Some(n) = taken.by_network.get_mut(&tier.network) {
                *n -= 1;
                if *n == 0 {
                    taken.by_network.remove(&tier.network);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn a_wider_network_holds_more_and_never_as_many_as_it_has_networks() {
        let limit = NetworkLimit::new(Allowance {
            each: 2,
            widest: 20,
            all: 1_000,
        });
        let mut held = Vec::new();
        let mut take = |text: &str, times: usize| {
            let before = held.len();
            held.extend((0..times).filter_map(|_| limit.take(network(text))));
            held.len() - before
        };
        assert_eq!(take("192.0.2.1", 10), 2);
        assert_eq!(take("192.0.2.2", 10), 2);
        assert_eq!(take("2001:db8:1:1::1", 10), 2);
        let in_56: usize = (0..256)
            .map(|i| take(&format!("2001:db8:1:{i:x}::1"), 10))
            .sum();
        assert_eq!(in_56, 8 - 2);
        let in_48: usize = (0..256)
            .map(|i| take(&format!("2001:db8:1:{i:x}00::1"), 10))
            .sum();
        assert_eq!(in_48, 20 - 8);
        assert_eq!(take("2001:db8:2::1", 10), 2);
        drop(held);
        assert!(
            limit.take(network("2001:db8:1:1::1")).is_some(),
            "free again"
        );
        let taken = limit.taken.lock().expect("not poisoned");
        assert!(
            taken.all == 0 && taken.by_network.is_empty(),
            "nothing is kept of who has gone"
        );
    }

    #[test]
    fn all_together_have_a_limit_and_none_is_no_limit() {
        let limit = NetworkLimit::new(Allowance {
            each: 2,
            widest: 2,
            all: 3,
        });
        let held: Vec<_> = (0..10)
            .filter_map(|i| limit.take(network(&format!("192.0.2.{i}"))))
            .collect();
        assert_eq!(held.len(), 3);
        let limit = NetworkLimit::new(Allowance {
            each: 0,
            widest: 0,
            all: 0,
        });
        let held: Vec<_> = (0..10)
            .filter_map(|_| limit.take(network("192.0.2.1")))
            .collect();
        assert_eq!(held.len(), 10);
    }
}
