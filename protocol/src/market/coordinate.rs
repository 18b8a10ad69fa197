//! Where a node is in the network, as far as round trips tell: Vivaldi coordinates (Dabek et al. 2004) with eight
//! dimensions, a height, and Serf's adjustment.
//!
//! The round trip between two nodes is expected to be the distance of their positions, and both heights, which stand
//! for the way from a node to the network. Each round trip that is measured moves the node that measured it towards,
//! or away from, the other's position, the more, the surer the other is of it. The adjustment is the mean of what the
//! last [`ADJUSTMENT_WINDOW`] estimates missed.
//!
//! Positions are integers of microseconds, so that all nodes compute the same. What a peer says of itself is not
//! believed further than it must be: [`Coordinate::is_sane`] bounds it, and no round trip moves a node further than
//! [`MOVE_US_MAX`].

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::history::PPM;
use crate::{layout::Layout, wire::Wire};

/// Dimensions of a position.
pub const DIMENSIONS: usize = 8;
/// The error of a node that knows nothing, in parts per million: its estimates may be off by 150 %.
pub const ERROR_PPM_MAX: u32 = 1_500_000;
/// The least height, in microseconds.
pub const HEIGHT_US_MIN: u32 = 10;
/// The farthest from the middle in any dimension, the greatest height, and the longest round trip, in microseconds.
pub const FAR_US_MAX: u32 = 10_000_000;
/// The largest adjustment, in microseconds.
pub const ADJUSTMENT_US_MAX: u32 = 1_000_000;
/// The farthest that one round trip moves a node, and changes its height, in microseconds.
pub const MOVE_US_MAX: i64 = 50_000;
/// Round trips that the adjustment is the mean of.
pub const ADJUSTMENT_WINDOW: usize = 20;
/// A coordinate with a larger error, in parts per million, is no ground for an estimate.
pub const USABLE_ERROR_PPM_MAX: u32 = 500_000;
/// How far one round trip counts, for position and error: a quarter.
const GAIN: i64 = 4;

/// A position in the network, as a node tells it of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coordinate {
    /// In microseconds.
    pub position_us: [i32; DIMENSIONS],
    /// The way to the network and back, in microseconds.
    pub height_us: u32,
    /// What its estimates miss, in microseconds.
    pub adjustment_us: i32,
    /// Expected relative error of its estimates, in parts per million.
    pub error_ppm: u32,
}

impl Coordinate {
    /// That of a node that knows nothing yet.
    pub const UNKNOWN: Self = Self {
        position_us: [0; DIMENSIONS],
        height_us: HEIGHT_US_MIN,
        adjustment_us: 0,
        error_ppm: ERROR_PPM_MAX,
    };

    /// Whether all numbers are within their bounds.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.position_us.iter().all(|along| along.unsigned_abs() <= FAR_US_MAX)
            && (HEIGHT_US_MIN..=FAR_US_MAX).contains(&self.height_us)
            && self.adjustment_us.unsigned_abs() <= ADJUSTMENT_US_MAX
            && self.error_ppm <= ERROR_PPM_MAX
    }

    /// Whether estimates may rest on it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_sane() && self.error_ppm <= USABLE_ERROR_PPM_MAX
    }

    /// The round trip that is expected between two nodes, in microseconds, at least 1.
    #[must_use]
    pub fn distance_us(&self, other: &Self) -> u64 {
        let raw = self.raw_distance_us(other);
        let adjusted = raw + i64::from(self.adjustment_us) + i64::from(other.adjustment_us);
        u64::try_from(if adjusted > 0 { adjusted } else { raw }).unwrap_or(0).max(1)
    }

    /// Without the adjustments.
    fn raw_distance_us(&self, other: &Self) -> i64 {
        length(&self.from(other)) + i64::from(self.height_us) + i64::from(other.height_us)
    }

    /// The way from `other` to here.
    fn from(&self, other: &Self) -> [i64; DIMENSIONS] {
        std::array::from_fn(|i| i64::from(self.position_us[i]) - i64::from(other.position_us[i]))
    }

    /// Appends all numbers, for the advert.
    pub fn lay_out(&self, out: &mut Layout) {
        for along in self.position_us {
            out.i32(along);
        }
        out.u32(self.height_us).i32(self.adjustment_us).u32(self.error_ppm);
    }
}

impl Wire for Coordinate {
    const BYTES_MAX: usize = 4 * (DIMENSIONS + 3);

    fn check_bounds(&self) -> Result<(), String> {
        if self.is_sane() { Ok(()) } else { Err("a coordinate is out of bounds".into()) }
    }
}

