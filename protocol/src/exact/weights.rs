//! Coding weights: GGUF blocks become integer codes with 12-bit block scales (page, section 2).

mod blocks;
mod matrix;
mod vector;

pub use blocks::{BLOCK, BlockType, SUPER_BLOCK};
pub use matrix::{BLOCKS_MAX, COLUMNS_MAX, CodedMatrix};
pub use vector::VectorWeights;

use super::{
    a15::A15_MAX,
    rational::{Dyadic, ceil_div, round_div},
};

/// The largest magnitude of a coded block scale or minimum: 12 bits.
pub const SCALE_CODE_MAX: i64 = 4095;

/// Why the bytes of a tensor cannot be coded. The model file is at fault; use another file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The column count is not a positive multiple of what the type needs, within the proven bound.
    #[error("{columns} columns: numerics v1 needs a positive multiple of {of} up to {max} for {kind:?}")]
    Columns {
        /// What the file says.
        columns: usize,
        /// How the file stores the weights.
        kind: BlockType,
        /// Columns that this type stores together.
        of: usize,
        /// The most columns of this type.
        max: usize,
    },
    /// The bytes are not what the shape asks for.
    #[error("{rows} x {columns} weights need {expected} bytes, the file holds {actual}")]
    Length {
        /// Rows of the shape.
        rows: usize,
        /// Columns of the shape.
        columns: usize,
        /// Bytes that the shape asks for.
        expected: u128,
        /// Bytes that are there.
        actual: usize,
    },
    /// A scale or a weight is an infinity or a NaN.
    #[error("row {row}, block {block}: an infinity or a NaN")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The block within the row, from 0; the first of its super-block in the types that have those.
        block: usize,
    },
}

/// One row (one output) in codes. With `b = i / block` the block of column `i`, the weight is
/// `codes[i] * scales[b] * 2^-kd + mins[b] * 2^-km`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedRow {
    /// Columns of a block.
    pub block: usize,
    /// Exponent of the scales.
    pub kd: i32,
    /// Exponent of the minima; 0 where the type has none.
    pub km: i32,
    /// One 12-bit scale per block.
    pub scales: Vec<i16>,
    /// One 12-bit minimum per block; all zero where the type has none.
    pub mins: Vec<i16>,
    /// One code per column.
    pub codes: Vec<i16>,
}

impl CodedRow {
    /// Codes the bytes of one row. `Err(block)` names the block with an infinity or a NaN.
    ///
    /// # Panics
    /// If `bytes` is not a whole number of blocks.
    pub fn from_gguf(kind: BlockType, bytes: &[u8]) -> Result<Self, usize> {
        assert_eq!(bytes.len() % kind.group_bytes(), 0, "a row is a whole number of blocks");
        if kind.is_float() {
            return Ok(Self::from_weights(&blocks::read_floats(kind, bytes)?));
        }
        let blocks = blocks::read_blocks(kind, bytes)?;
        let (kd, scales) = code_scales(&blocks.scales);
        let (km, mins) = code_scales(&blocks.mins);
        Ok(Self { block: kind.block(), kd, km, scales, mins, codes: blocks.codes })
    }

    /// Whether any block has a scale other than zero.
    pub fn has_scales(&self) -> bool {
        self.scales.iter().any(|&s| s != 0)
    }

    /// Whether any block has a minimum other than zero.
    pub fn has_mins(&self) -> bool {
        self.mins.iter().any(|&m| m != 0)
    }

    /// The rule for floats: two-limb codes of 15 bits under 12-bit scales.
    fn from_weights(weights: &[Dyadic]) -> Self {
        let largest: Vec<Dyadic> = weights.chunks_exact(BLOCK).map(largest).collect();
        let k = two_limb_exponent(self::largest(&largest));
        let scaled = |w: Dyadic, rule: fn(i64, i32, i64) -> i64, divisor: i64| {
            rule(w.numerator().into(), w.exponent() + k, divisor)
        };
        let scales: Vec<i16> = largest.iter().map(|&a| scaled(a, ceil_div, A15_MAX) as i16).collect();
        let code = |(i, &w): (usize, &Dyadic)| match scales[i / BLOCK] {
            0 => 0,
            s => scaled(w, round_div, s.into()) as i16,
        };
        let codes = weights.iter().enumerate().map(code).collect();
        Self { block: BLOCK, kd: k, km: 0, mins: vec![0; scales.len()], scales, codes }
    }
}

/// The element of the largest magnitude, as a magnitude.
fn largest(values: &[Dyadic]) -> Dyadic {
    values.iter().copied().max_by_key(|d| d.magnitude_key()).unwrap_or_default().abs()
}

