//! Limits of rates: token buckets, one alone or one for each caller in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::address::{Network, Tier};

/// Buckets remembered. A full one need not be.
const MAX_BUCKETS: usize = 50_000;

/// Rate at which a bucket is filled, and its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Tokens a second; 0 is no limit.
    pub(crate) per_second: f64,
    /// Tokens of a full bucket.
    pub(crate) burst: f64,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBucket {
    /// Tokens at the time of `filled`; below zero if more were [spent](Self::spend) than there
    /// were.
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// Returns a full bucket.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            filled: now,
        }
    }

    fn tokens(&self, rate: Rate, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.filled).as_secs_f64() * rate.per_second;
        (self.tokens + earned).min(rate.burst)
    }

    /// Takes a fraction of a token, from 0 to 1, or returns how long until it is there.
    fn take(&mut self, rate: Rate, fraction: f64, now: Instant) -> Result<(), Duration> {
        let tokens = self.tokens(rate, now);
        *self = Self {
            tokens,
            filled: now,
        };
        if tokens < fraction {
            return Err(Duration::from_secs_f64(
                (fraction - tokens) / rate.per_second,
            ));
        }
        self.tokens -= fraction;
        Ok(())
    }

    /// Takes a token whether it is there or not.
    pub(crate) fn spend(&mut self, rate: Rate, now: Instant) {
        *self = Self {
            tokens: self.tokens(rate, now) - 1.0,
            filled: now,
        };
    }

    /// Returns when there will be a token, or `None` if there is one now.
    pub(crate) fn empty_until(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let missing = (1.0 - self.tokens).max(0.0);
        let until = self.filled + Duration::from_secs_f64(missing / rate.per_second);
        (until > now).then_some(until)
    }

    fn give_back(&mut self, rate: Rate, fraction: f64) {
        self.tokens = (self.tokens + fraction).min(rate.burst);
    }
}

/// A bucket for each key.
pub(crate) struct Buckets<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, TokenBucket>>,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Returns buckets that hold `burst` tokens and get `rate` a second.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self {
            rate: Rate { per_second, burst },
            buckets: Mutex::default(),
        }
    }

    /// Takes a token, or returns how long until there is one.
    pub(crate) fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_fraction(key, 1.0, Instant::now())
    }

    /// Takes a fraction of a token, from 0 to 1.
    fn take_fraction(&self, key: &K, fraction: f64, now: Instant) -> Result<(), Duration> {
        if self.rate.per_second == 0.0 {
            return Ok(());
        }

        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(key) {
            self.make_room(&mut buckets, now);
        }
        buckets
            .entry(key.clone())
            .or_insert_with(|| TokenBucket::new(self.rate, now))
            .take(self.rate, fraction, now)
    }

    fn give_back_fraction(&self, key: &K, fraction: f64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.give_back(self.rate, fraction);
        }
    }

    /// Returns true if there is no token left.
    pub(crate) fn is_empty(&self, key: &K) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .get(key)
            .is_some_and(|bucket| bucket.tokens(self.rate, Instant::now()) < 1.0)
    }

    /// Forgets the buckets that are full again, and if that is not enough, the fuller half: whoever
    /// comes next is never refused for what others do.
    fn make_room(&self, buckets: &mut HashMap<K, TokenBucket>, now: Instant) {
        let level = |bucket: &TokenBucket| bucket.tokens(self.rate, now);
        buckets.retain(|_, bucket| level(bucket) < self.rate.burst);
        if buckets.len() < MAX_BUCKETS {
            return;
        }

        let mut levels: Vec<f64> = buckets.values().map(level).collect();
        let middle = levels.len() / 2;
        let (_, median, _) = levels.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        buckets.retain(|_, bucket| level(bucket) < median);
        // All alike.
        if buckets.len() >= MAX_BUCKETS {
            buckets.clear();
        }
    }
}

/// Buckets for each network. A wider network around it holds more tokens, so that a client with
/// many networks has not as many allowances; what is taken is taken from all of them, or from none.
pub(crate) struct NetworkBuckets<K = ()>(Buckets<(K, IpNet)>);

impl<K: Eq + Hash + Clone> NetworkBuckets<K> {
    /// Returns buckets that hold `burst` tokens for one client and get `rate` a second.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self(Buckets::new(per_second, burst))
    }

    /// Takes a token from each tier, or none and returns how long until all have one.
    pub(crate) fn take(&self, key: &K, from: Network) -> Result<(), Duration> {
        let now = Instant::now();
        for (taken, tier) in from.tiers().enumerate() {
            if let Err(wait) =
                self.0
                    .take_fraction(&(key.clone(), tier.network), fraction(tier), now)
            {
                self.return_to(key, from.tiers().take(taken));
                return Err(wait);
            }
        }
        Ok(())
    }

    /// Puts a token back, for what was done after all without cause for a limit.
    pub(crate) fn give_back(&self, key: &K, from: Network) {
        self.return_to(key, from.tiers());
    }

    fn return_to(&self, key: &K, tiers: impl Iterator<Item = Tier>) {
        for tier in tiers {
            self.0
                .give_back_fraction(&(key.clone(), tier.network), fraction(tier));
        }
    }
}

