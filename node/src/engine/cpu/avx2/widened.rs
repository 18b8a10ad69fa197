//! Plain loops compiled for the registers of AVX2: the compiler finds the vectors, the bits are those of the loop.
#![allow(unsafe_code)]

use super::super::super::isa::{Avx2, Work};

/// Runs `work`, which is compiled into this function and so uses these instructions.
#[inline(always)]
pub(crate) fn run<W: Work>(_: Avx2, work: W) -> W::Result {
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe { run_wide(work) }
}

#[target_feature(enable = "avx2")]
fn run_wide<W: Work>(work: W) -> W::Result {
    work.run()
}
