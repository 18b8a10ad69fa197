//! Choosing a token from integer logits (page, section 6).

mod gumbel;
mod threefry;

pub use gumbel::gumbel;
pub use threefry::threefry2x32;

use super::round::round_shift;

/// The key of a request's noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingKey(pub [u32; 2]);

/// Domain of [`SamplingKey::derive`].
const KEY_DOMAIN: &str = "gridhour sampling key v1";

impl SamplingKey {
    /// The key of a seed and a request core: the encoding of the unsalted prompt tokens and sampling
    /// parameters.
    pub fn derive(seed: u64, request_core: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_DOMAIN);
        hasher.update(&seed.to_le_bytes()).update(request_core);
        let digest = hasher.finalize();
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| digest.as_bytes()[at + i]));
        Self([word(0), word(4)])
    }
}

/// A temperature in Q16: zero (the largest logit wins), or between 0.01 and 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temperature(u32);

/// A temperature outside the range. The request is at fault; choose one inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("temperature {0}/65536: it must be 0, or between 656/65536 (0.01) and 100")]
pub struct TemperatureError(pub u32);

impl Temperature {
    /// The least temperature other than zero, in Q16.
    pub const MIN_Q16: u32 = 656;
    /// The largest temperature, in Q16.
    pub const MAX_Q16: u32 = 100 << 16;
    /// Greedy choice.
    pub const ZERO: Self = Self(0);

    /// A temperature from its Q16 value.
    ///
    /// # Errors
    /// A value that is neither zero nor in `MIN_Q16..=MAX_Q16`.
    pub fn from_q16(value: u32) -> Result<Self, TemperatureError> {
        let valid = value == 0 || (Self::MIN_Q16..=Self::MAX_Q16).contains(&value);
        if valid { Ok(Self(value)) } else { Err(TemperatureError(value)) }
    }

    /// The Q16 value.
    pub fn q16(self) -> u32 {
        self.0
    }
}

/// The token with the largest logit, ties to the lowest id.
///
/// # Panics
/// If there are no logits.
pub fn greedy(logits: &[i32]) -> u32 {
    largest(logits.iter().map(|&l| l.into()))
}

/// The token chosen from `logits` (Q16) at `position`, which is that of the token being chosen, counted from
/// the start of the prompt.
///
/// # Panics
/// If there are no logits.
pub fn sample(logits: &[i32], temperature: Temperature, key: SamplingKey, position: u32) -> u32 {
    if temperature == Temperature::ZERO {
        return greedy(logits);
    }
    let inverse = (1i64 << 32) / i64::from(temperature.0);
    largest((0u32..).zip(logits).map(|(id, &logit)| score(logit, inverse, gumbel(key, position, id))))
}

/// A logit over the temperature, rounded to Q16, plus noise.
fn score(logit: i32, inverse_temperature: i64, noise: i32) -> i64 {
    round_shift(i64::from(logit) * inverse_temperature, 16) + i64::from(noise)
}

/// The index of the largest score, ties to the lowest.
fn largest(scores: impl Iterator<Item = i64>) -> u32 {
    let (id, _) = (0u32..)
        .zip(scores)
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .expect("there is at least one logit");
    id
}
