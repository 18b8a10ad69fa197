//! Options that several commands have, for what computes and how.

use clap::ValueEnum;
use gridhour_node::engine::isa::Isa;

/// Most threads that are started.
pub const THREADS_MAX: i64 = 1024;

/// The instructions of the processor.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Instructions {
    /// The fastest that this machine has
    Auto,
    /// Plain Rust
    Portable,
    /// AVX2
    Avx2,
    /// AVX-512 with VNNI
    Avx512,
}

impl From<Instructions> for Isa {
    fn from(instructions: Instructions) -> Self {
        match instructions {
            Instructions::Auto => Self::Auto,
            Instructions::Portable => Self::Portable,
            Instructions::Avx2 => Self::Avx2,
            Instructions::Avx512 => Self::Avx512,
        }
    }
}
