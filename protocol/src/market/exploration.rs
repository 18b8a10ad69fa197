//! A chance for newcomers: what nobody has tried yet is tried now and then, and what that may cost is bounded.
//!
//! In comparing offers, one that the buyer has tried fewer than [`HISTORY_SAMPLES_MIN`] times for jobs of this model and
//! size is given a discount, as in UCB (Auer et al. 2002): the more often the buyer ran such jobs anywhere, and the less
//! often here, the larger.
//!
//! ```text
//! discount = cost x min(MAX, UNIT x sqrt(log2(1 + runs anywhere) / (1 + tries here)))
//! ```
//!
//! Nobody pays or is paid a discount. An offer that wins by it costs the buyer, in money and in soft penalties together,
//! at most [`DISCOUNT_PPM_MAX`] of its own price more than the offer that it displaced was expected to, at most
//! [`HISTORY_SAMPLES_MIN`] times a day: runs that failed, or that it was too busy for, are tries too. Hard limits, and the
//! most that an order pays, hold for newcomers as for all. There is no randomness: the discount follows from two counts,
//! which the match record commits to.

use serde::{Deserialize, Serialize};

use super::{estimate::HISTORY_SAMPLES_MIN, history::PPM};
use crate::units::Credits;

/// The largest discount, as a share of the offer's cost, in parts per million.
pub const DISCOUNT_PPM_MAX: u32 = 100_000;
/// The discount of an untried offer after one run elsewhere, in parts per million.
const DISCOUNT_PPM_UNIT: u64 = 20_000;

/// How often a buyer tried jobs of one model and prompt size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tries {
    /// At this provider.
    pub here: u32,
    /// At all providers.
    pub all: u32,
}

impl Tries {
    /// By how much an offer of this cost is taken to be cheaper, rounded down.
    #[must_use]
    pub fn discount(self, cost: Credits) -> Credits {
        let amount = u128::from(cost.0) * u128::from(self.discount_ppm()) / u128::from(PPM);
        // No more than the cost.
        Credits(u64::try_from(amount).unwrap_or(cost.0))
    }

    /// The share of the cost, in parts per million.
    #[must_use]
    pub fn discount_ppm(self) -> u32 {
        if self.here >= HISTORY_SAMPLES_MIN {
            return 0;
        }
        let square = u64::from(log2_milli(1 + u64::from(self.all))) * DISCOUNT_PPM_UNIT * DISCOUNT_PPM_UNIT
            / (1_000 * (1 + u64::from(self.here)));
        u32::try_from(square.isqrt()).unwrap_or(u32::MAX).min(DISCOUNT_PPM_MAX)
    }
}

/// The binary logarithm of a number that is not 0, in thousandths: exact for powers of two, a straight line between them.
fn log2_milli(number: u64) -> u32 {
    let whole = number.ilog2();
    let rest = (u128::from(number - (1 << whole)) * 1_000) >> whole;
    whole * 1_000 + u32::try_from(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ppm(here: u32, all: u32) -> u32 {
        Tries { here, all }.discount_ppm()
    }

    #[test]
    fn a_newcomer_gains_while_others_are_tried() {
        assert_eq!(ppm(0, 0), 0, "nobody is known, so nobody is new");
        assert_eq!([ppm(0, 1), ppm(0, 15), ppm(0, 255)], [20_000, 40_000, 56_568]);
        assert_eq!(ppm(3, 15), 20_000);
        assert_eq!(ppm(HISTORY_SAMPLES_MIN, u32::MAX), 0, "what is known needs no chance");
    }

    #[test]
    fn logarithms_are_exact_at_powers_of_two() {
        assert_eq!([1, 2, 3, 4, 1 << 32, u64::MAX].map(log2_milli), [0, 1_000, 1_500, 2_000, 32_000, 63_999]);
    }

    proptest! {
        #[test]
        fn a_discount_is_bounded_and_falls_with_tries(here in 0..9u32, all: u32, cost: u64) {
            let tries = Tries { here, all };
            let discount = tries.discount(Credits(cost));
            prop_assert!(discount.0 <= cost / 10);
            let more = Tries { here: here + 1, all };
            prop_assert!(more.discount(Credits(cost)) <= discount);
        }
    }
}
