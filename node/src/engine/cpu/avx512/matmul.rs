//! Panel products with AVX-512 VNNI: sixteen rows of two panels a register, four columns of a row a lane.
//!
//! `vpdpbusd` multiplies four unsigned codes with four signed limbs and adds them to a lane, so a code and an activation
//! take two of its products. A block's two sums are scaled in 32 bits: `128 * high * scale + low * scale`, rounded and
//! shifted right by at least 8, is `high * scale + floor(low * scale / 128)`, rounded and shifted by 7 less.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    super::super::{
        isa::Avx512,
        matrix::{PANEL, PANEL_BLOCK, Panel, PanelCodes, pair_index},
    },
    lanes::{
        ROWS, Wide, join, join_unsigned, load, load_bytes, load_unsigned_bytes, prefetch, round_lanes, store,
        widen,
    },
    limbs::{BlockLimbs, Limbs, ORDER, STEPS},
};

/// Vectors multiplied at a time; twice as many chains of sums as cover the latency of `vpdpbusd`.
const TILE: usize = 4;
/// What makes signed bytes unsigned.
const BYTE_OFFSET: i32 = 128;

/// The sums of two panels for each vector.
#[derive(Debug, Default)]
pub(crate) struct WideSums {
    pub(super) data: Vec<Wide>,
    pub(super) minima: Vec<Wide>,
}

impl WideSums {
    /// Zeros for `vectors` vectors.
    pub(super) fn reset(&mut self, vectors: usize) {
        for sums in [&mut self.data, &mut self.minima] {
            sums.clear();
            sums.resize(vectors, [0; ROWS]);
        }
    }

    /// The finished sums of one vector: those of the first panel, and those of the second.
    pub(crate) fn finished(&self, vector: usize) -> [[i32; PANEL]; 2] {
        let (panels, _) = self.data[vector].as_chunks::<PANEL>();
        [panels[0], panels[1]]
    }
}

/// The products of two panels of one matrix with every vector. False where this form does not apply: two-limb codes
/// go another way.
pub(crate) fn panels_product(_: Avx512, panels: [&Panel<'_>; 2], input: &Limbs, sums: &mut WideSums) -> bool {
    sums.reset(input.vectors());
    let codes = match (panels[0].codes, panels[1].codes) {
        (PanelCodes::Nibbles(low), PanelCodes::Nibbles(high)) => PairCodes::Nibbles(low, high),
        (PanelCodes::Bytes(low), PanelCodes::Bytes(high)) => PairCodes::Bytes(low, high),
        _ => return false,
    };
    match panels[0].scales_each() {
        // SAFETY: the proof says that this machine executes these instructions.
        1 => unsafe { visit_blocks::<1>(panels, codes, input, sums) },
        // SAFETY: as above.
        _ => unsafe { visit_blocks::<2>(panels, codes, input, sums) },
    }
    // SAFETY: as above.
    unsafe { finish(panels, sums) };
    true
}

/// The codes of two panels that become bytes, block by block.
#[derive(Clone, Copy)]
enum PairCodes<'a> {
    Nibbles(&'a [[u16; PANEL_BLOCK / 4]], &'a [[u16; PANEL_BLOCK / 4]]),
    Bytes(&'a [[i8; PANEL_BLOCK]], &'a [[i8; PANEL_BLOCK]]),
}

impl PairCodes<'_> {
    /// The codes of one block as unsigned bytes, four columns of a row a lane; asks for those of the next two panels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
    fn unpack(self, block: usize) -> [__m512i; STEPS] {
        match self {
            Self::Nibbles(low, high) => {
                let ahead = size_of_val(low) + size_of_val(high);
                let (low, high) = (&low[block], &high[block]);
                prefetch(low, ahead);
                prefetch(high, ahead);
                nibbles(low, high)
            }
            Self::Bytes(low, high) => {
                let ahead = size_of_val(low) + size_of_val(high);
                let (low, high) = (&low[block], &high[block]);
                prefetch(low, ahead);
                prefetch(high, ahead);
                bytes(low, high)
            }
        }
    }

    /// How much more an unpacked byte is than its code, which is `nibble_offset` less than a nibble.
    fn offset(self, nibble_offset: i16) -> i32 {
        match self {
            Self::Nibbles(..) => nibble_offset.into(),
            Self::Bytes(..) => BYTE_OFFSET,
        }
    }
}

