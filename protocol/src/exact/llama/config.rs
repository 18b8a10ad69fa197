//! The sizes of a model, and the bounds within which no accumulator can overflow (page, section 8).

use super::Architecture;
use crate::exact::{
    rational::Dyadic,
    tables::RopeFrequencies,
    weights::{BLOCK, COLUMNS_MAX},
};

/// The most layers. No bound of the arithmetic depends on it; it bounds what a file can ask for.
pub const LAYERS_MAX: u32 = 1 << 10;
/// The most query heads.
pub const HEADS_MAX: u32 = 1 << 12;
/// The largest head.
pub const HEAD_DIM_MAX: u32 = 256;
/// The most positions: sums over positions stay below 2^46.
pub const CONTEXT_MAX: u32 = 1 << 17;
/// The largest vocabulary.
pub const VOCAB_MAX: u32 = 1 << 20;
/// The base of the rotary embedding, and what its frequencies are divided by, is below 2 to this.
pub const ROPE_BASE_LOG2_MAX: i32 = 32;
/// The bits of the single float 1: a rotary embedding that is not scaled.
pub const ROPE_UNSCALED: u32 = 0x3f80_0000;

/// The hyperparameters of a model of the `llama` family. Floats of the file are kept as their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlamaConfig {
    /// Which of the family it is.
    pub architecture: Architecture,
    /// Layers.
    pub layers: u32,
    /// Length of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads, a divisor of `heads`.
    pub kv_heads: u32,
    /// Length of one head.
    pub head_dim: u32,
    /// Length of the feed-forward part.
    pub ffn: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Positions that a sequence may have.
    pub context: u32,
    /// Base of the rotary embedding, as the bits of a single float.
    pub rope_base: u32,
    /// What linear scaling divides the frequencies of the rotary embedding by, as the bits of a single float.
    pub rope_scaling: u32,
    /// Epsilon of the RMS norm, as the bits of a single float.
    pub epsilon: u32,
}

/// A size for which numerics v1 is not proven exact. The model is at fault; it cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A size lies outside its range.
    #[error("{name} is {value}: numerics v1 is proven for {min} to {max}")]
    Range {
        /// Which size.
        name: &'static str,
        /// What the model says.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// A size does not divide as the format needs.
    #[error("{name} is {value}: it must be a multiple of {of}")]
    Multiple {
        /// Which size.
        name: &'static str,
        /// What the model says.
        value: u64,
        /// What it must be a multiple of.
        of: u64,
    },
    /// The base of the rotary embedding is not a number in its range.
    #[error("rope base (float bits {0:#010x}) must lie between 1 and 2^{ROPE_BASE_LOG2_MAX}")]
    RopeBase(u32),
    /// What the frequencies of the rotary embedding are divided by is not a number in its range.
    #[error("a rope scaling factor (float bits {0:#010x}) must lie between 1 and 2^{ROPE_BASE_LOG2_MAX}")]
    RopeScaling(u32),
    /// The epsilon is not a number in its range.
    #[error("norm epsilon (float bits {0:#010x}) must lie between 0 and 1")]
    Epsilon(u32),
}

impl LlamaConfig {
    /// Checks every size that a bound depends on.
    ///
    /// # Errors
    /// The first size that breaks one.
    pub fn check(&self) -> Result<(), ConfigError> {
        let columns = COLUMNS_MAX as u64;
        range("layers", self.layers.into(), 1, LAYERS_MAX.into())?;
        range("heads", self.heads.into(), 1, HEADS_MAX.into())?;
        range("key-value heads", self.kv_heads.into(), 1, self.heads.into())?;
        range("head size", self.head_dim.into(), 2, HEAD_DIM_MAX.into())?;
        range("width", self.width.into(), 1, columns)?;
        range("feed-forward size", self.ffn.into(), 1, columns)?;
        range("vocabulary", self.vocab.into(), 2, VOCAB_MAX.into())?;
        range("context", self.context.into(), 1, CONTEXT_MAX.into())?;
        multiple("heads", self.heads.into(), self.kv_heads.into())?;
        multiple("head size", self.head_dim.into(), 2)?;
        multiple("width", self.width.into(), BLOCK as u64)?;
        multiple("feed-forward size", self.ffn.into(), BLOCK as u64)?;
        multiple("heads times head size", self.query_width() as u64, BLOCK as u64)?;
        if self.architecture.has_biases() {
            multiple("key-value heads times head size", self.kv_width() as u64, BLOCK as u64)?;
        }
        if self.architecture.has_head_norms() {
            multiple("head size", self.head_dim.into(), BLOCK as u64)?;
        }
        self.rope_base()?;
        rope_divisor(self.rope_scaling)?;
        self.epsilon()?;
        Ok(())
    }

