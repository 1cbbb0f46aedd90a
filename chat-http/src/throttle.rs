//! How often something may be done: a token bucket for each who does it, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets remembered. A full one need not be.
const MOST: usize = 50_000;

/// A bucket for each key.
pub(crate) struct Buckets<K> {
    /// Tokens a second; 0 is no limit.
    rate: f64,
    full: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Buckets that hold `burst` tokens and get `rate` a second.
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        Self { rate, full: burst, buckets: Mutex::default() }
    }

    /// Takes a token; without one, says how long until there is.
    pub(crate) fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: &K, now: Instant) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(key) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket { tokens: self.full, filled: now });
        *bucket = Bucket { tokens: self.tokens(bucket, now), filled: now };
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Puts a token back, for what was done after all without cause for a limit.
    pub(crate) fn give_back(&self, key: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.full);
        }
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(bucket.filled).as_secs_f64() * self.rate;
        (bucket.tokens + earned).min(self.full)
    }

    /// Forgets the buckets that are full again, and if that is not enough, the fuller half: whoever
    /// comes next is never refused for what others do.
    fn make_room(&self, buckets: &mut HashMap<K, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.tokens(bucket, now) < self.full);
        if buckets.len() < MOST {
            return;
        }
        let mut levels: Vec<f64> = buckets.values().map(|bucket| self.tokens(bucket, now)).collect();
        let middle = levels.len() / 2;
        let (_, median, _) = levels.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        buckets.retain(|_, bucket| self.tokens(bucket, now) < median);
        // All alike.
        if buckets.len() >= MOST {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let throttle = Buckets::new(10.0, 40.0);
        let start = Instant::now();
        assert!((0..40).all(|_| throttle.take_at(&"ann", start).is_ok()));
        assert_eq!(throttle.take_at(&"ann", start), Err(Duration::from_millis(100)));
        assert!(throttle.take_at(&"bob", start).is_ok(), "another user has another bucket");
        let later = start + Duration::from_millis(150);
        assert!(throttle.take_at(&"ann", later).is_ok());
        assert!(throttle.take_at(&"ann", later).is_err());
        throttle.give_back(&"ann");
        assert!(throttle.take_at(&"ann", later).is_ok());
        let rested = start + Duration::from_secs(100);
        assert_eq!((0..50).filter(|_| throttle.take_at(&"ann", rested).is_ok()).count(), 40);
        assert!((0..1_000).all(|_| Buckets::new(0.0, 0.0).take_at(&"ann", start).is_ok()));
    }

    #[test]
    fn memory_is_bounded_and_a_newcomer_is_not_refused() {
        let throttle = Buckets::new(0.001, 2.0);
        let start = Instant::now();
        assert!(throttle.take_at(&usize::MAX, start).is_ok() && throttle.take_at(&usize::MAX, start).is_ok());
        for key in 0..MOST * 2 + 10 {
            assert!(throttle.take_at(&key, start).is_ok(), "{key}");
            assert!(throttle.buckets.lock().unwrap().len() <= MOST);
        }
    }
}
