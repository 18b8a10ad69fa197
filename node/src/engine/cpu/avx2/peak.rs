//! Independent sums of `vpmaddwd`: sixteen products an instruction, and an addition.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, hint::black_box};

use super::super::{super::isa::Avx2, peak::CHAINS};

/// Products of one instruction.
const PRODUCTS: u64 = 16;

/// See [`multiply`](super::super::peak::multiply).
pub(crate) fn multiply(_: Avx2, rounds: u32) -> u64 {
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { multiply_avx2(rounds) }
}

#[target_feature(enable = "avx2")]
fn multiply_avx2(rounds: u32) -> u64 {
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    let codes = black_box(_mm256_set1_epi16(3));
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum is a factor, so that no product is the same as another.
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*sum, codes));
        }
    }
    black_box(sums);
    u64::from(rounds) * CHAINS as u64 * PRODUCTS
}
