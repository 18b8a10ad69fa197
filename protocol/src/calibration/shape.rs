//! The shape of the standard model: one function from a number of bytes, so that both sides have the same.
//!
//! It is a model of the `llama` family whose matrices are all Q8_0. The widest of a ladder of widths is taken
//! of which eight layers fit; then as many layers as fit; then the feed-forward part is widened until the
//! next step would not.

use crate::{
    exact::llama::{Architecture, LlamaConfig, ROPE_UNSCALED},
    units::Work,
    work::WorkModel,
};

/// Tokens of the prompt.
pub const PROMPT_TOKENS: u32 = 256;
/// Tokens of the output.
pub const OUTPUT_TOKENS: u32 = 64;
/// The least memory that is calibrated, in bytes.
pub const MEMORY_MIN: u64 = 4 << 20;
/// The most memory that is calibrated, in bytes.
pub const MEMORY_MAX: u64 = 1 << 40;

/// Widths of the residual stream, each the double of the one before.
const WIDTH_MIN: u32 = 128;
const WIDTH_MAX: u32 = 1 << 14;
/// Layers at least: the job is to be one of many layers, whatever its size.
const LAYERS_MIN: u64 = 8;
/// The feed-forward part is at least so many times as wide as the stream.
const FFN_TIMES: u32 = 3;
/// Columns by which it grows: a block of weights.
const FFN_STEP: u32 = 32;
/// Query heads that share a key-value head.
const GROUP: u32 = 4;
/// The largest head.
const HEAD_DIM_MAX: u32 = 128;
/// Tokens of the vocabulary: so many times the width, up to a common size.
const VOCAB_TIMES: u32 = 8;
const VOCAB_MAX: u32 = 1 << 15;
/// Positions of a page of keys and values.
const PAGE: u64 = 64;
/// Base of the rotary embedding: 10,000 as the bits of a single float.
const ROPE_BASE: u32 = 0x461c_4000;
/// Epsilon of the norms: 0.00001 as the bits of a single float.
const EPSILON: u32 = 0x3727_c5ac;

/// A standard model, by its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardShape {
    memory_bytes: u64,
    config: LlamaConfig,
}

/// No standard job fills this memory. Whoever asks for it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a standard job fills from {MEMORY_MIN} to {MEMORY_MAX} bytes, not {0}")]
pub struct NoStandardJob(pub u64);

impl StandardShape {
    /// The model that fills `memory_bytes` together with the keys and values of its job, from [`MEMORY_MIN`]
    /// to [`MEMORY_MAX`].
    ///
    /// # Errors
    /// If the memory lies outside.
    pub fn of(memory_bytes: u64) -> Result<Self, NoStandardJob> {
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&memory_bytes) {
            return Err(NoStandardJob(memory_bytes));
        }
        let fits = |config: &LlamaConfig| bytes(config) <= memory_bytes;
        let mut width = WIDTH_MIN;
        while width < WIDTH_MAX && fits(&config(2 * width, LAYERS_MIN as u32, 0)) {
            width *= 2;
        }
        let (empty, layer) = parts(&config(width, 1, 0));
        // Far below the bound of layers: the widest model of the most memory has some three hundred.
        let layers = ((memory_bytes - empty) / layer) as u32;
        let steps = last(|steps| fits(&config(width, layers, steps)));
        Ok(Self { memory_bytes, config: config(width, layers, steps) })
    }

    /// The memory that it fills.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Its sizes as the arithmetic knows them.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Bytes that it takes: 9/8 a weight of a matrix, the most that any engine keeps of Q8_0, and the keys
    /// and values of its job.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(&self.config)
    }

    /// Bytes of keys and values of its job, in whole pages.
    #[must_use]
    pub fn kv_bytes(&self) -> u64 {
        kv_bytes(&self.config)
    }

    /// Its work formula.
    #[must_use]
    pub fn work(&self) -> WorkModel {
        work(&self.config)
    }

    /// Work of reading the prompt.
    #[must_use]
    pub fn prefill_work(&self) -> Work {
        self.work().prefill(PROMPT_TOKENS).unwrap_or(Work(u64::MAX))
    }

    /// Work of every output token but the first, which comes out of the prefill.
    #[must_use]
    pub fn decode_work(&self) -> Work {
        let of = |tokens| self.work().decode(PROMPT_TOKENS, tokens).unwrap_or(Work(u64::MAX));
        of(OUTPUT_TOKENS).saturating_sub(of(1))
    }
}