/// Why nothing was learned from a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLearned {
    /// The other's coordinate is out of bounds.
    #[error("the peer's coordinate is out of bounds")]
    Insane,
    /// No round trip takes so long, or no time.
    #[error("a round trip of {0} us says nothing")]
    RoundTrip(u64),
    /// Light in fibre takes longer between the regions that both declare, so that one of them is a lie.
    #[error(
        "a round trip of {rtt_us} us is shorter than the {light_us} us that light takes between the regions"
    )]
    FasterThanLight {
        /// The round trip.
        rtt_us: u64,
        /// The shortest that can be.
        light_us: u64,
    },
}

/// A node's own coordinate, as it learns.
#[derive(Clone, Debug)]
pub struct Vivaldi {
    coordinate: Coordinate,
    /// What the last estimates missed, in microseconds.
    missed_us: VecDeque<i64>,
    /// For directions, where two nodes are at one place.
    seed: u64,
}

impl Vivaldi {
    /// A node that begins at `coordinate`: [`Coordinate::UNKNOWN`], or where it was before. Nodes differ in their seed.
    #[must_use]
    pub fn new(coordinate: Coordinate, seed: u64) -> Self {
        let coordinate = if coordinate.is_sane() { coordinate } else { Coordinate::UNKNOWN };
        Self { coordinate, missed_us: VecDeque::new(), seed }
    }

    /// Where the node is now.
    #[must_use]
    pub fn coordinate(&self) -> Coordinate {
        self.coordinate
    }

    /// Learns from a round trip of `rtt_us` to a node at `other`. Between the regions that both declare light takes
    /// `light_us`; 0 if that is not known.
    ///
    /// # Errors
    /// If one of these numbers cannot be true; then nothing was learned.
    pub fn learn(&mut self, other: &Coordinate, rtt_us: u64, light_us: u64) -> Result<(), NotLearned> {
        if !other.is_sane() {
            return Err(NotLearned::Insane);
        }
        if rtt_us < light_us {
            return Err(NotLearned::FasterThanLight { rtt_us, light_us });
        }
        let rtt = i64::try_from(rtt_us).ok().filter(|rtt| (1..=i64::from(FAR_US_MAX)).contains(rtt));
        let rtt = rtt.ok_or(NotLearned::RoundTrip(rtt_us))?;
        let missed = rtt - i64::try_from(self.coordinate.distance_us(other)).unwrap_or(i64::MAX / 2);
        let weight_ppm = self.learn_error(other, missed, rtt);
        let force = missed * weight_ppm / (GAIN * i64::from(PPM));
        self.push(other, force.clamp(-MOVE_US_MAX, MOVE_US_MAX));
        self.learn_adjustment(rtt - self.coordinate.raw_distance_us(other));
        Ok(())
    }

    /// The error after an estimate that missed by so much. Answers how much the other is to be believed.
    fn learn_error(&mut self, other: &Coordinate, missed: i64, rtt: i64) -> i64 {
        let ppm = i64::from(PPM);
        let (own, its) = (i64::from(self.coordinate.error_ppm), i64::from(other.error_ppm));
        let weight = own * ppm / (own + its).max(1);
        // Beyond its maximum the error says nothing more.
        let wrong = (missed.abs() * ppm / rtt).min(100 * ppm);
        let error = own + (wrong - own) * weight / (GAIN * ppm);
        self.coordinate.error_ppm = bounded(error, 1, ERROR_PPM_MAX);
        weight
    }

    /// Moves by `force` away from `other`, or towards it where it is negative.
    fn push(&mut self, other: &Coordinate, force: i64) {
        let way = self.coordinate.from(other);
        let apart = length(&way);
        let at = &mut self.coordinate;
        if apart > 0 {
            let heights = i64::from(at.height_us) + i64::from(other.height_us);
            let rise = (heights * force / apart).clamp(-MOVE_US_MAX, MOVE_US_MAX);
            at.height_us = bounded(i64::from(at.height_us) + rise, HEIGHT_US_MIN, FAR_US_MAX);
        }
        let way = if apart > 0 { way } else { self.any_way() };
        let length = length(&way).max(1);
        for (along, part) in self.coordinate.position_us.iter_mut().zip(way) {
            let far = i64::from(FAR_US_MAX);
            let moved = (i64::from(*along) + part * force / length).clamp(-far, far);
            *along = i32::try_from(moved).unwrap_or(*along);
        }
    }

    fn learn_adjustment(&mut self, missed: i64) {
        if self.missed_us.len() == ADJUSTMENT_WINDOW {
            self.missed_us.pop_front();
        }
        self.missed_us.push_back(missed);
        // Half, because the other side adjusts too.
        let mean = self.missed_us.iter().sum::<i64>() / (2 * ADJUSTMENT_WINDOW as i64);
        let most = i64::from(ADJUSTMENT_US_MAX);
        self.coordinate.adjustment_us = i32::try_from(mean.clamp(-most, most)).unwrap_or(0);
    }