/// Adds the products of all blocks, of `PARTS` scales each, with every vector.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn visit_blocks<const PARTS: usize>(
    panels: [&Panel<'_>; 2],
    codes: PairCodes<'_>,
    input: &Limbs,
    sums: &mut WideSums,
) {
    let law = Law::new(panels[0], codes.offset(panels[0].coding.offset));
    let scales = panels[0].scales.as_chunks::<PARTS>().0.iter().zip(panels[1].scales.as_chunks::<PARTS>().0);
    for (at, (low, high)) in scales.enumerate() {
        let weights = codes.unpack(at);
        let mut scales = [_mm512_setzero_si512(); PARTS];
        for (scales, (low, high)) in scales.iter_mut().zip(low.iter().zip(high)) {
            *scales = widen(low, high);
        }
        add_block(&law, &weights, &scales, input.block(at), &mut sums.data);
        if let (Some(low), Some(high)) = (panels[0].minima.get(at), panels[1].minima.get(at)) {
            let scales = widen(low, high);
            let sums = input.block(at).iter().zip(&mut sums.minima);
            sums.for_each(|(vector, sum)| law.add_minima(vector, scales, sum));
        }
    }
}

/// Adds the products of one block with every vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn add_block<const PARTS: usize>(
    law: &Law,
    weights: &[__m512i; STEPS],
    scales: &[__m512i; PARTS],
    vectors: &[BlockLimbs],
    sums: &mut [Wide],
) {
    let (tiles, rest) = vectors.as_chunks::<TILE>();
    let (tile_sums, rest_sums) = sums.as_chunks_mut::<TILE>();
    for (vectors, sums) in tiles.iter().zip(tile_sums) {
        add_products(law, weights, vectors, scales, sums);
    }
    for (vectors, sums) in rest.as_chunks::<1>().0.iter().zip(rest_sums.as_chunks_mut::<1>().0) {
        add_products(law, weights, vectors, scales, sums);
    }
}

/// Adds the scaled products of one block with `N` vectors to their sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn add_products<const N: usize, const PARTS: usize>(
    law: &Law,
    weights: &[__m512i; STEPS],
    vectors: &[BlockLimbs; N],
    scales: &[__m512i; PARTS],
    sums: &mut [Wide; N],
) {
    for (part, scales) in scales.iter().enumerate() {
        let (mut high, mut low) = ([_mm512_setzero_si512(); N], [_mm512_setzero_si512(); N]);
        if law.offset != 0 {
            for at in 0..N {
                high[at] = _mm512_set1_epi32(-law.offset * part_sum::<PARTS>(&vectors[at].high_sums, part));
                low[at] = _mm512_set1_epi32(-law.offset * part_sum::<PARTS>(&vectors[at].low_sums, part));
            }
        }
        let steps = part * STEPS / PARTS..(part + 1) * STEPS / PARTS;
        for (step, weights) in steps.clone().zip(&weights[steps]) {
            for at in 0..N {
                let limbs = (vectors[at].high[step], vectors[at].low[step]);
                high[at] = _mm512_dpbusd_epi32(high[at], *weights, _mm512_set1_epi32(limbs.0));
                low[at] = _mm512_dpbusd_epi32(low[at], *weights, _mm512_set1_epi32(limbs.1));
            }
        }
        for at in 0..N {
            let sum = _mm512_add_epi32(load(&sums[at]), law.scaled(high[at], low[at], *scales));
            store(&mut sums[at], sum);
        }
    }
}

/// The sum of the limbs of part `part` of `PARTS`.
#[inline(always)]
fn part_sum<const PARTS: usize>(halves: &[i32; 2], part: usize) -> i32 {
    if PARTS == 1 { halves[0] + halves[1] } else { halves[part] }
}

/// The shifts of a matrix, with the halves that round.
struct Law {
    /// How much more an unpacked byte is than its code.
    offset: i32,
    half: __m512i,
    shift: __m128i,
    minimum_half: __m512i,
    minimum_shift: __m128i,
}

