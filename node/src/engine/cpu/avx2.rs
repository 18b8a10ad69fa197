//! Second forms of the operators where AVX2 pays. Every entry takes the proof that the machine has it.

pub(super) mod a15;
pub(super) mod attend;
pub(super) mod matmul;
