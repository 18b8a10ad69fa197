//! The two sums of attention with AVX-512 VNNI: sixteen positions, or sixteen columns, a register.
//!
//! One of the factors is split in limbs, `128 * high + low`, as in [`avx2`](super::super::avx2::attend); `vpdpwssd` adds
//! two products to a lane at once.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    super::{
        super::{device::PAGE, isa::Avx512},
        attend::weighted_sum_plain,
        head_view::KeyPair,
    },
    lanes::{ROWS as LANES, load_words, store},
};

/// Codes in a register: two for each lane.
const CODES: usize = 2 * LANES;
/// Registers that are summed at a time: with two sums each, enough chains to cover the latency of `vpdpwssd`.
const TILE: usize = 4;
/// Pairs of codes whose limbs are made at a time.
const PAIRS: usize = PAGE / 2;

/// Two sums for each lane.
#[derive(Clone, Copy)]
struct Sums {
    high: __m512i,
    low: __m512i,
}

/// The limbs of pairs of codes.
struct Limbs {
    high: [[i32; LANES]; PAIRS / LANES],
    low: [[i32; LANES]; PAIRS / LANES],
}

/// See [`dots_plain`](super::super::attend::dots_plain). A head's 256 products of 16256 and 127 stay below `2^30`.
pub(crate) fn dots(_: Avx512, (query, shift): (&[i16], u32), keys: &[KeyPair], out: &mut [i32; PAGE]) {
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe { dots_wide((query, shift), keys, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dots_wide((query, shift): (&[i16], u32), keys: &[KeyPair], out: &mut [i32; PAGE]) {
    let mut sums = [Sums::zero(); TILE];
    for (query, keys) in query.chunks(2 * PAIRS).zip(keys.chunks(PAIRS)) {
        for ((high, low), keys) in Limbs::of(query).pairs().zip(keys) {
            for (sum, keys) in sums.iter_mut().zip(keys.as_chunks::<CODES>().0) {
                *sum = sum.plus((high, low), load_words(keys));
            }
        }
    }
    for (out, sum) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
        store(out, sum.shifted(shift));
    }
}

/// See [`weighted_sum_plain`]. A page's 64 products of 16256 and 127 stay below `2^28`.
pub(crate) fn weighted_sum(_: Avx512, codes: &[i16], values: &[i16], out: &mut [i64]) {
    if !out.len().is_multiple_of(LANES) {
        return weighted_sum_plain(codes, values, out);
    }
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe { weighted_sum_wide(codes, values, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn weighted_sum_wide(codes: &[i16], values: &[i16], out: &mut [i64]) {
    let (width, limbs, pairs) = (out.len() / LANES, Limbs::of(codes), codes.len() / 2);
    let values = &values.as_chunks::<CODES>().0[..pairs * width];
    let (tiles, rest) = out.as_chunks_mut::<LANES>().0.as_chunks_mut::<TILE>();
    let behind = tiles.len() * TILE;
    for (tile, out) in tiles.iter_mut().enumerate() {
        add_columns(&limbs, (values, width), tile * TILE, out);
    }
    for (column, out) in rest.as_chunks_mut::<1>().0.iter_mut().enumerate() {
        add_columns(&limbs, (values, width), behind + column, out);
    }
}

/// Adds the sums of `N` registers of columns, from register `first` of `width` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_columns<const N: usize>(
    limbs: &Limbs,
    (values, width): (&[[i16; CODES]], usize),
    first: usize,
    out: &mut [[i64; LANES]; N],
) {
    let mut sums = [Sums::zero(); N];
    for (pair, values) in limbs.pairs().zip(values.chunks_exact(width)) {
        let columns = values[first..].first_chunk::<N>().expect("registers of columns within the width");
        for (sum, values) in sums.iter_mut().zip(columns) {
            *sum = sum.plus(pair, load_words(values));
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        let (mut high, mut low) = ([0; LANES], [0; LANES]);
        store(&mut high, sum.high);
        store(&mut low, sum.low);
        for (out, (high, low)) in out.iter_mut().zip(high.into_iter().zip(low)) {
            *out = out.wrapping_add((i64::from(high) << 7).wrapping_add(i64::from(low)));
        }
    }
}

impl Limbs {
    /// The limbs of at most [`PAIRS`] pairs; zeros behind them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn of(codes: &[i16]) -> Self {
        let mut limbs = Self { high: [[0; LANES]; PAIRS / LANES], low: [[0; LANES]; PAIRS / LANES] };
        let (registers, rest) = codes.as_chunks::<CODES>();
        for (at, codes) in registers.iter().enumerate() {
            limbs.split(at, load_words(codes));
        }
        if !rest.is_empty() {
            let mut last = [0; CODES];
            last[..rest.len()].copy_from_slice(rest);
            limbs.split(registers.len(), load_words(&last));
        }
        limbs
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn split(&mut self, at: usize, codes: __m512i) {
        let high = _mm512_srai_epi16::<7>(_mm512_add_epi16(codes, _mm512_set1_epi16(64)));
        store(&mut self.high[at], high);
        store(&mut self.low[at], _mm512_sub_epi16(codes, _mm512_slli_epi16::<7>(high)));
    }

    /// Upper and lower limbs of each pair, side by side in 32 bits.
    #[inline(always)]
    fn pairs(&self) -> impl Iterator<Item = (i32, i32)> {
        let (high, low) = (self.high.as_flattened().iter(), self.low.as_flattened().iter());
        high.copied().zip(low.copied())
    }
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        Self { high: _mm512_setzero_si512(), low: _mm512_setzero_si512() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn plus(self, (high, low): (i32, i32), codes: __m512i) -> Self {
        Self {
            high: _mm512_dpwssd_epi32(self.high, codes, _mm512_set1_epi32(high)),
            low: _mm512_dpwssd_epi32(self.low, codes, _mm512_set1_epi32(low)),
        }
    }

    /// The sums put together, rounded and shifted right by at most 7: 128 divides what the shift rounds. The result fits
    /// 32 bits, so what the parts lose above them does not matter.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn shifted(self, shift: u32) -> __m512i {
        let half = _mm512_set1_epi32(1 << shift >> 1);
        let low = _mm512_sra_epi32(_mm512_add_epi32(self.low, half), _mm_cvtsi32_si128(shift as i32));
        _mm512_add_epi32(_mm512_sll_epi32(self.high, _mm_cvtsi32_si128(7 - shift as i32)), low)
    }
}
