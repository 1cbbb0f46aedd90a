//! How fast frames are taken from one socket.

use std::time::Duration;

use tokio::time::Instant;

/// Frames a second, and how many may come at once.
const RATE: f64 = 100.0;
const BURST: f64 = 400.0;

/// A token bucket. A client that sends faster is not answered with errors: it is read more slowly,
/// until its own connection holds it back.
pub(super) struct Pace {
    tokens: f64,
    filled: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
        }
    }

    /// Counts a frame.
    pub(super) fn count(&mut self, now: Instant) {
        let earned = (now - self.filled).as_secs_f64() * RATE;
        *self = Self {
            tokens: (self.tokens + earned).min(BURST) - 1.0,
            filled: now,
        };
    }

    /// Until when nothing is read.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        let until = self.filled + Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / RATE);
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 0..BURST as usize {
            assert_eq!(pace.paused_until(start), None);
            pace.count(start);
        }
        let until = pace.paused_until(start).expect("a pause");
        assert!((until - start).as_secs_f64() <= 1.0 / RATE);
        assert_eq!(pace.paused_until(until + Duration::from_millis(1)), None);
        pace.count(until);
        assert!(
            pace.paused_until(until + Duration::from_millis(1))
                .is_some()
        );
        assert_eq!(pace.paused_until(start + Duration::from_secs(60)), None);
    }
}
