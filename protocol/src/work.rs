//! The work formula: what a job costs to compute, from the model's sizes and the token counts alone.
//!
//! GPU time cannot be proven from outside, so the ledger bills work. Everyone who knows the model and the counts gets
//! the same number, streaming or not, with or without a clock.
//!
//! With M the multiply-accumulates of all layers' matrices for one token, H those of the output matrix and A those of
//! attention for one attended position (all layers, scores and values):
//!
//! - prefill of P tokens: `P·M + A·P(P+1)/2`;
//! - G output tokens after it: `G·H + (G-1)·M + A·(sum of P+i for i = 1..G-1)`. The first token comes out of the
//!   prefill and needs the output matrix alone; every further one needs the pass of the token before it.

use serde::{Deserialize, Serialize};

use crate::{
    exact::llama::LlamaConfig,
    layout::Layout,
    units::{GpuNs, Work, WorkRate},
};

/// Sizes of a model of the `llama` family that decide its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Query heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Size of a head.
    pub head_dim: u64,
    /// Width of the feed-forward part.
    pub ffn: u64,
    /// Tokens in the vocabulary.
    pub vocab: u64,
}

impl From<&LlamaConfig> for ModelShape {
    fn from(config: &LlamaConfig) -> Self {
        Self {
            layers: config.layers.into(),
            width: config.width.into(),
            heads: config.heads.into(),
            kv_heads: config.kv_heads.into(),
            head_dim: config.head_dim.into(),
            ffn: config.ffn.into(),
            vocab: config.vocab.into(),
        }
    }
}

/// Multiply-accumulates of one model: M, H and A of the formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkModel {
    /// M: all layers' matrices, one token.
    pub layers: u64,
    /// H: the output matrix, one token.
    pub head: u64,
    /// A: attention of one token to one position, all layers and heads.
    pub attention: u64,
}

/// Largest M, H or A that is accepted, so that no product below overflows 128 bits nor any sane job 64.
pub const WORK_PER_TOKEN_MAX: u64 = 1 << 50;

impl WorkModel {
    /// The work of a model with this shape. `None` if the sizes are absurd ([`WORK_PER_TOKEN_MAX`]).
    #[must_use]
    pub fn of(shape: &ModelShape) -> Option<Self> {
        let [layers, width, heads, kv, dim, ffn, vocab] =
            [shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_dim, shape.ffn, shape.vocab]
                .map(u128::from);
        if [layers, width, heads, kv, dim, ffn, vocab].iter().any(|&size| size > 1 << 24) {
            return None;
        }
        let projections = 2 * width * heads * dim + 2 * width * kv * dim;
        let model = Self {
            layers: narrow(layers.checked_mul(projections + 3 * width * ffn)?)?,
            head: narrow(width * vocab)?,
            attention: narrow(2 * layers * heads * dim)?,
        };
        model.is_sane().then_some(model)
    }

    /// Whether the numbers are within [`WORK_PER_TOKEN_MAX`]; a message that says otherwise is refused.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        [self.layers, self.head, self.attention].iter().all(|&work| work <= WORK_PER_TOKEN_MAX)
    }

    /// Work of reading a prompt of `prompt` tokens. `None` on overflow of 64 bits.
    #[must_use]
    pub fn prefill(&self, prompt: u32) -> Option<Work> {
        let p = u128::from(prompt);
        let positions = p * (p + 1) / 2;
        narrow(p * u128::from(self.layers) + positions * u128::from(self.attention)).map(Work)
    }

    /// Work of `output` tokens after a prompt of `prompt`. `None` on overflow of 64 bits.
    #[must_use]
    pub fn decode(&self, prompt: u32, output: u32) -> Option<Work> {
        let (p, g) = (u128::from(prompt), u128::from(output));
        let passes = g.saturating_sub(1);
        let positions = passes * p + passes * g / 2;
        let work = g * u128::from(self.head)
            + passes * u128::from(self.layers)
            + positions * u128::from(self.attention);
        narrow(work).map(Work)
    }

    /// Appends the three numbers, for objects that bind them.
    pub fn lay_out(&self, layout: &mut Layout) {
        layout.u64(self.layers).u64(self.head).u64(self.attention);
    }
}

/// What of a job is billed as read and what as written, in tokens: its first `prepaid` tokens, which its client had paid
/// another provider for, are billed as if they had been there to read.
#[must_use]
pub fn billed(read: u32, written: u32, prepaid: u32) -> (u32, u32) {
    let moved = prepaid.min(written);
    (read.saturating_add(moved), written - moved)
}

fn narrow(work: u128) -> Option<u64> {
    u64::try_from(work).ok()
}

/// A device's two rates. Prefill is a matrix product and much faster per unit of work than decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rates {
    /// Work per second while reading prompts.
    pub prefill: WorkRate,
    /// Work per second while writing tokens, at batch one.
    pub decode: WorkRate,
}

impl Rates {
    /// Reference GPU time of a job: `prefill work / prefill rate + decode work / decode rate`, each part rounded down to
    /// a nanosecond. `None` on overflow or for a rate of zero.
    #[must_use]
    pub fn time(&self, model: &WorkModel, prompt: u32, output: u32) -> Option<GpuNs> {
        let prefill = self.prefill.time(model.prefill(prompt)?)?;
        let decode = self.decode.time(model.decode(prompt, output)?)?;
        prefill.checked_add(decode)
    }

    /// Appends both rates, for objects that bind them.
    pub fn lay_out(&self, layout: &mut Layout) {
        layout.u64(self.prefill.0).u64(self.decode.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOLLM2: ModelShape =
        ModelShape { layers: 30, width: 576, heads: 9, kv_heads: 3, head_dim: 64, ffn: 1536, vocab: 49152 };

    #[test]
    fn smollm2_costs_its_parameters() {
        let model = WorkModel::of(&SMOLLM2).unwrap();
        assert_eq!(model.layers + model.head, 134_479_872, "one MAC per weight of the matrices");
        assert_eq!(model.attention, 2 * 30 * 576);
    }

    #[test]
    fn output_work_is_the_sum_over_its_tokens() {
        let model = WorkModel::of(&SMOLLM2).unwrap();
        for (prompt, output) in [(1, 1), (5, 1), (5, 2), (7, 40)] {
            let by_token: u64 = (0..u64::from(output))
                .map(|i| {
                    let pass = model.layers + model.attention * (u64::from(prompt) + i);
                    model.head + if i > 0 { pass } else { 0 }
                })
                .sum();
            assert_eq!(model.decode(prompt, output), Some(Work(by_token)), "{prompt} {output}");
        }
        assert_eq!(model.decode(9, 0), Some(Work(0)));
    }

    #[test]
    fn one_token_is_not_free() {
        let model = WorkModel::of(&SMOLLM2).unwrap();
        let rates = Rates { prefill: WorkRate(20_000_000_000), decode: WorkRate(5_000_000_000) };
        let one = rates.time(&model, 40, 1).unwrap();
        assert!(one.0 > 200_000_000, "40 tokens of prefill are in it: {one:?}");
    }

    #[test]
    fn absurd_sizes_are_refused_and_never_overflow() {
        let huge = ModelShape { layers: u64::MAX, ..SMOLLM2 };
        assert_eq!(WorkModel::of(&huge), None);
        let most =
            WorkModel { layers: WORK_PER_TOKEN_MAX, head: WORK_PER_TOKEN_MAX, attention: WORK_PER_TOKEN_MAX };
        assert_eq!(most.prefill(u32::MAX), None);
        assert_eq!(most.decode(u32::MAX, u32::MAX), None);
    }
}
