//! Top-k, top-p and min-p by partial selection: the vocabulary is passed through a few times and never
//! sorted as a whole.

use gridhour_protocol::job::sampling::{ONE_Q16, Sampling};

use super::{
    super::{
        cpu::exp2_neg::exp2_neg,
        fixed::{LOG2E, round_shift},
    },
    gumbel::NOISE_SPAN,
};

/// Tokens so far below the largest can never win, and weigh nothing.
const HOPELESS: i64 = NOISE_SPAN;
/// Tokens among which the end of top-p's prefix is looked for first: a model that is sure needs few.
const STEP: usize = 256;
/// How much further it is looked for then.
const STEP_GROWTH: usize = 8;

/// The ids that filters leave of tokens at these distances below the largest, Q16 nats, with their distances,
/// in any order.
pub(super) fn survivors(distances: impl Iterator<Item = i64>, rules: &Sampling) -> Vec<(u32, i64)> {
    // Distance, then id: pairs compare as the page orders tokens.
    let near = (0u32..).zip(distances).filter(|(_, distance)| *distance < HOPELESS);
    let mut tokens: Vec<(u32, u32)> = near.map(|(id, distance)| (distance as u32, id)).collect();
    if rules.top_k > 0 {
        top_k(&mut tokens, rules.top_k as usize);
    }
    if rules.top_p_q16 < ONE_Q16 {
        top_p(&mut tokens, rules.top_p_q16);
    }
    let least = u64::from(rules.min_p_q16) << 12;
    if least > 0 {
        tokens.retain(|(distance, _)| weight(*distance) >= least);
    }
    tokens.into_iter().map(|(distance, id)| (id, i64::from(distance))).collect()
}

/// `e^-distance` in Q28.
pub(super) fn weight(distance: u32) -> u64 {
    let bits = round_shift(i64::from(distance) * i64::from(LOG2E.m), 30);
    // Long before this limit nothing is left.
    exp2_neg(bits.min(u32::MAX.into()) as u32) as u64
}

fn top_k(tokens: &mut Vec<(u32, u32)>, count: usize) {
    if count < tokens.len() {
        tokens.select_nth_unstable(count - 1);
        tokens.truncate(count);
    }
}

/// Keeps the shortest prefix, of one token at least, that weighs `share` of all, though not in order: halves
/// are told apart by selection until one token is left on which the prefix can end.
fn top_p(tokens: &mut Vec<(u32, u32)>, share: u32) {
    let total = weight_of(tokens);
    let mut missing = (total * u64::from(share)).div_ceil(u64::from(ONE_Q16));
    // The first `kept` do not weigh enough, the first `end` do.
    let (mut kept, mut end, mut step) = (0, tokens.len(), STEP);
    while end - kept > 1 {
        let half = ((end - kept) / 2).min(step);
        tokens[kept..end].select_nth_unstable(half);
        let sum = weight_of(&tokens[kept..kept + half]);
        if sum >= missing {
            end = kept + half;
        } else {
            (kept, missing) = (kept + half, missing - sum);
        }
        step = step.saturating_mul(STEP_GROWTH);
    }
    tokens.truncate(end);
}

fn weight_of(tokens: &[(u32, u32)]) -> u64 {
    tokens.iter().map(|(distance, _)| weight(*distance)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that survive, in order.
    fn kept(distances: &[i64], rules: Sampling) -> Vec<u32> {
        let mut tokens = survivors(distances.iter().copied(), &rules);
        tokens.sort_by_key(|&(id, distance)| (distance, id));
        tokens.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn top_p_finds_its_end_at_any_place() {
        for count in [1usize, 2, 255, 256, 257, 513, 3_000] {
            let distances = vec![0; count];
            for wanted in
                [0, 1, 2, 128, 255, 256, 257, 512, 2_303, 2_304, 2_305, 2_999].map(|wanted| count.min(wanted))
            {
                let top_p_q16 = ((wanted << 16) / count) as u32;
                let rules = Sampling { top_p_q16, ..Sampling::GREEDY };
                let exact = (top_p_q16 as usize * count).div_ceil(1 << 16).max(1);
                let expected: Vec<u32> = (0..exact as u32).collect();
                assert_eq!(kept(&distances, rules), expected, "{wanted} of {count}");
            }
        }
    }

    #[test]
    fn tokens_without_weight_do_not_survive_top_p() {
        let rules = Sampling { top_p_q16: ONE_Q16 - 1, ..Sampling::GREEDY };
        assert_eq!(kept(&[0, 21 << 16, 31 << 16, 1 << 40], rules), [0]);
    }
}
