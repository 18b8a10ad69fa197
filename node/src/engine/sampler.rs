//! The choice of a token: the largest logit, or the largest after temperature and Gumbel noise.

mod gumbel;

use self::gumbel::{NOISE_MAX, Noise};
use super::{fixed::round_shift, score_chain::argmax};

/// Least temperature that is not zero, Q16: 0.01.
pub const TEMPERATURE_MIN_Q16: u32 = 656;
/// Largest temperature, Q16: 100.
pub const TEMPERATURE_MAX_Q16: u32 = 100 << 16;

const KEY_CONTEXT: &str = "gridhour sampling key v1";

/// The key of a request's noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SamplingKey(pub [u32; 2]);

impl SamplingKey {
    /// The key of a seed and a request core, the encoding of the unsalted prompt tokens and sampling
    /// parameters.
    pub fn derive(seed: u64, request_core: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(&seed.to_le_bytes()).update(request_core);
        let digest = *hasher.finalize().as_bytes();
        let (words, _) = digest.as_chunks::<4>();
        Self([u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1])])
    }
}

/// How tokens are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling {
    /// Temperature in Q16: 0, or from [`TEMPERATURE_MIN_Q16`] to [`TEMPERATURE_MAX_Q16`].
    pub temperature_q16: u32,
    /// Key of the noise; without effect at temperature 0.
    pub key: SamplingKey,
}

impl Sampling {
    /// The largest logit, always.
    pub const GREEDY: Self = Self { temperature_q16: 0, key: SamplingKey([0; 2]) };

    /// Whether the temperature is in range.
    pub fn is_valid(&self) -> bool {
        let range = TEMPERATURE_MIN_Q16..=TEMPERATURE_MAX_Q16;
        self.temperature_q16 == 0 || range.contains(&self.temperature_q16)
    }

    /// The token at `position`, counted from the start of the prompt, by the logits of the position before
    /// it.
    ///
    /// # Panics
    /// If `logits` is empty.
    pub fn choose(&self, logits: &[i32], position: u32) -> u32 {
        let (best, _) = argmax(logits).expect("a vocabulary has tokens");
        match self.temperature_q16 {
            0 => best,
            temperature => choose_noisy(logits, best, temperature, Noise::new(self.key, position)),
        }
    }
}

/// The largest sum of tempered logit and noise, ties to the lowest id. The noise is bounded, most of it by
/// its first bits, so only tokens that may still win are worked out; `best`, the largest logit, sets the mark
/// to begin with.
fn choose_noisy(logits: &[i32], best: u32, temperature: u32, noise: Noise) -> u32 {
    let inverse = (1i64 << 32) / i64::from(temperature);
    let tempered = |logit: i32| round_shift(i64::from(logit) * inverse, 16);
    let mut top = (tempered(logits[best as usize]) + noise.at(best).value(), best);
    for (id, logit) in (0u32..).zip(logits) {
        let score = tempered(*logit);
        if score + NOISE_MAX < top.0 {
            continue;
        }
        let draw = noise.at(id);
        if score + draw.upper_bound() < top.0 {
            continue;
        }
        let score = score + draw.value();
        if score > top.0 || (score == top.0 && id < top.1) {
            top = (score, id);
        }
    }
    top.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature_q16: u32, seed: u64) -> Sampling {
        Sampling { temperature_q16, key: SamplingKey::derive(seed, b"core") }
    }

    /// The same choice with nothing left out.
    fn choose_all(logits: &[i32], sampling: &Sampling, position: u32) -> u32 {
        let inverse = (1i64 << 32) / i64::from(sampling.temperature_q16);
        let noise = Noise::new(sampling.key, position);
        let score = |(id, logit): (u32, &i32)| {
            (round_shift(i64::from(*logit) * inverse, 16) + noise.at(id).value(), std::cmp::Reverse(id))
        };
        let top = (0..).zip(logits).map(score).max().expect("not empty");
        top.1.0
    }

    #[test]
    fn temperature_zero_takes_the_first_largest() {
        assert_eq!(Sampling::GREEDY.choose(&[1, 5, 5, 2], 9), 1);
    }

    #[test]
    fn leaving_out_hopeless_tokens_changes_no_choice() {
        for seed in 0..200u64 {
            let logits: Vec<i32> =
                (0..500).map(|i| ((seed + 1) * (i * i + 7) * 7919 % 1_500_001) as i32 - 700_000).collect();
            let sampling = sampling([656, 30_000, 65_536, 6_553_600][seed as usize % 4], seed);
            assert_eq!(sampling.choose(&logits, 3), choose_all(&logits, &sampling, 3), "seed {seed}");
        }
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        // Probabilities 1/2, 1/4, 1/8, 1/8.
        let ln2 = 45_426;
        let logits = [0, -ln2, -2 * ln2, -2 * ln2];
        let mut counts = [0.0f64; 4];
        let (draws, sampling) = (40_000, sampling(65_536, 42));
        (0..draws).for_each(|position| counts[sampling.choose(&logits, position) as usize] += 1.0);
        let expected = [0.5, 0.25, 0.125, 0.125].map(|p| p * f64::from(draws));
        let chi2: f64 = counts.iter().zip(expected).map(|(c, e)| (c - e) * (c - e) / e).sum();
        assert!(chi2 < 16.3, "chi2 {chi2} with 3 degrees of freedom, counts {counts:?}");
    }

    #[test]
    fn temperatures_out_of_range_are_not_valid() {
        let valid = [0, 655, 656, 6_553_600, 6_553_601].map(|t| sampling(t, 0).is_valid());
        assert_eq!(valid, [true, false, true, true, false]);
    }
}
