//! Pauses between attempts.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// Pauses that double, each random from its half up, so that clients which were cut off together do
/// not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            next: FIRST.min(longest),
            longest,
        }
    }

    /// Begins anew after an attempt that succeeded.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.longest);
    }

    /// Returns the next pause: at least `retry_after`, if the server named one.
    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let pause = self.next.mul_f64(0.5 + random() / 2.0);
        self.next = (self.next * 2).min(self.longest);
        // Random above the time that the server named too, for the same reason.
        pause + retry_after.unwrap_or_default()
    }
}

/// Returns a random number from 0 to 1.
fn random() -> f64 {
    // Without a source of random numbers the pauses only lose their spread.
    let number = getrandom::u32().unwrap_or(u32::MAX);
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_honour_the_server() {
        let longest = Duration::from_secs(1);
        let mut backoff = Backoff::new(longest);
        let mut expected = FIRST;
        for _ in 0..10 {
            let pause = backoff.pause(None);
            assert!(pause >= expected / 2 && pause <= expected, "{pause:?}");
            expected = (expected * 2).min(longest);
        }

        let named = Duration::from_secs(7);
        let pause = backoff.pause(Some(named));
        assert!(pause >= named && pause <= named + longest, "{pause:?}");

        backoff.reset();
        assert!(backoff.pause(None) <= FIRST);
    }

    #[test]
    fn pauses_are_spread() {
        let pauses: Vec<_> = (0..100).map(|_| Backoff::new(FIRST).pause(None)).collect();
        assert!(pauses.iter().any(|pause| *pause < FIRST.mul_f64(0.6)));
        assert!(pauses.iter().any(|pause| *pause > FIRST.mul_f64(0.9)));
    }
}
