//! The choice of a token: penalties on the logits, temperature, filters, and the largest after Gumbel noise.
//! See `docs/NUMERICS.md`, section 6.

mod filters;
mod gumbel;
mod logprobs;
mod penalties;

use gridhour_protocol::job::{logprobs::Logprobs, request::Request, sampling::Sampling as Rules};

pub use self::logprobs::logprobs;
use self::{
    filters::survivors,
    gumbel::{NOISE_MAX, Noise},
    penalties::penalised,
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

/// How the tokens of one output are chosen, and what is told of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling {
    /// The rules. Their seed is not looked at: it is in the key.
    pub rules: Rules,
    /// Key of the noise; without effect at temperature 0.
    pub key: SamplingKey,
    /// Alternatives whose log probabilities go with each token; 0 for no log probabilities at all.
    pub logprobs: u8,
    /// Tokens before the output.
    prompt_tokens: usize,
}

impl Sampling {
    /// The largest logit, always.
    pub const GREEDY: Self =
        Self { rules: Rules::GREEDY, key: SamplingKey([0; 2]), logprobs: 0, prompt_tokens: 0 };

    /// Sampling by `rules` and nothing told, of an output that stands behind nothing.
    pub fn new(rules: Rules, key: SamplingKey) -> Self {
        Self { rules, key, ..Self::GREEDY }
    }

    /// Sampling as `request` wants it.
    pub fn of(request: &Request) -> Self {
        let key = SamplingKey::derive(request.sampling.seed, &request.core());
        Self::new(request.sampling, key).telling(request.logprobs).behind(&request.prompt)
    }

    /// The same with the log probabilities of this many alternatives; 0 for none at all.
    #[must_use]
    pub fn telling(self, logprobs: u8) -> Self {
        Self { logprobs, ..self }
    }

    /// The same for an output behind `prompt`, which frequency and presence penalties pass over.
    #[must_use]
    pub fn behind(self, prompt: &[u32]) -> Self {
        Self { prompt_tokens: prompt.len(), ..self }
    }

    /// Whether a choice depends on nothing but logits, temperature, key and position, and nothing else is
    /// told of it: then a device may choose itself.
    pub fn is_plain(&self) -> bool {
        let filters = self.rules.temperature_q16 != 0 && self.rules.has_filters();
        !self.rules.has_penalties() && !filters && self.logprobs == 0
    }

    /// The token behind `text`, prompt and output so far, by the logits of its last position.
    ///
    /// # Panics
    /// If `logits` is empty, or `text` shorter than the prompt.
    pub fn choose(&self, logits: &[i32], text: &[u32]) -> u32 {
        // Positions are bounded by 2^17.
        let noise = Noise::new(self.key, text.len() as u32);
        if !self.rules.has_penalties() {
            return choose(logits, &self.rules, noise);
        }
        choose(&penalised(logits, &self.rules, text, self.prompt_tokens), &self.rules, noise)
    }

    /// What one token's logit becomes at `position` where there are no penalties: the largest is chosen, ties to
    /// the lowest id. [`Sampling::choose`] works out only as much of it as it needs.
    pub(crate) fn score(&self, logit: i32, position: u32, token: u32) -> i64 {
        match self.rules.temperature_q16 {
            0 => i64::from(logit),
            temperature => {
                let inverse = (1i64 << 32) / i64::from(temperature);
                let noise = Noise::new(self.key, position).at(token).value();
                round_shift(i64::from(logit) * inverse, 16) + noise
            }
        }
    }

    /// Log probabilities of `token`, which these logits chose, if they are wanted.
    ///
    /// # Panics
    /// If `token` has no logit.
    pub fn logprobs(&self, logits: &[i32], token: u32) -> Option<Logprobs> {
        (self.logprobs > 0).then(|| logprobs(logits, token, self.logprobs))
    }
}

/// The choice by logits that no penalty is missing from.
fn choose(logits: &[i32], rules: &Rules, noise: Noise) -> u32 {
    let (best, top) = argmax(logits).expect("a vocabulary has tokens");
    if rules.temperature_q16 == 0 {
        return best;
    }
    let inverse = (1i64 << 32) / i64::from(rules.temperature_q16);
    let temper = |logit: i32| round_shift(i64::from(logit) * inverse, 16);
    let top = temper(top);
    let distances = logits.iter().map(|logit| top - temper(*logit));
    match rules.has_filters() {
        true => choose_noisy(survivors(distances, rules).into_iter(), i64::MIN, noise),
        false => choose_noisy((0..).zip(distances), noise.at(best).value(), noise),
    }
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

    fn warm(temperature_q16: u32) -> Rules {
        Rules { temperature_q16, ..Rules::GREEDY }
    }

    fn sampling(rules: Rules, seed: u64) -> Sampling {
        Sampling::new(rules, SamplingKey::derive(seed, b"core"))
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
        assert_eq!(Sampling::GREEDY.choose(&[1, 5, 5, 2], &[3]), 1);
    }

    #[test]
    fn leaving_out_hopeless_tokens_changes_no_choice() {
        for seed in 0..200u64 {
            let logits: Vec<i32> =
                (0..500).map(|i| ((seed + 1) * (i * i + 7) * 7919 % 1_500_001) as i32 - 700_000).collect();
            let temperature = [656, 30_000, 65_536, 6_553_600][seed as usize % 4];
            let sampling = sampling(warm(temperature), seed);
            let expected = choose_all(&logits, temperature, Noise::new(sampling.key, 3));
            assert_eq!(sampling.choose(&logits, &[1, 2, 3]), expected, "seed {seed}");
        }
    }

    #[test]
    fn what_a_device_may_choose_itself_is_plain() {
        let is_plain = |rules: Rules| sampling(rules, 1).is_plain();
        assert!(is_plain(Rules::GREEDY) && is_plain(warm(50_000)));
        assert!(is_plain(Rules { top_k: 5, top_p_q16: 9, ..Rules::GREEDY }), "filters keep the likeliest");
        for rules in [
            Rules { top_k: 5, ..warm(50_000) },
            Rules { top_p_q16: 5, ..warm(50_000) },
            Rules { min_p_q16: 5, ..warm(50_000) },
            Rules { repetition_q16: 70_000, ..Rules::GREEDY },
            Rules { frequency_q16: 1, ..Rules::GREEDY },
            Rules { presence_q16: -1, ..Rules::GREEDY },
        ] {
            assert!(!is_plain(rules), "{rules:?}");
        }
        assert!(!Sampling { logprobs: 1, ..Sampling::GREEDY }.is_plain());
    }

    #[test]
    fn chosen_tokens_are_penalised_from_then_on_and_the_prompt_is_not() {
        let sampling = sampling(Rules { presence_q16: 65_536, ..Rules::GREEDY }, 1).behind(&[1, 1]);
        let (logits, mut text) = ([0, 65_536, 65_535], vec![1, 1]);
        for _ in 0..4 {
            text.push(sampling.choose(&logits, &text));
        }
        // Once each has been chosen, all are penalised alike.
        assert_eq!(text[2..], [1, 2, 0, 1]);
    }
}
