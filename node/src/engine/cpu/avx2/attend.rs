//! The two sums of attention with AVX2. Sixteen codes are multiplied at a time; a 32-bit lane takes the sum
//! of at most eight products, and goes to 64 bits before the next.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, mem::transmute};

use super::super::{
    super::isa::Avx2,
    attend::{dots_plain, weighted_sum_plain},
};

/// Codes in a register.
const LANES: usize = 16;
/// Registers of pair sums that an `i32` lane can take, eight products of `16256^2`.
const PAIR_SUMS_MAX: usize = 4;
/// Positions whose products an `i32` lane can take.
const POSITIONS: usize = 2 * PAIR_SUMS_MAX;

/// See [`dots_plain`].
pub(crate) fn dots(_: Avx2, query: &[i16], keys: &[i16], out: &mut [i64]) {
    if query.is_empty() || !query.len().is_multiple_of(LANES) {
        return dots_plain(query, keys, out);
    }
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { dots_avx2(query, keys, out) }
}

#[target_feature(enable = "avx2")]
fn dots_avx2(query: &[i16], keys: &[i16], out: &mut [i64]) {
    let (query, _) = query.as_chunks::<LANES>();
    let (keys, _) = keys.as_chunks::<LANES>();
    for (dot, key) in out.iter_mut().zip(keys.chunks_exact(query.len())) {
        let mut sum = _mm256_setzero_si256();
        for (query, key) in query.chunks(PAIR_SUMS_MAX).zip(key.chunks(PAIR_SUMS_MAX)) {
            let mut part = _mm256_setzero_si256();
            for (q, k) in query.iter().zip(key) {
                part = _mm256_add_epi32(part, _mm256_madd_epi16(load(q), load(k)));
            }
            sum = _mm256_add_epi64(sum, _mm256_add_epi64(low_wide(part), high_wide(part)));
        }
        *dot = sum_lanes(sum);
    }
}

/// See [`weighted_sum_plain`].
pub(crate) fn weighted_sum(_: Avx2, codes: &[i16], values: &[i16], out: &mut [i64]) {
    if out.is_empty() || !out.len().is_multiple_of(LANES) {
        return weighted_sum_plain(codes, values, out);
    }
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { weighted_sum_avx2(codes, values, out) }
}

#[target_feature(enable = "avx2")]
fn weighted_sum_avx2(codes: &[i16], values: &[i16], out: &mut [i64]) {
    let width = out.len() / LANES;
    let (values, _) = values.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (codes, values) in codes.chunks(POSITIONS).zip(values.chunks(POSITIONS * width)) {
        for (column, out) in out.iter_mut().enumerate() {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (at, codes) in codes.chunks(2).enumerate() {
                let first = load(&values[2 * at * width + column]);
                let second = values
                    .get((2 * at + 1) * width + column)
                    .map_or(_mm256_setzero_si256(), |second| load(second));
                let weights = pair(codes);
                low = add_products(low, _mm256_unpacklo_epi16(first, second), weights);
                high = add_products(high, _mm256_unpackhi_epi16(first, second), weights);
            }
            add_columns(out, low, high);
        }
    }
}

/// One or two codes in every 32-bit lane.
#[inline]
#[target_feature(enable = "avx2")]
fn pair(codes: &[i16]) -> __m256i {
    let second = codes.get(1).map_or(0, |code| u32::from(*code as u16));
    _mm256_set1_epi32((u32::from(codes[0] as u16) | second << 16) as i32)
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, values: __m256i, weights: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(values, weights))
}

/// Adds sixteen 32-bit sums to their columns. Interleaving two rows works on halves of a register, so `low`
/// holds columns 0..4 and 8..12, and `high` the others.
#[inline]
#[target_feature(enable = "avx2")]
fn add_columns(out: &mut [i64; LANES], low: __m256i, high: __m256i) {
    let (quads, _) = out.as_chunks_mut::<4>();
    for (quad, lanes) in
        quads.iter_mut().zip([low_wide(low), low_wide(high), high_wide(low), high_wide(high)])
    {
        // SAFETY: four numbers of 64 bits are the lanes of a register, and the other way round.
        *quad = unsafe {
            transmute::<__m256i, [i64; 4]>(_mm256_add_epi64(transmute::<[i64; 4], __m256i>(*quad), lanes))
        };
    }
}

/// The lower four lanes, as 64-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn low_wide(lanes: __m256i) -> __m256i {
    _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes))
}

/// The upper four lanes, as 64-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn high_wide(lanes: __m256i) -> __m256i {
    _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(lanes))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_lanes(lanes: __m256i) -> i64 {
    let two = _mm_add_epi64(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    _mm_cvtsi128_si64(two) + _mm_extract_epi64::<1>(two)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(codes: &[i16; LANES]) -> __m256i {
    // SAFETY: sixteen numbers of 16 bits are the lanes of a register.
    unsafe { transmute(*codes) }
}