impl Law {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(panel: &Panel<'_>, offset: i32) -> Self {
        let shift = panel.block_shift - 7;
        let minimum_half = if panel.minimum_shift == 0 { 0 } else { 1 << (panel.minimum_shift - 1) };
        Self {
            offset,
            half: _mm512_set1_epi32(1 << (shift - 1)),
            shift: _mm_cvtsi32_si128(shift as i32),
            minimum_half: _mm512_set1_epi32(minimum_half),
            minimum_shift: _mm_cvtsi32_si128(panel.minimum_shift as i32),
        }
    }

    /// `round_shift((128 * high + low) * scale, block_shift)` by lane. Largest for bytes:
    /// `32 * 128 * 127 * 4095` and a half of `2^18` stay below `2^31`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn scaled(&self, high: __m512i, low: __m512i, scales: __m512i) -> __m512i {
        let low = _mm512_srai_epi32::<7>(_mm512_mullo_epi32(low, scales));
        let sum = _mm512_add_epi32(_mm512_mullo_epi32(high, scales), low);
        _mm512_sra_epi32(_mm512_add_epi32(sum, self.half), self.shift)
    }

    /// Adds the scaled sum of a block's codes. Below `2^31` together with the half that rounds:
    /// `4095 * 32 * 16256 + 2^24`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn add_minima(&self, vector: &BlockLimbs, scales: __m512i, sum: &mut Wide) {
        let product = _mm512_mullo_epi32(scales, _mm512_set1_epi32(vector.sum));
        let rounded = _mm512_sra_epi32(_mm512_add_epi32(product, self.minimum_half), self.minimum_shift);
        store(sum, _mm512_add_epi32(load(sum), rounded));
    }
}

/// Brings both parts of sixteen rows to the matrix's exponent and adds them up, in place.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn finish(panels: [&Panel<'_>; 2], sums: &mut WideSums) {
    let data = join(&panels[0].shifts.data, &panels[1].shifts.data);
    let minima = join(&panels[0].shifts.minima, &panels[1].shifts.minima);
    for (sum, minimum) in sums.data.iter_mut().zip(&sums.minima) {
        let total = _mm512_add_epi32(round_lanes(load(sum), data), round_lanes(load(minimum), minima));
        store(sum, total);
    }
}

/// Four-bit codes as bytes, four columns of a row a lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn nibbles(low: &[u16; PANEL_BLOCK / 4], high: &[u16; PANEL_BLOCK / 4]) -> [__m512i; STEPS] {
    let mask = _mm512_set1_epi8(15);
    let mut steps = [_mm512_setzero_si512(); STEPS];
    let words = low.as_chunks::<ROWS>().0.iter().zip(high.as_chunks::<ROWS>().0);
    for (steps, (low, high)) in steps.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        let words = join_unsigned(low, high);
        *steps = [_mm512_and_si512(words, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(words), mask)];
    }
    steps
}

/// For each of the two steps of eight columns: where in two runs of 64 bytes, one a panel, the bytes lie.
const BYTE_SOURCES: [[u8; 64]; 2] = {
    let mut sources = [[0; 64]; 2];
    let mut at = 0;
    while at < 128 {
        let (step, row, byte) = (at / 64, at / 4 % ROWS, at % 4);
        let within = pair_index(row % PANEL, ORDER[step][byte]);
        sources[step][at % 64] = (row / PANEL * 64 + within) as u8;
        at += 1;
    }
    sources
};

/// Eight-bit codes, 128 added to each, four columns of a row a lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
fn bytes(low: &[i8; PANEL_BLOCK], high: &[i8; PANEL_BLOCK]) -> [__m512i; STEPS] {
    let offset = _mm512_set1_epi8(i8::MIN);
    let sources = [load_unsigned_bytes(&BYTE_SOURCES[0]), load_unsigned_bytes(&BYTE_SOURCES[1])];
    let mut steps = [_mm512_setzero_si512(); STEPS];
    let runs = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<64>().0);
    for (steps, (low, high)) in steps.as_chunks_mut::<2>().0.iter_mut().zip(runs) {
        let (low, high) = (load_bytes(low), load_bytes(high));
        for (step, sources) in steps.iter_mut().zip(sources) {
            *step = _mm512_xor_si512(_mm512_permutex2var_epi8(low, sources, high), offset);
        }
    }
    steps
}
