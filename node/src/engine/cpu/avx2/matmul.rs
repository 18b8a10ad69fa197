//! Panel products with AVX2: eight rows a register, a pair of columns a 32-bit lane.
//!
//! `vpmaddwd` multiplies the two codes of a pair with two activations, broadcast, and adds them. Block
//! products are scaled in 64 bits; only the low half of the shifted result is kept, which is where the sum
//! lives. Arrays are taken whole, as values: loads through pointers are slow in builds that check them.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, mem::transmute};

use super::super::{
    super::{
        coding::BLOCK,
        isa::Avx2,
        matrix::{PANEL, PANEL_BLOCK, Panel, PanelCodes},
    },
    matmul::{Columns, PanelSums},
};

/// Pairs of columns of a block.
const PAIRS: usize = BLOCK / 2;
/// Vectors multiplied at a time, so that a widened register of weights is loaded once for all of them.
const TILE: usize = 4;

/// The product of one panel with every vector; `minima` is scratch of zeros. False for two-limb
/// codes, which need sums of 64 bits.
pub(crate) fn panel_product(
    _: Avx2,
    panel: &Panel<'_>,
    input: &Columns,
    sums: &mut PanelSums,
    minima: &mut PanelSums,
) -> bool {
    let blocks = match panel.codes {
        PanelCodes::Nibbles(blocks) => Blocks::Nibbles(blocks),
        PanelCodes::Bytes(blocks) => Blocks::Bytes(blocks),
        PanelCodes::Words(_) => return false,
    };
    sums.fill([0; PANEL]);
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { visit_blocks(panel, blocks, input, sums, minima) };
    true
}

/// The codes that this form takes.
#[derive(Clone, Copy)]
enum Blocks<'a> {
    Nibbles(&'a [[u16; PANEL_BLOCK / 4]]),
    Bytes(&'a [[i8; PANEL_BLOCK]]),
}

#[target_feature(enable = "avx2")]
fn visit_blocks(
    panel: &Panel<'_>,
    blocks: Blocks<'_>,
    input: &Columns,
    sums: &mut PanelSums,
    minima: &mut PanelSums,
) {
    let rounding = Rounding::new(panel.block_shift);
    let minimum_shift = _mm_cvtsi32_si128(panel.minimum_shift as i32);
    let minimum_half =
        _mm256_set1_epi32(if panel.minimum_shift == 0 { 0 } else { 1 << (panel.minimum_shift - 1) });
    let offset = panel.coding.offset.into();
    for (at, scales) in panel.scales.chunks_exact(panel.scales_each()).enumerate() {
        let weights = match blocks {
            Blocks::Nibbles(blocks) => nibble_pairs(&blocks[at]),
            Blocks::Bytes(blocks) => byte_pairs(&blocks[at]),
        };
        let vectors = Vectors { codes: input.codes(at), sums: input.sums(at), offset };
        match scales {
            [scales] => add_block(&weights, vectors, scales, &rounding, sums),
            // Blocks of 16 columns: the first half of the pairs has the first scale.
            _ => scales.iter().zip(weights.as_chunks::<{ PAIRS / 2 }>().0).enumerate().for_each(
                |(half, (scales, weights))| add_half(weights, half, vectors.codes, scales, &rounding, sums),
            ),
        }
        if let Some(scales) = panel.minima.get(at) {
            let scales = widen(scales);
            for (minimum, codes_sum) in minima.iter_mut().zip(input.sums(at)) {
                // Below 2^31 together with the half that rounds: 4095 * 32 * 16256 + 2^24.
                let product = _mm256_mullo_epi32(scales, _mm256_set1_epi32(*codes_sum));
                let rounded = _mm256_sra_epi32(_mm256_add_epi32(product, minimum_half), minimum_shift);
                store(minimum, _mm256_add_epi32(load(minimum), rounded));
            }
        }
    }
    for (sum, minimum) in sums.iter_mut().zip(minima) {
        finish(panel, sum, minimum);
    }
}

/// All vectors in one block: their codes, the sums of those, and what a nibble is more than its code.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    codes: &'a [[i16; BLOCK]],
    sums: &'a [i32],
    offset: i32,
}

/// Adds the scaled products of one block with all vectors to their sums.
#[inline]
#[target_feature(enable = "avx2")]
fn add_block(
    weights: &[__m256i; PAIRS],
    vectors: Vectors<'_>,
    scales: &[i16; PANEL],
    rounding: &Rounding,
    sums: &mut PanelSums,
) {
    let scales = widen(scales);
    // What the offset of the codes adds to a product, taken off before the product begins.
    let start = |sum: i32| _mm256_set1_epi32(-vectors.offset * sum);
    let (tiles, rest) = sums.as_chunks_mut::<TILE>();
    let (tile_codes, rest_codes) = vectors.codes.as_chunks::<TILE>();
    let (tile_sums, rest_sums) = vectors.sums.as_chunks::<TILE>();
    for ((tile, codes), sums) in tiles.iter_mut().zip(tile_codes).zip(tile_sums) {
        add_products(weights, codes, sums.map(start), scales, rounding, tile);
    }
    for ((sum, codes), of_codes) in rest.iter_mut().zip(rest_codes).zip(rest_sums) {
        let (codes, sum) = (std::array::from_ref(codes), std::array::from_mut(sum));
        add_products(weights, codes, [start(*of_codes)], scales, rounding, sum);
    }
}

