//! Which of the architectures a model is of: where the forward pass of one differs from another's.

use crate::exact::tables::RopePairs;

/// An architecture of the `llama` family (page, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Neighbours are turned by the rotary embedding.
    Llama,
    /// Halves are turned; queries, keys and values have biases.
    Qwen2,
    /// Halves are turned; queries and keys are normed head by head.
    Qwen3,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The name that files give it, which is also how their keys begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The architecture with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name)
    }

    /// Which values of a head its rotary embedding turns together.
    pub fn rope_pairs(self) -> RopePairs {
        if self == Self::Llama { RopePairs::Neighbours } else { RopePairs::Halves }
    }

    /// Whether queries, keys and values have biases.
    pub fn has_biases(self) -> bool {
        self == Self::Qwen2
    }

    /// Whether queries and keys are normed head by head.
    pub fn has_head_norms(self) -> bool {
        self == Self::Qwen3
    }

    /// Whether a file may hold factors of its rotary frequencies, `rope_freqs.weight`.
    pub fn may_have_rope_factors(self) -> bool {
        self == Self::Llama
    }
}