    /// Length of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads as usize * self.head_dim as usize
    }

    /// Length of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads as usize * self.head_dim as usize
    }

    /// The base of the rotary embedding as a rational.
    ///
    /// # Errors
    /// [`ConfigError::RopeBase`] if it is not a number from 1 to 2^32.
    pub fn rope_base(&self) -> Result<Dyadic, ConfigError> {
        from_one(self.rope_base).ok_or(ConfigError::RopeBase(self.rope_base))
    }

    /// The frequencies of the rotary embedding: those of the base, divided by the file's `factors`, one a pair,
    /// where it has some, and then by linear scaling.
    ///
    /// # Errors
    /// [`ConfigError`] if the base or a factor is not a number in its range.
    ///
    /// # Panics
    /// If there are factors, but not one a pair.
    pub fn rope_frequencies(&self, factors: Option<&[u32]>) -> Result<RopeFrequencies, ConfigError> {
        let mut frequencies = RopeFrequencies::new(self.rope_base()?, self.head_dim as usize);
        if let Some(factors) = factors {
            let factors = factors.iter().map(|&bits| rope_divisor(bits)).collect::<Result<Vec<_>, _>>()?;
            frequencies = frequencies.divided(&factors);
        }
        Ok(frequencies.divided(&vec![rope_divisor(self.rope_scaling)?; self.head_dim as usize / 2]))
    }

    /// The epsilon of the RMS norm as a rational.
    ///
    /// # Errors
    /// [`ConfigError::Epsilon`] if it is not a number from 0 to 1.
    pub fn epsilon(&self) -> Result<Dyadic, ConfigError> {
        let epsilon = Dyadic::from_f32_bits(self.epsilon).filter(|e| e.numerator() >= 0);
        let in_range = |e: &Dyadic| e.floor_log2().is_none_or(|log2| log2 < 0);
        epsilon.filter(in_range).ok_or(ConfigError::Epsilon(self.epsilon))
    }
}

/// What frequencies are divided by, from its float bits.
fn rope_divisor(bits: u32) -> Result<Dyadic, ConfigError> {
    from_one(bits).ok_or(ConfigError::RopeScaling(bits))
}

/// The number with these float bits, if it is at least 1 and below 2^32.
fn from_one(bits: u32) -> Option<Dyadic> {
    let number = Dyadic::from_f32_bits(bits).filter(|b| b.numerator() > 0);
    number.filter(|b| b.floor_log2().is_some_and(|e| (0..ROPE_BASE_LOG2_MAX).contains(&e)))
}

fn range(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { name, value, min, max }) }
}

