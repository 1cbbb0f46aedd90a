//! Measuring two things in turns, so that whatever else the machine does falls on both.

/// Extent of a run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// True if this is only a check that the benchmark works.
    pub short: bool,
    /// Number of times that each of two things is measured.
    pub rounds: usize,
}

impl Run {
    /// Reads the command line: `cargo bench` says `--bench`, `cargo test --benches` does not.
    #[must_use]
    pub fn from_arguments() -> Self {
        let arguments: Vec<_> = std::env::args().collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let short = !has("--bench") || has("--test");
        Self {
            short,
            rounds: if short { 1 } else { 9 },
        }
    }

    /// Returns the first amount in a short run, else the second.
    #[must_use]
    pub fn pick<T>(self, short: T, long: T) -> T {
        if self.short { short } else { long }
    }

    /// Returns true if one of several parts of a benchmark is asked for: all are, unless some of
    /// them are named.
    #[must_use]
    pub fn wants_of(self, parts: &[&str], part: &str) -> bool {
        let named: Vec<_> = std::env::args()
            .skip(1)
            .filter(|name| parts.contains(&name.as_str()))
            .collect();
        named.is_empty() || named.iter().any(|name| name == part)
    }

    /// Returns true if a part of a benchmark is asked for: all are, unless some are named.
    #[must_use]
    pub fn wants(self, part: &str) -> bool {
        let mut named = std::env::args()
            .skip(1)
            .filter(|argument| !argument.starts_with('-'))
            .peekable();
        named.peek().is_none() || named.any(|name| name == part)
    }
}

/// The middle one.
#[must_use]
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which this share of all lies.
#[must_use]
pub fn percentile(all: &mut [f64], share: f64) -> f64 {
    all.sort_by(f64::total_cmp);
    let at = (all.len() as f64 * share) as usize;
    all.get(at.min(all.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
