//! Panel products of two-limb codes with AVX2: eight rows a register, a pair of columns a 32-bit lane.
//!
//! A code is `128 * high + low`, each of which `vpmaddwd` multiplies with the activations; the two sums of a block are
//! joined and scaled in 64 bits.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, mem::transmute};

use super::{
    super::{
        super::{
            coding::BLOCK,
            isa::Avx2,
            matrix::{PANEL, PANEL_BLOCK, Panel, PanelCodes},
        },
        matmul::{Columns, PanelSums},
    },
    matmul::{finish, load, store, widen},
};

/// Pairs of columns of a block.
const PAIRS: usize = BLOCK / 2;
/// Vectors multiplied at a time.
const TILE: usize = 4;
/// Largest shift of which the lower half of a logical shift holds the result; only rows of `2^24` columns take more.
const SHIFT_MAX: u32 = 32;

/// The product of one panel of two-limb codes with every vector. False where this form does not apply.
pub(crate) fn panel_product(_: Avx2, panel: &Panel<'_>, input: &Columns, sums: &mut PanelSums) -> bool {
    let PanelCodes::Words(blocks) = panel.codes else {
        return false;
    };
    if panel.block_shift > SHIFT_MAX || panel.scales_each() != 1 {
        return false;
    }
    sums.fill([0; PANEL]);
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { visit_blocks(panel, blocks, input, sums) };
    true
}

#[target_feature(enable = "avx2")]
fn visit_blocks(panel: &Panel<'_>, blocks: &[[i16; PANEL_BLOCK]], input: &Columns, sums: &mut PanelSums) {
    let rounding = Rounding::new(panel.block_shift);
    for (at, block) in blocks.iter().enumerate() {
        let (scales, weights) = (widen(&panel.scales[at]), limbs(block));
        let (tiles, rest) = input.codes(at).as_chunks::<TILE>();
        let (tile_sums, rest_sums) = sums.as_chunks_mut::<TILE>();
        for (codes, sums) in tiles.iter().zip(tile_sums) {
            add_products(&weights, codes, scales, &rounding, sums);
        }
        for (codes, sums) in rest.as_chunks::<1>().0.iter().zip(rest_sums.as_chunks_mut::<1>().0) {
            add_products(&weights, codes, scales, &rounding, sums);
        }
    }
    sums.iter_mut().for_each(|sum| finish(panel, sum, &[0; PANEL]));
}

/// The two limbs of each pair of columns.
#[inline]
#[target_feature(enable = "avx2")]
fn limbs(block: &[i16; PANEL_BLOCK]) -> [[__m256i; 2]; PAIRS] {
    let mut pairs = [[_mm256_setzero_si256(); 2]; PAIRS];
    for (limbs, words) in pairs.iter_mut().zip(block.as_chunks::<{ 2 * PANEL }>().0) {
        // SAFETY: sixteen numbers of 16 bits are the lanes of a register.
        let words: __m256i = unsafe { transmute(*words) };
        let upper = _mm256_srai_epi16::<7>(_mm256_add_epi16(words, _mm256_set1_epi16(64)));
        *limbs = [upper, _mm256_sub_epi16(words, _mm256_slli_epi16::<7>(upper))];
    }
    pairs
}

/// Adds the scaled products of one block with `N` vectors to their sums. A limb's sum is at most
/// `32 * 127 * 16256`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products<const N: usize>(
    weights: &[[__m256i; 2]; PAIRS],
    codes: &[[i16; BLOCK]; N],
    scales: __m256i,
    rounding: &Rounding,
    sums: &mut [[i32; PANEL]; N],
) {
    let mut dots = [[_mm256_setzero_si256(); 2]; N];
    for (pair, weights) in weights.iter().enumerate() {
        for (dots, codes) in dots.iter_mut().zip(codes) {
            let both = u32::from(codes[2 * pair] as u16) | u32::from(codes[2 * pair + 1] as u16) << 16;
            let both = _mm256_set1_epi32(both as i32);
            *dots = [
                _mm256_add_epi32(dots[0], _mm256_madd_epi16(weights[0], both)),
                _mm256_add_epi32(dots[1], _mm256_madd_epi16(weights[1], both)),
            ];
        }
    }
    for (sum, dots) in sums.iter_mut().zip(dots) {
        store(sum, _mm256_add_epi32(load(sum), rounding.scaled(dots, scales)));
    }
}

/// The shift of a scaled block product, 15 to 32 bits.
struct Rounding {
    half: __m256i,
    down: __m128i,
    up: __m128i,
}

impl Rounding {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(shift: u32) -> Self {
        Self {
            half: _mm256_set1_epi64x(1 << (shift - 1)),
            down: _mm_cvtsi32_si128(shift as i32),
            up: _mm_cvtsi32_si128(32 - shift as i32),
        }
    }

    /// `round_shift((128 * high + low) * scale, shift)` of eight lanes, of which 32 bits are kept.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scaled(&self, [high, low]: [__m256i; 2], scales: __m256i) -> __m256i {
        let even = _mm256_srl_epi64(self.product(high, low, scales), self.down);
        let [high, low, scales] = [high, low, scales].map(|lanes| _mm256_srli_epi64::<32>(lanes));
        let odd = _mm256_sll_epi64(self.product(high, low, scales), self.up);
        _mm256_blend_epi32::<0b1010_1010>(even, odd)
    }

    /// The products of the even lanes with the half that rounds, in 64 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn product(&self, high: __m256i, low: __m256i, scales: __m256i) -> __m256i {
        let high = _mm256_slli_epi64::<7>(_mm256_mul_epi32(high, scales));
        _mm256_add_epi64(_mm256_add_epi64(high, _mm256_mul_epi32(low, scales)), self.half)
    }
}