/// Adds the scaled products of half a block with all vectors to their sums.
#[inline]
#[target_feature(enable = "avx2")]
fn add_half(
    weights: &[__m256i; PAIRS / 2],
    half: usize,
    vectors: &[[i16; BLOCK]],
    scales: &[i16; PANEL],
    rounding: &Rounding,
    sums: &mut PanelSums,
) {
    let scales = widen(scales);
    for (sum, codes) in sums.iter_mut().zip(vectors) {
        let codes = codes.as_chunks::<{ BLOCK / 2 }>().0[half];
        let start = [_mm256_setzero_si256()];
        add_products(weights, &[codes], start, scales, rounding, std::array::from_mut(sum));
    }
}

/// Adds the scaled products of `P` pairs of columns with `N` vectors to their sums; `dots` is what the products
/// start from.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products<const N: usize, const P: usize, const C: usize>(
    weights: &[__m256i; P],
    codes: &[[i16; C]; N],
    mut dots: [__m256i; N],
    scales: __m256i,
    rounding: &Rounding,
    sums: &mut [[i32; PANEL]; N],
) {
    for (pair, weights) in weights.iter().enumerate() {
        for (dot, codes) in dots.iter_mut().zip(codes) {
            let both = u32::from(codes[2 * pair] as u16) | u32::from(codes[2 * pair + 1] as u16) << 16;
            let products = _mm256_madd_epi16(*weights, _mm256_set1_epi32(both as i32));
            *dot = _mm256_add_epi32(*dot, products);
        }
    }
    for (sum, dot) in sums.iter_mut().zip(dots) {
        store(sum, _mm256_add_epi32(load(sum), rounding.scaled(dot, scales)));
    }
}

/// The shift of a scaled block product, 8 to 26 bits.
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

    /// `round_shift(dot * scale, shift)` of eight lanes, of which 32 bits are kept.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scaled(&self, dots: __m256i, scales: __m256i) -> __m256i {
        let even = _mm256_add_epi64(_mm256_mul_epi32(dots, scales), self.half);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(dots), _mm256_srli_epi64::<32>(scales));
        let odd = _mm256_add_epi64(odd, self.half);
        let (even, odd) = (_mm256_srl_epi64(even, self.down), _mm256_sll_epi64(odd, self.up));
        _mm256_blend_epi32::<0b1010_1010>(even, odd)
    }
}

/// Brings both parts of eight rows to the matrix's exponent and adds them up, in place.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn finish(panel: &Panel<'_>, sum: &mut [i32; PANEL], minimum: &[i32; PANEL]) {
    let data = round_lanes(load(sum), load(&panel.shifts.data));
    let minimum = round_lanes(load(minimum), load(&panel.shifts.minima));
    store(sum, _mm256_add_epi32(data, minimum));
}

/// `round_shift` by lane, shifts 0 to 31: the floor, plus the highest bit that it lost.
#[inline]
#[target_feature(enable = "avx2")]
fn round_lanes(values: __m256i, shifts: __m256i) -> __m256i {
    let one = _mm256_set1_epi32(1);
    // A count of -1, for a shift of 0, gives zero: nothing was lost.
    let lost = _mm256_and_si256(_mm256_srlv_epi32(values, _mm256_sub_epi32(shifts, one)), one);
    _mm256_add_epi32(_mm256_srav_epi32(values, shifts), lost)
}

/// Four-bit codes as 16-bit words, a register a pair of columns.
#[inline]
#[target_feature(enable = "avx2")]
fn nibble_pairs(block: &[u16; PANEL_BLOCK / 4]) -> [__m256i; PAIRS] {
    let mask = _mm256_set1_epi16(15);
    let mut pairs = [_mm256_setzero_si256(); PAIRS];
    let (words, _) = block.as_chunks::<{ 2 * PANEL }>();
    for (pairs, words) in pairs.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        // SAFETY: sixteen numbers of 16 bits are the lanes of a register.
        let words: __m256i = unsafe { transmute(*words) };
        *pairs = [
            _mm256_and_si256(words, mask),
            _mm256_and_si256(_mm256_srli_epi16::<4>(words), mask),
            _mm256_and_si256(_mm256_srli_epi16::<8>(words), mask),
            _mm256_srli_epi16::<12>(words),
        ];
    }
    pairs
}

/// Eight-bit codes as 16-bit words, a register a pair of columns.
#[inline]
#[target_feature(enable = "avx2")]
fn byte_pairs(block: &[i8; PANEL_BLOCK]) -> [__m256i; PAIRS] {
    let mut pairs = [_mm256_setzero_si256(); PAIRS];
    for (pair, bytes) in pairs.iter_mut().zip(block.as_chunks::<{ 2 * PANEL }>().0) {
        // SAFETY: sixteen bytes are the lanes of a register.
        *pair = _mm256_cvtepi8_epi16(unsafe { transmute::<[i8; 2 * PANEL], __m128i>(*bytes) });
    }
    pairs
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn widen(values: &[i16; PANEL]) -> __m256i {
    // SAFETY: eight numbers of 16 bits are the lanes of a register.
    _mm256_cvtepi16_epi32(unsafe { transmute::<[i16; PANEL], __m128i>(*values) })
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(values: &[i32; PANEL]) -> __m256i {
    // SAFETY: eight numbers of 32 bits are the lanes of a register.
    unsafe { transmute(*values) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(values: &mut [i32; PANEL], lanes: __m256i) {
    // SAFETY: the lanes of a register are eight numbers of 32 bits.
    *values = unsafe { transmute::<__m256i, [i32; PANEL]>(lanes) };
}
