//! Plain loops compiled for the registers of AVX-512: the compiler finds the vectors, the bits are those of the loop.
#![allow(unsafe_code)]

use super::super::super::isa::Avx512;

/// Runs `work`, which is compiled into this function and so uses AVX-512 instructions.
#[inline(always)]
pub(crate) fn run<A, R>(_: Avx512, work: impl FnOnce(A) -> R, arguments: A) -> R {
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe { run_wide(work, arguments) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn run_wide<A, R>(work: impl FnOnce(A) -> R, arguments: A) -> R {
    work(arguments)
}
