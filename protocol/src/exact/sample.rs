//! Choosing a token from integer logits (page, section 6).

mod filters;
mod gumbel;
mod logprobs;
mod penalties;
mod threefry;

pub use gumbel::gumbel;
pub use logprobs::logprobs;
pub use penalties::History;
pub use threefry::threefry2x32;

use std::cmp::Reverse;

use super::round::round_shift;
use crate::job::sampling::Sampling;

/// The key of a request's noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingKey(pub [u32; 2]);

/// Domain of [`SamplingKey::derive`].
const KEY_DOMAIN: &str = "gridhour sampling key v1";

impl SamplingKey {
    /// The key of a seed and a request core: the encoding of the unsalted prompt tokens and the rules of
    /// sampling.
    pub fn derive(seed: u64, request_core: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_DOMAIN);
        hasher.update(&seed.to_le_bytes()).update(request_core);
        let digest = hasher.finalize();
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| digest.as_bytes()[at + i]));
        Self([word(0), word(4)])
    }
}

/// The token with the largest logit, ties to the lowest id.
///
/// # Panics
/// If there are no logits.
pub fn greedy(logits: &[i32]) -> u32 {
    largest((0u32..).zip(logits).map(|(id, &logit)| (id, logit.into())))
}

/// The token chosen from `logits` (Q16) at `position`, which is that of the token being chosen, counted from
/// the start of the prompt. The seed of `rules` is not looked at: it is in the key.
///
/// # Panics
/// If there are no logits.
pub fn sample(
    logits: &[i32],
    rules: &Sampling,
    history: History<'_>,
    key: SamplingKey,
    position: u32,
) -> u32 {
    let logits = penalties::penalise(logits, rules, history);
    if rules.temperature_q16 == 0 {
        return greedy(&logits);
    }
    let tempered: Vec<i64> = logits.iter().map(|&logit| temper(logit, rules.temperature_q16)).collect();
    let kept = filters::keep(&tempered, rules);
    largest(kept.into_iter().map(|id| (id, tempered[id as usize] + i64::from(gumbel(key, position, id)))))
}

/// A logit over the temperature, rounded to Q16.
fn temper(logit: i32, temperature: u32) -> i64 {
    let inverse = (1i64 << 32) / i64::from(temperature);
    round_shift(i64::from(logit) * inverse, 16)
}

/// The id with the largest score, ties to the lowest.
fn largest(scores: impl Iterator<Item = (u32, i64)>) -> u32 {
    let (id, _) =
        scores.max_by_key(|&(id, score)| (score, Reverse(id))).expect("there is at least one logit");
    id
}
