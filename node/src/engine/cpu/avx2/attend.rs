//! The two sums of attention with AVX2: eight positions, or eight columns, a register.
//!
//! Two codes of 15 bits make a product of 29, of which a lane of 32 bits holds eight. So one of the factors is split in
//! limbs, `128 * high + low`: the sums of both limbs fit a lane for all that is added before they are put together.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, mem::transmute};

use super::super::{
    super::{device::PAGE, isa::Avx2},
    attend::weighted_sum_plain,
    head_view::KeyPair,
};

/// Codes in a register: two for each lane.
const CODES: usize = 16;
/// Lanes of a register.
const LANES: usize = CODES / 2;
/// Registers of positions that are summed at a time.
const TILE: usize = 4;

/// Two codes as two limbs each, for every lane.
#[derive(Clone, Copy)]
struct Limbs {
    high: __m256i,
    low: __m256i,
}

/// Two sums for each lane.
#[derive(Clone, Copy)]
struct Sums {
    high: __m256i,
    low: __m256i,
}

/// See [`dots_plain`](super::super::attend::dots_plain). A head's 256 products of 16256 and 127 stay below `2^30`.
pub(crate) fn dots(_: Avx2, (query, shift): (&[i16], u32), keys: &[KeyPair], out: &mut [i32; PAGE]) {
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { dots_avx2((query, shift), keys, out) }
}

#[target_feature(enable = "avx2")]
fn dots_avx2((query, shift): (&[i16], u32), keys: &[KeyPair], out: &mut [i32; PAGE]) {
    for (at, out) in out.as_chunks_mut::<{ TILE * LANES }>().0.iter_mut().enumerate() {
        let mut sums = [Sums::zero(); TILE];
        for (query, keys) in query.as_chunks::<2>().0.iter().zip(keys) {
            let limbs = Limbs::of(query);
            let keys = keys.as_chunks::<CODES>().0[at * TILE..].iter();
            sums.iter_mut().zip(keys).for_each(|(sum, keys)| *sum = sum.plus(limbs, load(keys)));
        }
        for (out, sum) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
            *out = store(sum.shifted(shift));
        }
    }
}

/// See [`weighted_sum_plain`]. A page's 64 products of 16256 and 127 stay below `2^28`.
pub(crate) fn weighted_sum(_: Avx2, codes: &[i16], values: &[i16], out: &mut [i64]) {
    if !out.len().is_multiple_of(LANES) {
        return weighted_sum_plain(codes, values, out);
    }
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { weighted_sum_avx2(codes, values, out) }
}

#[target_feature(enable = "avx2")]
fn weighted_sum_avx2(codes: &[i16], values: &[i16], out: &mut [i64]) {
    let width = out.len() / LANES;
    let values = values.as_chunks::<CODES>().0;
    for (column, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sums = Sums::zero();
        for (codes, values) in codes.as_chunks::<2>().0.iter().zip(values.chunks_exact(width)) {
            sums = sums.plus(Limbs::of(codes), load(&values[column]));
        }
        let (high, low) = (store(sums.high), store(sums.low));
        for (out, (high, low)) in out.iter_mut().zip(high.into_iter().zip(low)) {
            *out += (i64::from(high) << 7) + i64::from(low);
        }
    }
}

impl Limbs {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(codes: &[i16; 2]) -> Self {
        let both = _mm256_set1_epi32((u32::from(codes[0] as u16) | u32::from(codes[1] as u16) << 16) as i32);
        let high = _mm256_srai_epi16::<7>(_mm256_add_epi16(both, _mm256_set1_epi16(64)));
        Self { high, low: _mm256_sub_epi16(both, _mm256_slli_epi16::<7>(high)) }
    }
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Self {
        Self { high: _mm256_setzero_si256(), low: _mm256_setzero_si256() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn plus(self, limbs: Limbs, codes: __m256i) -> Self {
        Self {
            high: _mm256_add_epi32(self.high, _mm256_madd_epi16(codes, limbs.high)),
            low: _mm256_add_epi32(self.low, _mm256_madd_epi16(codes, limbs.low)),
        }
    }

    /// The sums put together, rounded and shifted right by at most 7: 128 divides what the shift rounds. The result fits
    /// 32 bits, so what the parts lose above them does not matter.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn shifted(self, shift: u32) -> __m256i {
        let half = _mm256_set1_epi32(1 << shift >> 1);
        let low = _mm256_sra_epi32(_mm256_add_epi32(self.low, half), _mm_cvtsi32_si128(shift as i32));
        _mm256_add_epi32(_mm256_sll_epi32(self.high, _mm_cvtsi32_si128(7 - shift as i32)), low)
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(codes: &[i16; CODES]) -> __m256i {
    // SAFETY: sixteen numbers of 16 bits are the lanes of a register.
    unsafe { transmute(*codes) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(lanes: __m256i) -> [i32; LANES] {
    // SAFETY: the lanes of a register are eight numbers of 32 bits.
    unsafe { transmute(lanes) }
}
