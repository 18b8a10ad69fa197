//! Forms for machines with AVX2.

pub(crate) mod attend;
pub(crate) mod matmul;
pub(crate) mod peak;
pub(crate) mod widened;
pub(crate) mod words;
