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
/// Tokens that are put in order first while top-p looks for its end; each further piece is larger.
const PIECE: usize = 64;
/// By how much.
const PIECE_GROWTH: usize = 4;

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
    exp2_neg(round_shift(i64::from(distance) * i64::from(LOG2E.m), 30) as u64) as u64
}

fn top_k(tokens: &mut Vec<(u32, u32)>, count: usize) {
    if count < tokens.len() {
        tokens.select_nth_unstable(count - 1);
        tokens.truncate(count);
    }
}

/// Keeps the shortest prefix, in order, of one token at least, that weighs `share` of all.
fn top_p(tokens: &mut Vec<(u32, u32)>, share: u32) {
    let total: u64 = tokens.iter().map(|(distance, _)| weight(*distance)).sum();
    let target = (total * u64::from(share)).div_ceil(u64::from(ONE_Q16));
    let (mut kept, mut sum, mut piece) = (0, 0, PIECE);
    while kept < tokens.len() && (kept == 0 || sum < target) {
        let next = order_next(&mut tokens[kept..], piece);
        for (distance, _) in next {
            (kept, sum) = (kept + 1, sum + weight(*distance));
            if sum >= target {
                break;
            }
        }
        piece *= PIECE_GROWTH;
    }
    tokens.truncate(kept);
}

/// Brings the first `count` in order to the front and returns them.
fn order_next(tokens: &mut [(u32, u32)], count: usize) -> &[(u32, u32)] {
    let count = count.min(tokens.len());
    if count < tokens.len() {
        tokens.select_nth_unstable(count);
    }
    let next = &mut tokens[..count];
    next.sort_unstable();
    next
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
    fn top_p_finds_its_end_behind_any_number_of_pieces() {
        for count in [1usize, 63, 64, 65, 320, 321, 2_000] {
            let distances = vec![0; count];
            for wanted in [1, 63, 64, 65, 319, 320, 321, 1_344, 1_999].map(|wanted| count.min(wanted)) {
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
