//! A token bucket. Pure: time is an input.

use std::time::{Duration, Instant};

/// What may be spent, as the time at which all of it will be back. What is spent, and the most that can be, are times as
/// well: of a bucket of 5 tokens of which one comes back in each second, a token is a second, and the most 5 s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether nothing is missing.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Whether `cost` is left of `most`.
    pub(super) fn affords(&self, cost: Duration, most: Duration, now: Instant) -> bool {
        self.full_at.max(now) + cost <= now + most
    }

    /// Takes `cost`.
    pub(super) fn spend(&mut self, cost: Duration, now: Instant) {
        self.full_at = self.full_at.max(now) + cost;
    }

    /// Takes `cost` if it is left of `most`.
    pub(super) fn take(&mut self, cost: Duration, most: Duration, now: Instant) -> bool {
        let affords = self.affords(cost, most, now);
        if affords {
            self.spend(cost, now);
        }
        affords
    }
}
