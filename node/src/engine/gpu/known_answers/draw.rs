//! Numbers for known answers: the same on every machine, of every size, edges often.

use super::super::super::{
    coding::{BLOCK, Kind},
    cpu::a15::A15Rows,
    fixed::Scale,
};

/// Largest magnitude of a product, `docs/NUMERICS.md`, section 8.
const PRODUCT_MAX: i32 = i32::MAX - (1 << 18);

/// A stream of numbers (SplitMix64, Steele et al., 2014).
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// A value up to `most` in magnitude, of any number of bits down to `bits` fewer; one in eight is an edge.
    pub(super) fn value(&mut self, most: i32, bits: u64) -> i32 {
        match self.below(32) {
            0 => most,
            1 => -most,
            2 => 0,
            3 => [1, -1][self.below(2) as usize],
            _ => {
                let wide = i64::from(most) * 2 + 1;
                let value = (self.word() % wide as u64) as i64 - i64::from(most);
                (value >> self.below(bits + 1)) as i32
            }
        }
    }

    /// A vector of values whose largest are of a size of its own, as a stream's or a product's are.
    pub(super) fn vector(&mut self, len: usize) -> Vec<i32> {
        let most = PRODUCT_MAX >> self.below(31);
        if self.below(16) == 0 {
            return vec![0; len];
        }
        (0..len).map(|_| self.value(most, 12)).collect()
    }

    /// A code of 15 bits, often the largest.
    pub(super) fn code(&mut self) -> i16 {
        self.value(16_256, 8) as i16
    }

    /// A scale of usual size, or zero.
    pub(super) fn scale(&mut self) -> Scale {
        if self.below(16) == 0 {
            return Scale::ZERO;
        }
        let (mantissa, exponent) = (self.word() >> self.below(63) | 1, self.below(80) as i32);
        Scale::from(mantissa >> 20 | 1, exponent - 90)
    }

    /// Vectors in A15.
    pub(super) fn vectors(&mut self, rows: usize, cols: usize) -> A15Rows {
        use rayon::iter::ParallelIterator;
        let mut vectors = A15Rows::new(cols);
        vectors.resize(rows);
        let out: Vec<_> = vectors.par_rows_mut().collect();
        for row in out {
            let scale = self.scale();
            row.fill_with(|codes| {
                codes.iter_mut().for_each(|code| *code = self.code());
                scale
            });
        }
        vectors
    }

    /// The same with floats below 2^-7, as a model's are.
    pub(super) fn small_matrix(&mut self, kind: Kind, rows: usize, cols: usize) -> Vec<u8> {
        let mut bytes = self.matrix(kind, rows, cols);
        clear_in_floats(kind, 0x20, &mut bytes);
        bytes
    }

    /// The bytes of a matrix in a model file, its floats finite.
    pub(super) fn matrix(&mut self, kind: Kind, rows: usize, cols: usize) -> Vec<u8> {
        let len = kind.row_bytes(cols).expect("the columns suit the kind") * rows;
        let mut bytes: Vec<u8> = (0..len).map(|_| self.word() as u8).collect();
        // Without the uppermost bit of its exponent a float is finite.
        clear_in_floats(kind, 0x40, &mut bytes);
        bytes
    }
}

/// Clears bits of the uppermost byte of every float in the blocks of a kind.
fn clear_in_floats(kind: Kind, bits: u8, bytes: &mut [u8]) {
    let (cols, floats): (usize, &[usize]) = match kind {
        Kind::F32 => (1, &[3]),
        Kind::F16 | Kind::Bf16 => (1, &[1]),
        Kind::Q4_0 | Kind::Q5_0 | Kind::Q8_0 => (BLOCK, &[1]),
        Kind::Q4_1 | Kind::Q5_1 => (BLOCK, &[1, 3]),
        Kind::Q4K => (8 * BLOCK, &[1, 3]),
        Kind::Q6K => (8 * BLOCK, &[209]),
    };
    // A row of 256 columns is whole blocks of every kind.
    let block = kind.row_bytes(256).expect("a multiple of every block") * cols / 256;
    for block in bytes.chunks_exact_mut(block) {
        floats.iter().for_each(|at| block[*at] &= !bits);
    }
}

/// The codes of vectors as kernels keep them: per block eight words of high limbs, then eight of low limbs.
pub(super) fn code_words(vectors: &A15Rows) -> Vec<u32> {
    (0..vectors.rows()).flat_map(|row| vectors.codes(row)).flat_map(block_words).collect()
}

fn block_words(codes: &[i16; BLOCK]) -> [u32; 16] {
    let high = |code: i16| (code + 64) >> 7;
    let word = |at: usize, limb: &dyn Fn(i16) -> i16| {
        u32::from_le_bytes(std::array::from_fn(|byte| limb(codes[4 * at + byte]) as u8))
    };
    let low = |code: i16| code - (high(code) << 7);
    std::array::from_fn(|at| if at < 8 { word(at, &high) } else { word(at - 8, &low) })
}

/// The sums of their blocks.
pub(super) fn sum_words(vectors: &A15Rows) -> Vec<u32> {
    (0..vectors.rows()).flat_map(|row| vectors.sums(row)).map(|sum| *sum as u32).collect()
}

/// Their scales.
pub(super) fn scale_words(scales: impl IntoIterator<Item = Scale>) -> Vec<u32> {
    scales.into_iter().flat_map(|scale| [scale.m, scale.e as u32]).collect()
}

/// Signed words.
pub(super) fn words(values: &[i32]) -> Vec<u32> {
    values.iter().map(|value| *value as u32).collect()
}
