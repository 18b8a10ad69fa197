//! Sums up samples that fade: what was measured long ago, or many samples ago, says less.
//!
//! The mean weighs the newest sample by 1, each earlier one by 7/8 of the one after it, and all by half for every
//! half-life of their age. A sample counts in it for at most [`CLIP`] medians, so that one slow run moves a mean and
//! does not decide it; slow runs that go on move the median, and the mean follows. The percentile is the nearest rank,
//! but never the slowest of two or more samples: one slow run is forgiven.
//!
//! All integers, so that every node computes the same.

use crate::units::{Millis, Timestamp};

/// How far above the median a sample may pull the mean.
pub const CLIP: u64 = 4;
/// Weight of a sample that is new.
const WEIGHT_ONE: u64 = 1 << 32;

/// How samples fade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fading {
    /// Age at which a sample weighs half.
    pub half_life: Millis,
    /// Age beyond which a sample counts for nothing.
    pub age_max: Millis,
}

/// What samples say together, in their unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Weighted mean, rounded down.
    pub mean: u64,
    /// 95th percentile.
    pub p95: u64,
    /// Samples behind these numbers.
    pub samples: u32,
}

impl Fading {
    /// Sums up `samples`, the newest last, as they stand at `now`. `None` if none is young enough.
    pub fn summary(
        &self,
        now: Timestamp,
        samples: impl DoubleEndedIterator<Item = (Timestamp, u64)>,
    ) -> Option<Summary> {
        let aged = samples.rev().map(|(at, value)| (now.since(at), value));
        let young: Vec<(Millis, u64)> = aged.filter(|(age, _)| *age <= self.age_max).collect();
        let mut sorted: Vec<u64> = young.iter().map(|(_, value)| *value).collect();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
        Some(Summary {
            mean: self.mean(&young, median.saturating_mul(CLIP)),
            p95: p95(&sorted)?,
            samples: u32::try_from(sorted.len()).ok()?,
        })
    }

    /// Of samples, the newest first, none counted for more than `most`.
    fn mean(&self, young: &[(Millis, u64)], most: u64) -> u64 {
        let (mut sum, mut weights, mut rank) = (0u128, 0u128, WEIGHT_ONE);
        for (age, value) in young {
            // Never nothing, so that something is left to divide by.
            let weight = u128::from(self.faded(rank, *age).max(1));
            sum += weight * u128::from((*value).min(most));
            weights += weight;
            rank -= rank / 8;
        }
        u64::try_from(sum.checked_div(weights).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// Halved for every half-life, and in a straight line between two halvings.
    fn faded(&self, weight: u64, age: Millis) -> u64 {
        let half_life = self.half_life.0.max(1);
        let halvings = u32::try_from(age.0 / half_life).unwrap_or(u32::MAX);
        let weight = weight.checked_shr(halvings).unwrap_or(0);
        let part = u128::from(weight) * u128::from(age.0 % half_life) / (2 * u128::from(half_life));
        weight - u64::try_from(part).unwrap_or(weight)
    }
}

/// The nearest rank, but not the last of several.
fn p95(sorted: &[u64]) -> Option<u64> {
    let nearest = (sorted.len() * 95).div_ceil(100);
    let rank = nearest.min(sorted.len().saturating_sub(1)).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FADING: Fading = Fading { half_life: Millis(1_000), age_max: Millis(10_000) };

    fn at_once(values: impl IntoIterator<Item = u64>) -> Option<Summary> {
        let samples: Vec<_> = values.into_iter().map(|value| (Timestamp(0), value)).collect();
        FADING.summary(Timestamp(0), samples.into_iter())
    }

    #[test]
    fn nothing_measured_is_not_zero() {
        assert_eq!(at_once([]), None);
        let old = [(Timestamp(0), 5)].into_iter();
        assert_eq!(FADING.summary(Timestamp(10_001), old), None);
    }

    #[test]
    fn an_old_sample_fades_by_its_half_life() {
        let (old, new) = ((Timestamp(0), 100), (Timestamp(2_000), 200));
        let mean = |now| FADING.summary(Timestamp(now), [old, new].into_iter()).unwrap().mean;
        // Weights 7/8 x 1/4 and 1.
        assert_eq!(mean(2_000), (100 * 7 + 200 * 32) / 39);
        let alone = FADING.summary(Timestamp(10_500), [old, new].into_iter()).unwrap();
        assert_eq!((alone.mean, alone.samples), (200, 1), "the other is beyond its age");
    }

    #[test]
    fn one_slow_run_moves_the_mean_a_little_and_many_move_it() {
        let usual = [100; 7];
        let one = at_once(usual.into_iter().chain([60_000])).unwrap();
        assert!((101..160).contains(&one.mean), "{one:?}");
        assert_eq!(one.p95, 100, "one slow run is forgiven");
        let many = at_once(usual.into_iter().chain([60_000; 8])).unwrap();
        assert!(many.mean > 30_000 && many.p95 == 60_000, "{many:?}");
    }

    #[test]
    fn the_percentile_is_the_nearest_rank() {
        assert_eq!(at_once(1..=20).unwrap().p95, 19);
        assert_eq!(at_once(1..=40).unwrap().p95, 38);
        assert_eq!(at_once([7]).unwrap().p95, 7);
    }

    proptest! {
        #[test]
        fn a_mean_lies_between_the_least_and_the_most(
            samples in prop::collection::vec((0..20_000u64, any::<u64>()), 0..40), now in 0..40_000u64,
        ) {
            let fresh = |at: u64| now.saturating_sub(at) <= FADING.age_max.0;
            let young: Vec<u64> =
                samples.iter().filter(|(at, _)| fresh(*at)).map(|(_, value)| *value).collect();
            let samples = samples.iter().map(|(at, value)| (Timestamp(*at), *value));
            match FADING.summary(Timestamp(now), samples) {
                None => prop_assert!(young.is_empty()),
                Some(summary) => {
                    let (least, most) = (*young.iter().min().unwrap(), *young.iter().max().unwrap());
                    prop_assert!((least..=most).contains(&summary.mean), "{summary:?}");
                    prop_assert!((least..=most).contains(&summary.p95));
                    prop_assert_eq!(summary.samples as usize, young.len());
                }
            }
        }
    }
}
