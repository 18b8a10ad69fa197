//! Log probabilities: how likely tokens were before penalties and temperature.

use std::cmp::Reverse;

use super::{filters::weight, gumbel::log2};
use crate::{
    exact::{
        round::{round_shift, sat32},
        tables::LN2_Q30,
    },
    job::logprobs::{Alternative, Logprobs},
};

/// Log probability of `token`, and of the `count` tokens with the largest logits, ties by id; fewer if the vocabulary is
/// smaller.
///
/// # Panics
/// If `token` has no logit.
pub fn logprobs(logits: &[i32], token: u32, count: u8) -> Logprobs {
    let best = logits.iter().copied().max().expect("the token has a logit");
    let distance = |id: u32| i64::from(best) - i64::from(logits[id as usize]);
    let mut ids: Vec<u32> = (0u32..).zip(logits).map(|(id, _)| id).collect();
    let total: u64 = ids.iter().map(|&id| weight(distance(id))).sum();
    let ln_total = round_shift((log2(total as i64) - (28 << 28)) * LN2_Q30, 42);
    let logprob = |id: u32| sat32(-distance(id) - ln_total);
    ids.sort_by_key(|&id| (Reverse(logits[id as usize]), id));
    let top = ids.iter().take(count.into()).map(|&id| Alternative { token: id, logprob_q16: logprob(id) });
    Logprobs { logprob_q16: logprob(token), top: top.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_softmax() {
        let logits: Vec<i32> = (0..200).map(|i| (i * 7919 + 13) % 900_001 - 450_000).collect();
        let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / 65536.0).exp()).collect();
        let total: f64 = weights.iter().sum();
        for token in [0u32, 50, 199] {
            let found = logprobs(&logits, token, 20);
            assert!(found.fits(token, 20) && found.top.len() == 20);
            let all = found.top.iter().map(|one| (one.token, one.logprob_q16));
            for (id, logprob) in all.chain([(token, found.logprob_q16)]) {
                let exact = (weights[id as usize] / total).ln() * 65536.0;
                assert!((f64::from(logprob) - exact).abs() < 3.0, "{logprob} for {exact}");
            }
        }
    }

    #[test]
    fn one_token_alone_is_certain_and_the_farthest_is_no_surprise() {
        assert_eq!(logprobs(&[5], 0, 3).top, [Alternative { token: 0, logprob_q16: 0 }]);
        let far = logprobs(&[i32::MAX, -i32::MAX], 1, 0);
        assert_eq!(far, Logprobs { logprob_q16: -i32::MAX, top: Vec::new() });
        let halves = logprobs(&[9, 9], 1, 1);
        assert_eq!((halves.logprob_q16, halves.top[0].token), (-45_426, 0));
    }
}