/// A model of this width whose feed-forward part has so many steps more than the least.
fn config(width: u32, layers: u32, steps: u32) -> LlamaConfig {
    let head_dim = (width / GROUP).min(HEAD_DIM_MAX);
    let heads = width / head_dim;
    LlamaConfig {
        architecture: Architecture::Llama,
        layers,
        width,
        heads,
        kv_heads: heads / GROUP,
        head_dim,
        ffn: FFN_TIMES * width + FFN_STEP * steps,
        vocab: (VOCAB_TIMES * width).min(VOCAB_MAX),
        context: PROMPT_TOKENS + OUTPUT_TOKENS,
        rope_base: ROPE_BASE,
        rope_scaling: ROPE_UNSCALED,
        epsilon: EPSILON,
    }
}

fn work(config: &LlamaConfig) -> WorkModel {
    WorkModel::of(&config.into()).expect("the largest standard model is far below the bound")
}

/// One multiplication a weight: the work of a token says how many weights there are.
fn bytes(config: &LlamaConfig) -> u64 {
    let work = work(config);
    (work.layers + work.head) / 8 * 9 + kv_bytes(config)
}

/// Keys and values in whole pages: two bytes a number, and a scale of eight a head.
fn kv_bytes(config: &LlamaConfig) -> u64 {
    let positions = u64::from(config.context).next_multiple_of(PAGE);
    2 * u64::from(config.layers * config.kv_heads) * (2 * u64::from(config.head_dim) + 8) * positions
}

/// Bytes without any layer, and of one layer, from a model that has one.
fn parts(one: &LlamaConfig) -> (u64, u64) {
    let layer = bytes(&LlamaConfig { layers: 2, ..*one }) - bytes(one);
    (bytes(one) - layer, layer)
}

/// The last number for which `holds`, which holds for 0 and, from some number on, no more.
fn last(holds: impl Fn(u32) -> bool) -> u32 {
    let mut beyond = 1;
    while holds(beyond) {
        beyond *= 2;
    }
    let mut least = 0;
    while beyond - least > 1 {
        let middle = least + (beyond - least) / 2;
        if holds(middle) {
            least = middle;
        } else {
            beyond = middle;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(bytes: u64) -> StandardShape {
        StandardShape::of(bytes).expect("within the bounds")
    }

    #[test]
    fn known_memories_have_known_shapes() {
        let sizes = |bytes| {
            let LlamaConfig { width, layers, heads, kv_heads, ffn, vocab, .. } = shape(bytes).config;
            (width, layers, heads, kv_heads, ffn, vocab)
        };
        assert_eq!(sizes(MEMORY_MIN), (128, 15, 4, 1, 384, 1024));
        assert_eq!(sizes(2 << 30), (4096, 9, 32, 8, 12_512, 32_768));
        assert_eq!(sizes(80_000_000_000), (16_384, 22, 128, 32, 51_488, 32_768));
        assert_eq!(shape(MEMORY_MAX).config.width, WIDTH_MAX);
    }

    #[test]
    fn memories_outside_the_bounds_are_refused() {
        for bytes in [0, MEMORY_MIN - 1, MEMORY_MAX + 1, u64::MAX] {
            assert_eq!(StandardShape::of(bytes), Err(NoStandardJob(bytes)));
        }
    }

    #[test]
    fn work_leaves_the_first_token_to_the_prefill() {
        let shape = shape(64 << 20);
        let work = shape.work();
        let passes = u64::from(OUTPUT_TOKENS) - 1;
        let positions: u64 = (1..=passes).map(|pass| u64::from(PROMPT_TOKENS) + pass).sum();
        let expected = passes * (work.layers + work.head) + positions * work.attention;
        assert_eq!(shape.decode_work(), Work(expected));
    }

    proptest! {
        #[test]
        fn every_shape_is_sound_and_fills_its_memory(
            bytes in prop_oneof![MEMORY_MIN..=64 << 20, MEMORY_MIN..=MEMORY_MAX],
        ) {
            let shape = shape(bytes);
            prop_assert_eq!(shape.config.check(), Ok(()));
            prop_assert!(shape.config.vocab.is_power_of_two() && shape.config.layers >= LAYERS_MIN as u32);
            prop_assert!(shape.bytes() <= bytes, "{} of {}", shape.bytes(), bytes);
            let least = if bytes < 64 << 20 { bytes / 100 * 95 } else { bytes / 1000 * 995 };
            prop_assert!(shape.bytes() >= least, "{} of {}", shape.bytes(), bytes);
            prop_assert!(shape.prefill_work() < Work(1 << 60) && shape.decode_work() > Work(0));
        }
    }
}
