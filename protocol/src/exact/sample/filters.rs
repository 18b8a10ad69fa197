//! Which tokens may be chosen at all: top-k, then top-p, then min-p.

use std::cmp::Reverse;

use crate::{
    exact::{exp2::exp2_neg, round::round_shift},
    job::sampling::{ONE_Q16, Sampling},
};

/// log2 e in Q30: what turns nats into halvings.
const LOG2E_Q30: i64 = 1_549_082_005;

/// A distance at which nothing is left of a weight, in Q16: 64 nats.
const FAR: i64 = 64 << 16;

/// e^-distance in Q28, for a distance of at least 0 in nats, Q16.
pub(super) fn weight(distance: i64) -> u64 {
    exp2_neg(round_shift(distance.min(FAR) * LOG2E_Q30, 30)) as u64
}

/// Ids of the tokens that may be chosen, the largest logit first, ties by id. There is at least one.
pub(super) fn keep(tempered: &[i64], rules: &Sampling) -> Vec<u32> {
    let logit = |id: u32| tempered[id as usize];
    let mut ids: Vec<u32> = (0u32..).zip(tempered).map(|(id, _)| id).collect();
    ids.sort_by_key(|&id| (Reverse(logit(id)), id));
    let best = logit(ids[0]);
    if rules.top_k > 0 {
        ids.truncate(rules.top_k as usize);
    }
    let mut weights: Vec<u64> = ids.iter().map(|&id| weight(best - logit(id))).collect();
    if rules.top_p_q16 < ONE_Q16 {
        weights.truncate(prefix(&weights, rules.top_p_q16));
    }
    let least = u64::from(rules.min_p_q16) << 12;
    let likely = weights.iter().take_while(|&&weight| weight >= least).count();
    ids.truncate(likely);
    ids
}

/// Length of the shortest prefix, of one at least, whose sum reaches `share` of the whole.
fn prefix(weights: &[u64], share: u32) -> usize {
    let total: u64 = weights.iter().sum();
    let target = (u64::from(share) * total).div_ceil(1 << 16);
    let mut sum = 0;
    let reaches = |&weight: &u64| {
        sum += weight;
        sum >= target
    };
    1 + weights.iter().position(reaches).unwrap_or(weights.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nats in Q16 of 1/2.
    const HALF: i64 = 45_426;
    const OFF: Sampling = Sampling { temperature_q16: ONE_Q16, ..Sampling::GREEDY };

    #[test]
    fn nothing_is_ruled_out_while_all_is_off() {
        assert_eq!(keep(&[5, 9, -(1 << 40), 9], &OFF), [1, 3, 0, 2]);
    }

    #[test]
    fn top_k_keeps_that_many_and_the_lowest_ids_of_equals() {
        let k = |top_k| keep(&[1, 7, 7, 7, 9], &Sampling { top_k, ..OFF });
        assert_eq!((k(1), k(3), k(9).len()), (vec![4], vec![4, 1, 2], 5));
    }

    #[test]
    fn top_p_keeps_the_token_that_reaches_the_share() {
        // Weights 2^28, 2^27, 2^26, 2^26: shares 1/2, 1/4, 1/8, 1/8.
        let logits = [0, -HALF, -2 * HALF, -2 * HALF];
        assert_eq!(logits.map(|l| weight(-l)), [1 << 28, 1 << 27, 1 << 26, 1 << 26]);
        let p = |top_p_q16| keep(&logits, &Sampling { top_p_q16, ..OFF }).len();
        assert_eq!([p(0), p(1), p(32_768), p(32_769), p(49_152), p(49_153)], [1, 1, 1, 2, 2, 3]);
        assert_eq!([p(57_344), p(57_345), p(65_535), p(65_536)], [3, 4, 4, 4]);
        let of_two = Sampling { top_k: 2, top_p_q16: 40_000, ..OFF };
        assert_eq!(keep(&logits, &of_two), [0], "the share is that of what top-k left: two thirds");
    }

    #[test]
    fn min_p_compares_with_the_likeliest() {
        let logits = [-HALF, 0, -2 * HALF];
        let m = |min_p_q16| keep(&logits, &Sampling { min_p_q16, ..OFF }).len();
        assert_eq!(
            [m(0), m(1), m(16_384), m(16_385), m(32_768), m(32_769), m(65_536)],
            [3, 3, 3, 2, 2, 1, 1]
        );
    }

    #[test]
    fn the_largest_vocabulary_of_equals_fits() {
        let all = vec![3; 1 << 20];
        let rules = Sampling { top_p_q16: 65_535, min_p_q16: 65_536, ..OFF };
        assert_eq!(keep(&all, &rules).len(), (1 << 20) - 16);
    }
}
