//! Activations as two signed 8-bit limbs, `128 * high + low`, in the order in which `vpdpbusd` meets them.
//!
//! A 32-bit lane of packed nibbles holds eight columns of one row: those at even places of the eight pairs of a
//! word in the low halves of its bytes, the others in the high halves. So four limbs that are multiplied at once belong
//! to columns 0, 4, 1 and 5 of their eight, or to 2, 6, 3 and 7.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    super::{
        super::{coding::BLOCK, isa::Avx512},
        a15::A15Rows,
    },
    lanes::{load_words, quads},
};

/// Columns of a lane's nibbles, by step of `vpdpbusd` and byte.
pub(super) const ORDER: [[usize; 4]; 2] = [[0, 4, 1, 5], [2, 6, 3, 7]];

/// Steps of `vpdpbusd` that a block takes.
pub(super) const STEPS: usize = BLOCK / 4;

/// The limbs of one block of one vector.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(crate) struct BlockLimbs {
    /// Four upper limbs a step.
    pub(super) high: [i32; STEPS],
    /// Four lower limbs a step, -64 to 63 each.
    pub(super) low: [i32; STEPS],
    /// Sums of the upper limbs of the first and of the last 16 columns.
    pub(super) high_sums: [i32; 2],
    /// The same of the lower limbs.
    pub(super) low_sums: [i32; 2],
    /// Sum of the codes.
    pub(super) sum: i32,
}

/// The limbs of several vectors, block by block: for each block, each vector's.
#[derive(Debug)]
pub(crate) struct Limbs {
    vectors: usize,
    blocks: Vec<BlockLimbs>,
}

impl Limbs {
    /// Splits the codes of every vector.
    pub(crate) fn of(_: Avx512, input: &A15Rows) -> Self {
        let vectors = input.rows();
        let mut blocks = Vec::with_capacity(vectors * input.blocks());
        for block in 0..input.blocks() {
            for row in 0..vectors {
                // SAFETY: the proof says that this machine executes these instructions.
                blocks.push(unsafe { split(&input.codes(row)[block], input.sums(row)[block]) });
            }
        }
        Self { vectors, blocks }
    }

    /// Vectors held.
    pub(crate) fn vectors(&self) -> usize {
        self.vectors
    }

    /// The limbs of every vector in one block.
    #[inline(always)]
    pub(super) fn block(&self, block: usize) -> &[BlockLimbs] {
        &self.blocks[block * self.vectors..(block + 1) * self.vectors]
    }
}

/// Where each limb of a block comes from: two steps for every eight columns.
const SOURCES: [i16; BLOCK] = {
    let mut sources = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        sources[at] = (at / 8 * 8 + ORDER[at / 4 % 2][at % 4]) as i16;
        at += 1;
    }
    sources
};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn split(codes: &[i16; BLOCK], sum: i32) -> BlockLimbs {
    let (codes, sources) = (load_words(codes), load_words(&SOURCES));
    let codes = _mm512_permutexvar_epi16(sources, codes);
    let high = _mm512_srai_epi16::<7>(_mm512_add_epi16(codes, _mm512_set1_epi16(64)));
    let low = _mm512_sub_epi16(codes, _mm512_slli_epi16::<7>(high));
    BlockLimbs {
        high: quads(_mm512_cvtepi16_epi8(high)),
        low: quads(_mm512_cvtepi16_epi8(low)),
        high_sums: half_sums(high),
        low_sums: half_sums(low),
        sum,
    }
}

/// Sums of the first and of the last sixteen words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn half_sums(words: __m512i) -> [i32; 2] {
    let pairs = _mm512_madd_epi16(words, _mm512_set1_epi16(1));
    [_mm512_mask_reduce_add_epi32(0x00ff, pairs), _mm512_mask_reduce_add_epi32(0xff00, pairs)]
}
