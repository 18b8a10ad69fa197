//! The choice of a token: penalties on the logits, temperature, filters, and the largest after Gumbel noise.
//! See `docs/NUMERICS.md`, section 6.

mod filters;
mod gumbel;
mod logprobs;
mod penalties;

use gridhour_protocol::job::sampling::Sampling;

pub use self::logprobs::logprobs;
use self::{
    filters::Survivors,
    gumbel::{NOISE_MAX, Noise},
    penalties::Penalties,
};
use super::{fixed::round_shift, score_chain::argmax};

const KEY_CONTEXT: &str = "gridhour sampling key v1";

/// The key of a request's noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SamplingKey(pub [u32; 2]);

impl SamplingKey {
    /// The key of a seed and a request core, the encoding of the unsalted prompt tokens and the rules of
    /// sampling.
    pub fn derive(seed: u64, request_core: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(&seed.to_le_bytes()).update(request_core);
        let digest = *hasher.finalize().as_bytes();
        let (words, _) = digest.as_chunks::<4>();
        Self([u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1])])
    }
}

/// Chooses the tokens of one output, one after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    rules: Sampling,
    key: SamplingKey,
    /// Nothing while no rule looks at the tokens before.
    penalties: Option<Penalties>,
    survivors: Survivors,
}

impl Sampler {
    /// A sampler at the start of an output behind `prompt`. The seed of `rules` is not looked at: it is in the
    /// key.
    pub fn new(rules: &Sampling, key: SamplingKey, prompt: &[u32]) -> Self {
        let penalties = rules.has_penalties().then(|| Penalties::new(rules, prompt));
        Self { rules: *rules, key, penalties, survivors: Survivors::default() }
    }

    /// Whether a choice depends on nothing but logits, temperature, key and position.
    pub fn is_plain(&self) -> bool {
        self.penalties.is_none() && (self.rules.temperature_q16 == 0 || !self.rules.has_filters())
    }

    /// Temperature in Q16, 0 for greedy.
    pub fn temperature_q16(&self) -> u32 {
        self.rules.temperature_q16
    }

    /// Key of the noise.
    pub fn key(&self) -> SamplingKey {
        self.key
    }

    /// The next token, which will stand at `position`, counted from the start of the prompt, by the logits of
    /// the position before it. It counts as part of the output from now on.
    ///
    /// # Panics
    /// If `logits` is empty.
    pub fn choose(&mut self, logits: &[i32], position: u32) -> u32 {
        let Some(penalties) = &mut self.penalties else {
            return choose(logits, &self.rules, Noise::new(self.key, position), &mut self.survivors);
        };
        let penalised = penalties.apply(logits);
        let token = choose(penalised, &self.rules, Noise::new(self.key, position), &mut self.survivors);
        penalties.record(token);
        token
    }
}

/// The choice by logits that no penalty is missing from.
fn choose(logits: &[i32], rules: &Sampling, noise: Noise, survivors: &mut Survivors) -> u32 {
    let (best, top) = argmax(logits).expect("a vocabulary has tokens");
    if rules.temperature_q16 == 0 {
        return best;
    }
    let inverse = (1i64 << 32) / i64::from(rules.temperature_q16);
    let temper = |logit: i32| round_shift(i64::from(logit) * inverse, 16);
    let top = temper(top);
    if rules.has_filters() {
        let distances = logits.iter().map(|logit| top - temper(*logit));
        return choose_noisy(survivors.of(distances, rules), i64::MIN, noise);
    }
    let distances = logits.iter().map(|logit| top - temper(*logit));
    choose_noisy((0..).zip(distances), noise.at(best).value(), noise)
}

/// Among tokens with their distances below the largest, the one with the most noise less distance, ties to
/// the lowest id; some token is known to reach `mark`. Noise is bounded, most of it by its first bits, so only
/// tokens that may still win are worked out.
fn choose_noisy(tokens: impl Iterator<Item = (u32, i64)>, mark: i64, noise: Noise) -> u32 {
    let mut top = (mark, u32::MAX);
    for (id, distance) in tokens {
        if NOISE_MAX - distance < top.0 {
            continue;
        }
        let draw = noise.at(id);
        if draw.upper_bound() - distance < top.0 {
            continue;
        }
        let score = draw.value() - distance;
        if score > top.0 || (score == top.0 && id < top.1) {
            top = (score, id);
        }
    }
    top.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm(temperature_q16: u32) -> Sampling {
        Sampling { temperature_q16, ..Sampling::GREEDY }
    }

    fn sampler(rules: Sampling, seed: u64) -> Sampler {
        Sampler::new(&rules, SamplingKey::derive(seed, b"core"), &[])
    }

    /// The same choice with nothing left out.
    fn choose_all(logits: &[i32], temperature: u32, noise: Noise) -> u32 {
        let inverse = (1i64 << 32) / i64::from(temperature);
        let score = |(id, logit): (u32, &i32)| {
            (round_shift(i64::from(*logit) * inverse, 16) + noise.at(id).value(), std::cmp::Reverse(id))
        };
        let top = (0..).zip(logits).map(score).max().expect("not empty");
        top.1.0
    }

    #[test]
    fn temperature_zero_takes_the_first_largest() {
        assert_eq!(sampler(Sampling::GREEDY, 1).choose(&[1, 5, 5, 2], 9), 1);
    }

    #[test]
    fn leaving_out_hopeless_tokens_changes_no_choice() {
        for seed in 0..200u64 {
            let logits: Vec<i32> =
                (0..500).map(|i| ((seed + 1) * (i * i + 7) * 7919 % 1_500_001) as i32 - 700_000).collect();
            let temperature = [656, 30_000, 65_536, 6_553_600][seed as usize % 4];
            let mut sampler = sampler(warm(temperature), seed);
            let expected = choose_all(&logits, temperature, Noise::new(sampler.key, 3));
            assert_eq!(sampler.choose(&logits, 3), expected, "seed {seed}");
        }
    }

    #[test]
    fn what_a_device_may_choose_itself_is_plain() {
        let is_plain = |rules: Sampling| sampler(rules, 1).is_plain();
        assert!(is_plain(Sampling::GREEDY) && is_plain(warm(50_000)));
        assert!(
            is_plain(Sampling { top_k: 5, top_p_q16: 9, ..Sampling::GREEDY }),
            "filters keep the likeliest"
        );
        for rules in [
            Sampling { top_k: 5, ..warm(50_000) },
            Sampling { top_p_q16: 5, ..warm(50_000) },
            Sampling { min_p_q16: 5, ..warm(50_000) },
            Sampling { repetition_q16: 70_000, ..Sampling::GREEDY },
            Sampling { frequency_q16: 1, ..Sampling::GREEDY },
            Sampling { presence_q16: -1, ..Sampling::GREEDY },
        ] {
            assert!(!is_plain(rules), "{rules:?}");
        }
    }

    #[test]
    fn chosen_tokens_are_penalised_from_then_on() {
        let rules = Sampling { presence_q16: 65_536, ..Sampling::GREEDY };
        let logits = [0, 65_536, 65_535];
        let mut sampler = sampler(rules, 1);
        let chosen: Vec<u32> = (0..4).map(|position| sampler.choose(&logits, position)).collect();
        // Once each has been chosen, all are penalised alike.
        assert_eq!(chosen, [1, 2, 0, 1]);
    }
}
