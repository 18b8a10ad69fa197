//! Panel products of two-limb codes with AVX-512 VNNI: sixteen rows of two panels a register, a pair of columns a lane.
//!
//! A code is `128 * high + low`, each of which `vpdpwssd` multiplies with the activations; the two sums of a block are
//! joined and scaled in 64 bits.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    super::{
        super::{
            coding::BLOCK,
            isa::Avx512,
            matrix::{PANEL, PANEL_BLOCK, Panel, PanelCodes},
        },
        matmul::Columns,
    },
    lanes::{Wide, join_signed, load, store, widen},
    matmul::{WideSums, finish},
};

/// Pairs of columns of a block.
const PAIRS: usize = BLOCK / 2;
/// Vectors multiplied at a time.
const TILE: usize = 4;

/// The products of two panels of one matrix of two-limb codes with every vector. False for other codes.
pub(crate) fn panels_product(
    _: Avx512,
    panels: [&Panel<'_>; 2],
    input: &Columns,
    sums: &mut WideSums,
) -> bool {
    let (PanelCodes::Words(low), PanelCodes::Words(high)) = (panels[0].codes, panels[1].codes) else {
        return false;
    };
    if panels[0].scales_each() != 1 {
        return false;
    }
    sums.reset(input.vectors());
    // SAFETY: the proof says that this machine executes these instructions.
    unsafe {
        visit_blocks(panels, [low, high], input, &mut sums.data);
        finish(panels, sums);
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn visit_blocks(
    panels: [&Panel<'_>; 2],
    codes: [&[[i16; PANEL_BLOCK]]; 2],
    input: &Columns,
    sums: &mut [Wide],
) {
    let rounding = Rounding::new(panels[0].block_shift);
    for (at, (low, high)) in codes[0].iter().zip(codes[1]).enumerate() {
        let scales = widen(&panels[0].scales[at], &panels[1].scales[at]);
        let weights = limbs(low, high);
        let (tiles, rest) = input.codes(at).as_chunks::<TILE>();
        let (tile_sums, rest_sums) = sums.as_chunks_mut::<TILE>();
        for (codes, sums) in tiles.iter().zip(tile_sums) {
            add_products(&weights, codes, scales, &rounding, sums);
        }
        for (codes, sums) in rest.as_chunks::<1>().0.iter().zip(rest_sums.as_chunks_mut::<1>().0) {
            add_products(&weights, codes, scales, &rounding, sums);
        }
    }
}

/// The two limbs of each pair of columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn limbs(low: &[i16; PANEL_BLOCK], high: &[i16; PANEL_BLOCK]) -> [[__m512i; 2]; PAIRS] {
    let mut pairs = [[_mm512_setzero_si512(); 2]; PAIRS];
    let words = low.as_chunks::<{ 2 * PANEL }>().0.iter().zip(high.as_chunks::<{ 2 * PANEL }>().0);
    for (limbs, (low, high)) in pairs.iter_mut().zip(words) {
        let words = join_signed(low, high);
        let upper = _mm512_srai_epi16::<7>(_mm512_add_epi16(words, _mm512_set1_epi16(64)));
        *limbs = [upper, _mm512_sub_epi16(words, _mm512_slli_epi16::<7>(upper))];
    }
    pairs
}

/// Adds the scaled products of one block with `N` vectors to their sums. A limb's sum is at most
/// `32 * 127 * 16256`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_products<const N: usize>(
    weights: &[[__m512i; 2]; PAIRS],
    codes: &[[i16; BLOCK]; N],
    scales: __m512i,
    rounding: &Rounding,
    sums: &mut [Wide; N],
) {
    let mut dots = [[_mm512_setzero_si512(); 2]; N];
    for (pair, weights) in weights.iter().enumerate() {
        for (dots, codes) in dots.iter_mut().zip(codes) {
            let both = u32::from(codes[2 * pair] as u16) | u32::from(codes[2 * pair + 1] as u16) << 16;
            let both = _mm512_set1_epi32(both as i32);
            *dots = [
                _mm512_dpwssd_epi32(dots[0], weights[0], both),
                _mm512_dpwssd_epi32(dots[1], weights[1], both),
            ];
        }
    }
    for (sum, dots) in sums.iter_mut().zip(dots) {
        store(sum, _mm512_add_epi32(load(sum), rounding.scaled(dots, scales)));
    }
}

/// The shift of a scaled block product, 15 to 33 bits.
struct Rounding {
    half: __m512i,
    shift: __m128i,
}

impl Rounding {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(shift: u32) -> Self {
        Self { half: _mm512_set1_epi64(1 << (shift - 1)), shift: _mm_cvtsi32_si128(shift as i32) }
    }

    /// `round_shift((128 * high + low) * scale, shift)` of sixteen lanes, of which 32 bits are kept.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn scaled(&self, [high, low]: [__m512i; 2], scales: __m512i) -> __m512i {
        let even = self.half_scaled(high, low, scales);
        let [high, low, scales] = [high, low, scales].map(|lanes| _mm512_srli_epi64::<32>(lanes));
        let odd = _mm512_slli_epi64::<32>(self.half_scaled(high, low, scales));
        _mm512_mask_blend_epi32(0b1010_1010_1010_1010, even, odd)
    }

    /// The same of the even lanes, in 64 bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn half_scaled(&self, high: __m512i, low: __m512i, scales: __m512i) -> __m512i {
        let high = _mm512_slli_epi64::<7>(_mm512_mul_epi32(high, scales));
        let product = _mm512_add_epi64(high, _mm512_mul_epi32(low, scales));
        _mm512_sra_epi64(_mm512_add_epi64(product, self.half), self.shift)
    }
}