/// Returns the price for a client in a tier. All tiers have buckets of one size, and wider ones
/// cost less.
fn fraction(tier: Tier) -> f64 {
    1.0 / f64::from(tier.allowances)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    impl<K: Eq + Hash + Clone> Buckets<K> {
        fn take_at(&self, key: &K, now: Instant) -> Result<(), Duration> {
            self.take_fraction(key, 1.0, now)
        }
    }

    #[test]
    fn a_customer_with_many_networks_has_not_as_many_allowances() {
        let buckets = NetworkBuckets::new(0.001, 10.0);
        let network = |part_48: u16, part_56: u8, part_64: u8| {
            let last = u16::from_be_bytes([part_56, part_64]);
            Network::from(IpAddr::from([0x2001, 0xdb8, part_48, last, 0, 0, 0, 1]))
        };
        let taken = |from: &dyn Fn(u8) -> Network| {
            let tries = (0..2_560_u16).map(|i| from((i % 256) as u8));
            tries
                .filter(|from| buckets.take(&(), *from).is_ok())
                .count()
        };
        assert_eq!(taken(&|_| network(1, 0, 0)), 10, "one network of 64 bits");
        assert_eq!(taken(&|i| network(1, 0, i)), 40 - 10, "one of 56");
        assert_eq!(taken(&|i| network(1, i, 1)), 160 - 40, "one of 48");
        assert_eq!(taken(&|_| network(2, 0, 0)), 10, "another customer");
        for _ in 0..100 {
            buckets.give_back(&(), network(1, 0, 0));
            assert!(buckets.take(&(), network(1, 0, 0)).is_ok());
        }
        let v4 = |i: u8| {
            buckets
                .take(&(), Network::from(IpAddr::from([192, 0, 2, i])))
                .is_ok()
        };
        assert_eq!((0..20).filter(|_| v4(1)).count(), 10);
        assert!((2..200).all(v4), "nothing is wider than an address");
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let throttle = Buckets::new(10.0, 40.0);
        let start = Instant::now();
        assert!((0..40).all(|_| throttle.take_at(&"ann", start).is_ok()));
        assert_eq!(
            throttle.take_at(&"ann", start),
            Err(Duration::from_millis(100))
        );
        assert!(
            throttle.take_at(&"bob", start).is_ok(),
            "another user has another bucket"
        );
        let later = start + Duration::from_millis(150);
        assert!(throttle.take_at(&"ann", later).is_ok());
        assert!(throttle.take_at(&"ann", later).is_err());
        throttle.give_back_fraction(&"ann", 1.0);
        assert!(throttle.take_at(&"ann", later).is_ok());
        let rested = start + Duration::from_secs(100);
        assert_eq!(
            (0..50)
                .filter(|_| throttle.take_at(&"ann", rested).is_ok())
                .count(),
            40
        );
        assert!((0..1_000).all(|_| Buckets::new(0.0, 0.0).take_at(&"ann", start).is_ok()));
    }

    #[test]
    fn a_bucket_that_is_overdrawn_is_empty_for_longer() {
        let rate = Rate {
            per_second: 100.0,
            burst: 400.0,
        };
        let start = Instant::now();
        let mut bucket = TokenBucket::new(rate, start);
        for _ in 0..400 {
            assert_eq!(bucket.empty_until(rate, start), None);
            bucket.spend(rate, start);
        }

        let until = bucket.empty_until(rate, start).expect("a pause");
        assert_eq!(until - start, Duration::from_millis(10));
        let later = until + Duration::from_millis(1);
        assert_eq!(bucket.empty_until(rate, later), None);
        bucket.spend(rate, until);
        assert!(bucket.empty_until(rate, later).is_some());
        let rested = start + Duration::from_secs(60);
        assert_eq!(bucket.empty_until(rate, rested), None);
    }

    #[test]
    fn memory_is_bounded_and_a_newcomer_is_not_refused() {
        let throttle = Buckets::new(0.001, 2.0);
        let start = Instant::now();
        assert!(
            throttle.take_at(&usize::MAX, start).is_ok()
                && throttle.take_at(&usize::MAX, start).is_ok()
        );
        for key in 0..MAX_BUCKETS * 2 + 10 {
            assert!(throttle.take_at(&key, start).is_ok(), "{key}");
            assert!(throttle.buckets.lock().unwrap().len() <= MAX_BUCKETS);
        }
    }
}