fn multiple(name: &'static str, value: u64, of: u64) -> Result<(), ConfigError> {
    if value.is_multiple_of(of) { Ok(()) } else { Err(ConfigError::Multiple { name, value, of }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: LlamaConfig = LlamaConfig {
        architecture: Architecture::Llama,
        layers: 30,
        width: 576,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        vocab: 49152,
        context: 8192,
        rope_base: 0x47c3_5000, // 100,000
        rope_scaling: ROPE_UNSCALED,
        epsilon: 0x3727_c5ac, // 0.00001
    };

    #[test]
    fn a_sound_model_passes() {
        assert_eq!(SOUND.check(), Ok(()));
        assert_eq!(LlamaConfig { epsilon: 0, rope_base: 0x3f80_0000, ..SOUND }.check(), Ok(()));
    }

    #[test]
    fn architectures_with_vectors_of_heads_need_whole_blocks_of_them() {
        let qwen2 = LlamaConfig { architecture: Architecture::Qwen2, ..SOUND };
        let qwen3 = LlamaConfig { architecture: Architecture::Qwen3, ..SOUND };
        assert_eq!((qwen2.check(), qwen3.check()), (Ok(()), Ok(())));
        let narrow = |config| LlamaConfig { heads: 12, kv_heads: 1, head_dim: 48, ..config };
        assert_eq!(narrow(SOUND).check(), Ok(()));
        assert!(narrow(qwen2).check().is_err() && narrow(qwen3).check().is_err());
    }

    #[test]
    fn frequencies_are_divided_pair_by_pair_and_then_all() {
        let sound = LlamaConfig { heads: 8, kv_heads: 8, head_dim: 4, ..SOUND };
        let bits = |v: f32| v.to_bits();
        let plain = sound.rope_frequencies(None).expect("the base is sound");
        assert_eq!(sound.rope_frequencies(Some(&[ROPE_UNSCALED; 2])), Ok(plain.clone()));
        let doubled = LlamaConfig { rope_scaling: bits(2.0), ..sound };
        assert_eq!(doubled.check(), Ok(()));
        let both = doubled.rope_frequencies(Some(&[bits(1.0), bits(4.0)])).expect("the factors are sound");
        assert_eq!(both, sound.rope_frequencies(Some(&[bits(2.0), bits(8.0)])).expect("sound"));
        // The first pair turns by the position itself, so twice the position undoes the scaling.
        assert_eq!(both.row(14)[0], plain.row(7)[0]);
        for wrong in [0.0, 0.5, -2.0, f32::NAN, 4_294_967_296.0].map(bits) {
            let error = Err(ConfigError::RopeScaling(wrong));
            assert_eq!(sound.rope_frequencies(Some(&[bits(1.0), wrong])), error);
            assert_eq!(LlamaConfig { rope_scaling: wrong, ..SOUND }.check(), error.map(|_| ()));
        }
    }

    #[test]
    fn every_size_is_bounded_on_both_sides() {
        type Set = fn(&mut LlamaConfig, u32);
        let sizes: [(Set, &[u32]); 8] = [
            (|c, v| c.layers = v, &[0, LAYERS_MAX + 1, u32::MAX]),
            (|c, v| c.heads = v, &[0, 10, HEADS_MAX + 2, u32::MAX]),
            (|c, v| c.kv_heads = v, &[0, 2, 10, u32::MAX]),
            (|c, v| c.head_dim = v, &[0, 1, 63, 2, HEAD_DIM_MAX + 2, u32::MAX]),
            (|c, v| c.width = v, &[0, 31, 577, (1 << 24) + 32, u32::MAX]),
            (|c, v| c.ffn = v, &[0, 31, 1537, (1 << 24) + 32, u32::MAX]),
            (|c, v| c.vocab = v, &[0, 1, VOCAB_MAX + 1, u32::MAX]),
            (|c, v| c.context = v, &[0, CONTEXT_MAX + 1, u32::MAX]),
        ];
        for (set, values) in sizes {
            for &value in values {
                let mut config = SOUND;
                set(&mut config, value);
                assert!(config.check().is_err(), "{config:?}");
            }
        }
    }

    #[test]
    fn floats_outside_their_range_are_named() {
        for bits in [0, 0x3f7f_ffff, 0x4f80_0000, 0x7f80_0000, 0x7fc0_0000, 0xc7c3_5000] {
            assert_eq!(LlamaConfig { rope_base: bits, ..SOUND }.check(), Err(ConfigError::RopeBase(bits)));
        }
        for bits in [0x3f80_0000, 0x7f80_0000, 0xffc0_0000, 0xb727_c5ac] {
            assert_eq!(LlamaConfig { epsilon: bits, ..SOUND }.check(), Err(ConfigError::Epsilon(bits)));
        }
    }
}
