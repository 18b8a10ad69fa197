//! How long something took, counted in fixed buckets.

use std::{fmt, time::Duration};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// The first bucket's upper end, in seconds.
const SHORTEST: f64 = 0.000_5;
/// Each bucket ends so many times later than the one before.
const STEP: f64 = 4.0;
/// Buckets: the last ends after 131 seconds, and what is longer is counted behind it.
const BUCKETS: u16 = 10;

/// Durations, counted. Clones count together.
#[derive(Clone)]
pub struct Times(Histogram);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(SHORTEST, STEP, BUCKETS)))
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times").finish_non_exhaustive()
    }
}

impl Times {
    /// Counts one.
    pub fn add(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    pub(super) fn histogram(&self) -> &Histogram {
        &self.0
    }
}
