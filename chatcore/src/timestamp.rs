//! Points in time, in microseconds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use serde::{Serialize, Serializer};

use crate::error::Invalid;
use crate::value::parsed_value;

/// A point in time: whole microseconds since 1970-01-01T00:00:00Z, within the years 0000 to 9999,
/// which are those that RFC 3339 can write.
///
/// Written as RFC 3339 in UTC with six fractional digits and `Z`. Read from any RFC 3339 text,
/// rounded down to the microsecond; a text without an offset is taken as UTC, and a space where
/// the `+` of an offset belongs is taken as that `+`, because that is what becomes of an
/// unescaped `+` in a query string.
///
/// ```
/// let t: chatcore::Timestamp = "2026-11-22T22:07:52.5 02:00".parse()?;
/// assert_eq!(t.to_string(), "2026-11-22T20:07:52.500000Z");
/// # Ok::<(), chatcore::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first point in time: `0000-01-01T00:00:00.000000Z`.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// The last point in time: `9999-12-31T23:59:59.999999Z`.
    pub const MAX: Self = Self(253_402_300_799_999_999);
    /// The Unix epoch: `1970-01-01T00:00:00.000000Z`.
    pub const EPOCH: Self = Self(0);

    /// Returns the time `micros` microseconds after the Unix epoch; `None` if it is outside of
    /// [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < Self::MIN.0 || micros > Self::MAX.0 {
            None
        } else {
            Some(Self(micros))
        }
    }

    /// Returns the time nearest to `micros` microseconds after the Unix epoch.
    const fn nearest(micros: i64) -> Self {
        match Self::from_micros(micros) {
            Some(time) => time,
            None if micros < 0 => Self::MIN,
            None => Self::MAX,
        }
    }

    /// Returns the time so much later, at most [`MAX`](Self::MAX).
    pub(crate) const fn plus_micros(self, micros: u32) -> Self {
        Self::nearest(self.0 + micros as i64)
    }

    /// Returns the time so much earlier, at least [`MIN`](Self::MIN).
    pub(crate) const fn minus_micros(self, micros: u32) -> Self {
        Self::nearest(self.0 - micros as i64)
    }

    /// Returns the time so much earlier, at least [`MIN`](Self::MIN).
    pub(crate) fn minus(self, duration: Duration) -> Self {
        Self::nearest(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns the microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the time that the system clock shows.
    #[must_use]
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self::nearest(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Err(before) => Self::EPOCH.minus(before.duration()),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = DateTime::from_timestamp_micros(self.0).ok_or(fmt::Error)?;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.timestamp_subsec_micros()
        )
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = || {
            Invalid::new(
                "since",
                "must be an RFC 3339 timestamp such as 2026-11-22T20:07:52.743123Z",
            )
        };

        // Only the space before an offset is a lost `+`; the one between date and time is not.
        let mut text = Cow::Borrowed(text);
        if let Some(at) = text.rfind(' ').filter(|&at| at > "2026-11-22".len()) {
            text.to_mut().replace_range(at..=at, "+");
        }

        let parsed = DateTime::parse_from_rfc3339(&text)
            .map(|t| t.to_utc())
            .or_else(|_| {
                NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f")
                    .or_else(|_| NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f"))
                    .map(|t| t.and_utc())
            })
            .map_err(|_| refused())?;

        // An offset may lead out of the years that can be written back.
        Self::from_micros(parsed.timestamp_micros()).ok_or_else(refused)
    }
}

parsed_value!(Timestamp);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Invalid> {
        text.parse::<Timestamp>().map(|t| t.to_string())
    }

    #[test]
    fn every_rfc3339_form_is_read_and_one_is_written() {
        for (text, expected) in [
            ("2026-11-22T20:07:52.743123Z", "2026-11-22T20:07:52.743123Z"),
            ("2026-11-22t20:07:52z", "2026-11-22T20:07:52.000000Z"),
            (
                "2026-11-22T20:07:52.743123+00:00",
                "2026-11-22T20:07:52.743123Z",
            ),
            (
                "2026-11-22T20:07:52.743123 00:00",
                "2026-11-22T20:07:52.743123Z",
            ),
            ("2026-11-22 20:07:52 02:00", "2026-11-22T18:07:52.000000Z"),
            ("2026-11-22T20:07:52-05:30", "2026-11-23T01:37:52.000000Z"),
            ("2026-11-22T20:07:52", "2026-11-22T20:07:52.000000Z"),
            ("2026-11-22 20:07:52.5", "2026-11-22T20:07:52.500000Z"),
            (
                "2026-11-22T20:07:52.1234567899Z",
                "2026-11-22T20:07:52.123456Z",
            ),
            (
                "1969-12-31T23:59:59.9999999Z",
                "1969-12-31T23:59:59.999999Z",
            ),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
            (
                "9999-12-31T23:59:59.9999999Z",
                "9999-12-31T23:59:59.999999Z",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_timestamp_can_be_written_and_read() {
        for time in [
            Timestamp::MIN,
            Timestamp::EPOCH,
            Timestamp::now(),
            Timestamp::MAX,
        ] {
            assert_eq!(time.to_string().parse(), Ok(time));
            assert_eq!(Timestamp::from_micros(time.as_micros()), Some(time));
        }

        let (first, last) = (Timestamp::MIN.as_micros(), Timestamp::MAX.as_micros());
        for micros in [i64::MIN, first - 1, last + 1, i64::MAX] {
            assert_eq!(Timestamp::from_micros(micros), None);
        }
        assert_eq!(Timestamp::MAX.plus_micros(u32::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.minus(Duration::MAX), Timestamp::MIN);
        assert_eq!(
            Timestamp::EPOCH.minus(Duration::from_secs(1)).as_micros(),
            -1_000_000
        );
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-11-22T25:00:00Z",
            "12026-01-01T00:00:00Z",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-11-22T20:07:52Z junk",
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.field, "since");
        }
    }
}
