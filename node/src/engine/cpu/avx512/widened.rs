//! Plain loops compiled for the registers of AVX-512: the compiler finds the vectors, the bits are those of the loop.
#![allow(unsafe_code)]

use super::super::super::isa::{Avx512, Work};

/// Runs `work`, which is compiled into this function and so uses these instructions.
#[inline(always)]
pub(crate) fn run<W: Work>(_: Avx512, work: W) -> W::Result {
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe { run_wide(work) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn run_wide<W: Work>(work: W) -> W::Result {
    work.run()
}
