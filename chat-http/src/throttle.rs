//! How often one user may post: a token bucket for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chatcore::Username;

use crate::error::{HttpError, Result};

/// A burst is this many seconds' worth of posts.
const BURST: f64 = 4.0;
/// Users remembered. A user who has not posted for [`BURST`] seconds need not be.
const MOST: usize = 50_000;

pub(crate) struct Throttle {
    /// Posts a second; 0 is no limit.
    rate: f64,
    users: Mutex<HashMap<Username, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Throttle {
    pub(crate) fn new(posts_a_second: u32) -> Self {
        Self { rate: posts_a_second.into(), users: Mutex::default() }
    }

    /// Takes one post from the user's allowance.
    pub(crate) fn check(&self, user: &Username) -> Result<()> {
        self.check_at(user, Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            HttpError::too_many_requests(format!("{user} posts too fast; wait {seconds} s"), seconds)
        })
    }

    fn check_at(&self, user: &Username, now: Instant) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let full = self.rate * BURST;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MOST && !users.contains_key(user) {
            users.retain(|_, bucket| (now - bucket.filled).as_secs_f64() < BURST);
            if users.len() >= MOST {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = users.entry(user.clone()).or_insert(Bucket { tokens: full, filled: now });
        let earned = (now - bucket.filled).as_secs_f64() * self.rate;
        *bucket = Bucket { tokens: (bucket.tokens + earned).min(full), filled: now };
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let throttle = Throttle::new(10);
        let (ann, bob) = ("ann".parse().expect("a name"), "bob".parse().expect("a name"));
        let start = Instant::now();
        assert!((0..40).all(|_| throttle.check_at(&ann, start).is_ok()));
        assert_eq!(throttle.check_at(&ann, start), Err(Duration::from_millis(100)));
        assert!(throttle.check_at(&bob, start).is_ok(), "another user has another bucket");
        let later = start + Duration::from_millis(150);
        assert!(throttle.check_at(&ann, later).is_ok());
        assert!(throttle.check_at(&ann, later).is_err());
        let rested = start + Duration::from_secs(100);
        assert_eq!((0..50).filter(|_| throttle.check_at(&ann, rested).is_ok()).count(), 40);
        assert!((0..1_000).all(|_| Throttle::new(0).check_at(&ann, start).is_ok()));
    }
}