/// Block scales relative to the row's largest: the exponent `k` with `2048 <= D * 2^k < 4096`, and the codes.
fn code_scales(scales: &[Dyadic]) -> (i32, Vec<i16>) {
    let Some(top) = scales.iter().filter_map(|d| d.floor_log2()).max() else {
        return (0, vec![0; scales.len()]);
    };
    let k = 11 - top;
    let code = |d: &Dyadic| {
        let nearest = round_div(d.numerator().into(), d.exponent() + k, 1);
        nearest.clamp(-SCALE_CODE_MAX, SCALE_CODE_MAX) as i16
    };
    (k, scales.iter().map(code).collect())
}

/// The largest `k` with `ceil(a * 2^k / 16256) <= 4095`, that is `a * 2^k <= 4095 * 16256`; 0 for `a = 0`.
fn two_limb_exponent(a: Dyadic) -> i32 {
    if a == Dyadic::ZERO {
        return 0;
    }
    // The numerator has 24 bits and the limit lies just below 2^26, so one or two places are left.
    let places = if i64::from(a.numerator()) << 2 <= SCALE_CODE_MAX * A15_MAX { 2 } else { 1 };
    places - a.exponent()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn f32_row(weights: &[f32]) -> Result<CodedRow, usize> {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_bits().to_le_bytes()).collect();
        CodedRow::from_gguf(BlockType::F32, &bytes)
    }

    #[test]
    fn q8_0_scales_are_relative_to_the_largest_of_the_row() {
        let mut bytes = vec![0u8; 68];
        bytes[..2].copy_from_slice(&0x3c00u16.to_le_bytes()); // 1
        bytes[2] = 0x80; // -128
        bytes[34..36].copy_from_slice(&0xb801u16.to_le_bytes()); // -0.5 - 2^-11
        let row = CodedRow::from_gguf(BlockType::Q8_0, &bytes).expect("both scales are finite");
        assert_eq!((row.kd, row.scales, row.codes[0]), (11, vec![2048, -1025], -128));
    }

    #[test]
    fn the_largest_scale_saturates_at_12_bits() {
        let mut bytes = vec![0u8; 34];
        bytes[..2].copy_from_slice(&0x3fffu16.to_le_bytes()); // 2 - 2^-10, times 2^11 is 4094
        let row = CodedRow::from_gguf(BlockType::Q8_0, &bytes).expect("the scale is finite");
        assert_eq!((row.kd, row.scales), (11, vec![4094]));
        let top = code_scales(&[Dyadic::from_f32_bits(0x3fff_ffff).expect("finite")]);
        assert_eq!(top, (11, vec![4095]));
    }

    #[test]
    fn q4_1_nibbles_are_in_column_order() {
        let mut bytes = vec![0u8; 20];
        bytes[..4].copy_from_slice(&[0x00, 0x3c, 0x00, 0xc0]); // d = 1, m = -2
        (0..16).for_each(|j| bytes[4 + j] = (j as u8) | ((15 - j as u8) << 4));
        let row = CodedRow::from_gguf(BlockType::Q4_1, &bytes).expect("scale and minimum are finite");
        let expected: Vec<i16> = (0..16).chain((0..16).rev()).collect();
        assert_eq!((row.kd, row.km, row.scales, row.mins), (11, 10, vec![2048], vec![-2048]));
        assert_eq!(row.codes, expected);
    }

    #[test]
    fn infinities_and_nans_name_their_block() {
        let mut weights = vec![1f32; 64];
        weights[40] = f32::NAN;
        assert_eq!(f32_row(&weights), Err(1));
        let mut block = [0u8; 34];
        block[..2].copy_from_slice(&0x7c00u16.to_le_bytes());
        assert_eq!(CodedRow::from_gguf(BlockType::Q8_0, &block), Err(0));
    }

    #[test]
    fn a_zero_row_has_zero_exponents() {
        let row = f32_row(&[0.0; 32]).expect("zeros are finite");
        assert_eq!((row.kd, row.scales, row.codes), (0, vec![0], vec![0; 32]));
    }

    proptest! {
        #[test]
        fn two_limb_codes_are_as_near_as_their_scale_allows(
            weights in prop::collection::vec(any::<f32>().prop_filter("finite", |w| w.is_finite()), 64)
        ) {
            let row = f32_row(&weights).expect("the weights are finite");
            for (i, &w) in weights.iter().enumerate() {
                let (s, c) = (f64::from(row.scales[i / BLOCK]), f64::from(row.codes[i]));
                let scaled = f64::from(w) * 2f64.powi(row.kd);
                prop_assert!((0.0..=4095.0).contains(&s) && c.abs() <= 16256.0);
                prop_assert!((c * s - scaled).abs() <= s / 2.0 * (1.0 + 1e-9), "{w} {c} {s}");
            }
        }
    }
}
