//! The forward pass of the architectures `llama`, `qwen2` and `qwen3` (page, section 4), composed of the
//! operators.
//!
//! [`LlamaConfig::check`] refuses sizes for which a bound of the page's section 8 does not hold,
//! [`LlamaWeights::load`] codes the tensors of a file, and [`Reference`] runs them, one token at a time.

mod architecture;
mod config;
mod reference;
mod weights;

pub use architecture::Architecture;
pub use config::{
    CONTEXT_MAX, ConfigError, HEAD_DIM_MAX, HEADS_MAX, LAYERS_MAX, LlamaConfig, ROPE_BASE_LOG2_MAX,
    ROPE_UNSCALED, VOCAB_MAX,
};
pub use reference::{Reference, Step, StepError};
pub use weights::{LayerWeights, LlamaWeights, LoadError, Tensor};
