//! How fast tokens come, and how long a silence is still no stall.
//!
//! The rule is that of TCP's retransmission timer (RFC 6298, section 2), on the gaps between chunks in place of round
//! trips: a smoothed mean and a smoothed deviation, so that a provider is measured by its own pace. A false alarm costs a
//! second prefill and a late one only time, so the wait is a multiple of what TCP would wait.

use crate::units::{Millis, Timestamp};

/// How many times longer than mean and four deviations a gap must be to be a stall.
const STALL_FACTOR: u64 = 8;

/// The gaps between chunks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    last: Option<Timestamp>,
    gaps: Option<Gaps>,
}

/// In fractions of a millisecond, so that integers lose nothing that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gaps {
    /// Eight times the mean.
    mean8: u64,
    /// Four times the mean deviation.
    deviation4: u64,
}

impl Pace {
    /// A chunk came at `now`.
    pub fn note(&mut self, now: Timestamp) {
        if let Some(last) = self.last.replace(now) {
            let gap = now.since(last).0;
            self.gaps = Some(self.gaps.map_or_else(|| Gaps::first(gap), |gaps| gaps.and(gap)));
        }
    }

    /// How long after the last chunk a silence is a stall: never before `least`, always after `most`, which is also what
    /// is waited as long as no gap is known.
    #[must_use]
    pub fn patience(&self, least: Millis, most: Millis) -> Millis {
        let wait = self.gaps.map_or(u64::MAX, |gaps| gaps.wait());
        Millis(wait.clamp(least.0.min(most.0), most.0))
    }
}

impl Gaps {
    fn first(gap: u64) -> Self {
        // The deviation is half of the first gap.
        Self { mean8: gap.saturating_mul(8), deviation4: gap.saturating_mul(2) }
    }

    fn and(self, gap: u64) -> Self {
        let mean = self.mean8 / 8;
        let deviation4 = (self.deviation4 - self.deviation4 / 4).saturating_add(gap.abs_diff(mean));
        Self { mean8: (self.mean8 - mean).saturating_add(gap), deviation4 }
    }

    fn wait(self) -> u64 {
        (self.mean8 / 8).saturating_add(self.deviation4).saturating_mul(STALL_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: Millis = Millis(2_000);
    const MOST: Millis = Millis(20_000);

    fn after(gaps: &[u64]) -> Millis {
        let (mut pace, mut now) = (Pace::default(), 1_000);
        pace.note(Timestamp(now));
        for gap in gaps {
            now += gap;
            pace.note(Timestamp(now));
        }
        pace.patience(LEAST, MOST)
    }

    #[test]
    fn the_wait_follows_the_providers_own_pace_between_floor_and_ceiling() {
        assert_eq!(after(&[]), MOST, "nothing is known of its pace");
        assert_eq!(after(&[10; 20]), LEAST, "a fast one is given the least");
        assert_eq!(after(&[5_000; 20]), MOST, "a slow one no more than the most");
        let steady = after(&[400; 40]);
        assert!((3_200..3_300).contains(&steady.0), "eight gaps of a steady one: {steady:?}");
        assert!(after(&[100, 700, 100, 700, 100, 700]) > steady, "more of one that varies");
        assert_eq!(Pace::default().patience(Millis(9), Millis(3)), Millis(3), "the most wins");
    }

    #[test]
    fn clocks_that_stand_still_or_go_back_do_no_harm() {
        let mut pace = Pace::default();
        for now in [5, 5, 3, u64::MAX, 0, u64::MAX] {
            pace.note(Timestamp(now));
            assert!((LEAST..=MOST).contains(&pace.patience(LEAST, MOST)));
        }
    }

    proptest! {
        /// No gap that is at most twice the mean of a steady pace is ever a stall.
        #[test]
        fn a_steady_provider_is_never_taken_for_dead(gap in 1..10_000u64, jitter in 0..100u64, count in 1..60u64) {
            let gaps: Vec<u64> = (0..count).map(|i| gap + gap * jitter * (i % 2) / 100).collect();
            prop_assert!(after(&gaps).0 >= (2 * gap).min(MOST.0));
        }
    }
}
