//! Independent sums of `vpdpbusd`: sixty-four products an instruction.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, hint::black_box};

use super::super::{super::isa::Avx512, peak::CHAINS};

/// Products of one instruction.
const PRODUCTS: u64 = 64;

/// See [`multiply`](super::super::peak::multiply).
pub(crate) fn multiply(_: Avx512, rounds: u32) -> u64 {
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe { multiply_wide(rounds) }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply_wide(rounds: u32) -> u64 {
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    let (codes, limbs) = black_box((_mm512_set1_epi8(5), _mm512_set1_epi8(3)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, codes, limbs);
        }
    }
    black_box(sums);
    u64::from(rounds) * CHAINS as u64 * PRODUCTS
}
