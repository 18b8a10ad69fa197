//! Forms for machines with AVX-512. Two panels stand side by side in a register of sixteen rows.

pub(crate) mod attend;
pub(crate) mod lanes;
pub(crate) mod limbs;
pub(crate) mod matmul;
pub(crate) mod peak;
pub(crate) mod widened;
pub(crate) mod words;