    /// A direction from the node's seed, another one each time (SplitMix64).
    fn any_way(&mut self) -> [i64; DIMENSIONS] {
        std::array::from_fn(|_| {
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let bits = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            i64::from((bits >> 48) as u16) - (1 << 15)
        })
    }
}

/// Of a way whose parts are bounded by twice [`FAR_US_MAX`], so that the squares fit.
fn length(way: &[i64; DIMENSIONS]) -> i64 {
    way.iter().map(|along| along * along).sum::<i64>().isqrt()
}

fn bounded(value: i64, least: u32, most: u32) -> u32 {
    u32::try_from(value.clamp(i64::from(least), i64::from(most))).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    fn at(first_us: i32, error_ppm: u32) -> Coordinate {
        let mut position_us = [0; DIMENSIONS];
        position_us[0] = first_us;
        Coordinate { position_us, error_ppm, ..Coordinate::UNKNOWN }
    }

    #[test]
    fn a_distance_is_the_way_and_both_heights() {
        let (here, there) = (at(0, 1), Coordinate { height_us: 4_000, ..at(30_000, 1) });
        assert_eq!(here.distance_us(&there), 34_010);
        assert_eq!(here.distance_us(&there), there.distance_us(&here));
        let adjusted = Coordinate { adjustment_us: -1_000, ..here };
        assert_eq!(adjusted.distance_us(&there), 33_010);
        let absurd = Coordinate { adjustment_us: -100_000, ..here };
        assert_eq!(absurd.distance_us(&there), 34_010, "no round trip is negative");
    }

    #[test]
    fn two_nodes_that_know_nothing_find_their_distance() {
        let (mut a, mut b) = (Vivaldi::new(Coordinate::UNKNOWN, 1), Vivaldi::new(Coordinate::UNKNOWN, 2));
        for _ in 0..60 {
            a.learn(&b.coordinate(), 80_000, 0).unwrap();
            b.learn(&a.coordinate(), 80_000, 0).unwrap();
        }
        let found = a.coordinate().distance_us(&b.coordinate());
        assert!((79_000..=81_000).contains(&found), "{found}");
        assert!(a.coordinate().is_usable(), "{:?}", a.coordinate());
    }

    #[test]
    fn a_peer_that_lies_moves_a_node_a_little_at_a_time() {
        let mut node = Vivaldi::new(at(0, ERROR_PPM_MAX), 1);
        let before = node.coordinate();
        node.learn(&at(FAR_US_MAX as i32, 0), 1_000, 0).unwrap();
        let moved = length(&node.coordinate().from(&before));
        assert!((1..=MOVE_US_MAX).contains(&moved), "{moved}");
    }

    #[test]
    fn an_estimate_that_misses_by_all_that_can_be_is_as_wrong_as_can_be() {
        let far = FAR_US_MAX as i32;
        let corner = |side: i32| Coordinate { position_us: [side; DIMENSIONS], ..at(0, 300_000) };
        let mut node = Vivaldi::new(corner(-far), 1);
        node.learn(&Coordinate { error_ppm: 0, ..corner(far) }, 1, 0).unwrap();
        assert_eq!(node.coordinate().error_ppm, ERROR_PPM_MAX);
    }

    #[test]
    fn what_cannot_be_true_teaches_nothing() {
        let mut node = Vivaldi::new(at(500, 300_000), 1);
        let before = node.coordinate();
        let insane = Coordinate { height_us: 0, ..at(0, 1) };
        assert_eq!(node.learn(&insane, 1_000, 0), Err(NotLearned::Insane));
        assert_eq!(node.learn(&at(0, 1), 0, 0), Err(NotLearned::RoundTrip(0)));
        assert_eq!(node.learn(&at(0, 1), 10_000_001, 0), Err(NotLearned::RoundTrip(10_000_001)));
        let faster = NotLearned::FasterThanLight { rtt_us: 9_000, light_us: 9_001 };
        assert_eq!(node.learn(&at(0, 1), 9_000, 9_001), Err(faster));
        assert_eq!(node.coordinate(), before);
    }

    proptest! {
        #[test]
        fn a_node_stays_sane_whatever_it_is_told(
            told in prop::collection::vec((arbitrary::coordinates(), 0..12_000_000u64), 1..80), seed: u64,
        ) {
            let mut node = Vivaldi::new(Coordinate::UNKNOWN, seed);
            for (other, rtt) in told {
                let before = node.coordinate();
                let learned = node.learn(&other, rtt, 0);
                let now = node.coordinate();
                prop_assert!(now.is_sane(), "{now:?}");
                prop_assert!(learned.is_ok() || now == before);
                prop_assert!(length(&now.from(&before)) <= MOVE_US_MAX);
            }
        }
    }
}
