//! The lag of the change stream, measured by this process's own writes: each beat of the process
//! comes back through the stream, behind everything that was committed before it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest that a beat may take to come back while the stream counts as live.
const MAX_LAG: Duration = Duration::from_secs(1);
/// Beats remembered that did not come back. The oldest one tells the lag.
const MAX_OUTSTANDING: usize = 64;

/// The beats that were written, and those that came back.
#[derive(Debug, Default)]
pub(super) struct Echo(Mutex<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// The last beat that was written.
    written: i64,
    /// The last beat that came back.
    returned: i64,
    /// Beats that did not come back yet, and when each was written.
    outstanding: VecDeque<(i64, Instant)>,
    /// The beat with which the stream has caught up after it was resumed.
    caught_up_at: i64,
}

impl Echo {
    fn lock(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a beat is written, and will come back.
    pub(super) fn written(&self, beat: i64, at: Instant) {
        let mut beats = self.lock();
        beats.written = beat;
        if beat > beats.returned && beats.outstanding.len() < MAX_OUTSTANDING {
            beats.outstanding.push_back((beat, at));
        }
    }

    /// Takes note that a beat came back, and with it all before it.
    pub(super) fn returned(&self, beat: i64) {
        let mut beats = self.lock();
        beats.returned = beats.returned.max(beat);
        while beats
            .outstanding
            .front()
            .is_some_and(|(outstanding, _)| *outstanding <= beat)
        {
            beats.outstanding.pop_front();
        }
    }

    /// Takes note that a stream begins with what is committed now.
    pub(super) fn begin(&self) {
        let mut beats = self.lock();
        beats.outstanding.clear();
        beats.caught_up_at = 0;
    }

    /// Takes note that a stream begins with what was committed before: it is behind until a beat
    /// comes back that is yet to be written.
    pub(super) fn resume(&self) {
        let mut beats = self.lock();
        beats.caught_up_at = beats.written + 1;
    }

    /// Returns true if there may be commits older than [`MAX_LAG`] that the stream has not
    /// reported.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        let beats = self.lock();
        let is_late = |(_, at): &(i64, Instant)| now.saturating_duration_since(*at) > MAX_LAG;
        beats.returned < beats.caught_up_at || beats.outstanding.front().is_some_and(is_late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_behind_while_an_own_write_of_a_while_ago_has_not_come_back() {
        let (echo, start) = (Echo::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!echo.is_behind(at(0)));
        (1..=3).for_each(|beat| echo.written(beat, at(500 * beat.unsigned_abs())));
        assert!(!echo.is_behind(at(1_500)));
        assert!(echo.is_behind(at(1_501)));
        echo.returned(1);
        assert!(!echo.is_behind(at(2_000)) && echo.is_behind(at(2_001)));
        echo.returned(3);
        assert!(!echo.is_behind(at(100_000)));
        // A beat may come back before its write is answered.
        echo.returned(4);
        echo.written(4, at(100_000));
        assert!(!echo.is_behind(at(200_000)));
        // After a long silence the first beat tells how long it was.
        (5..1_000).for_each(|beat| echo.written(beat, at(300_000)));
        assert!(echo.lock().outstanding.len() <= MAX_OUTSTANDING);
        assert!(echo.is_behind(at(302_000)));
        echo.begin();
        assert!(!echo.is_behind(at(302_000)));
    }

    #[test]
    fn a_resumed_stream_is_behind_until_a_later_write_comes_back() {
        let (echo, start) = (Echo::default(), Instant::now());
        echo.written(1, start);
        echo.resume();
        echo.returned(1);
        assert!(echo.is_behind(start));
        echo.written(2, start);
        echo.returned(2);
        assert!(!echo.is_behind(start));
    }
}
