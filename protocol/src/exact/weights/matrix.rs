//! A matrix of coded rows and its constants.

use super::{BLOCK, BlockType, CodedRow, WeightsError};

/// The most blocks of a row for which no sum of it can overflow (page, section 8).
pub const BLOCKS_MAX: usize = 1 << 19;

/// The most columns, in blocks of 32.
pub const COLUMNS_MAX: usize = BLOCKS_MAX * BLOCK;

/// Parts of a row that lie this many bits and more below the matrix's largest are too small to be seen.
const SEEN_BITS: i32 = 31;

/// The magnitudes that bound a column's product, its code apart: 2^12 for the scale, 16256 for an activation.
const COLUMN_BOUND: u128 = 4096 * 16256;

/// A matrix in codes. A product with an A15 vector has the scale of that vector times `2^x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedMatrix {
    /// How the file stores it.
    pub kind: BlockType,
    /// Columns (inputs), a multiple of what the type stores together.
    pub columns: usize,
    /// Rows (outputs).
    pub rows: Vec<CodedRow>,
    /// The shift of each block's product, `Rd`.
    pub rd: u32,
    /// The shift of each block's minimum product, `Rm`; 0 where the type has no minima.
    pub rm: u32,
    /// The exponent that all outputs share, `X`.
    pub x: i32,
}

impl CodedMatrix {
    /// Codes the bytes of a tensor of `rows` rows of `columns` weights.
    ///
    /// # Errors
    /// A shape that breaks a bound, bytes that do not fit the shape, or a weight that is not finite.
    pub fn from_gguf(
        kind: BlockType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Self, WeightsError> {
        check_shape(kind, rows, columns, bytes.len())?;
        let row_bytes = columns / kind.group_columns() * kind.group_bytes();
        let code = |(row, bytes): (usize, &[u8])| {
            CodedRow::from_gguf(kind, bytes).map_err(|block| WeightsError::NotFinite { row, block })
        };
        let rows = bytes.chunks_exact(row_bytes).enumerate().map(code).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::from_rows(kind, columns, rows))
    }

    /// Derives the constants of a matrix from its rows, and zeroes the parts that are too small to be seen.
    fn from_rows(kind: BlockType, columns: usize, rows: Vec<CodedRow>) -> Self {
        let (rd, rm) = Self::shifts(kind, columns);
        let mut matrix = Self { kind, columns, rows, rd, rm, x: 0 };
        let largest =
            (0..matrix.rows.len()).flat_map(|i| [matrix.x_scales(i), matrix.x_mins(i)]).flatten().max();
        matrix.x = largest.map_or(0, |x| x + 1);
        matrix.zero_unseen();
        matrix
    }

    /// `Rd` and `Rm` of a matrix of `columns` columns; `Rm` is 0 where the type has no minima.
    pub fn shifts(kind: BlockType, columns: usize) -> (u32, u32) {
        let bound = columns as u128 * COLUMN_BOUND;
        let rd = least_shift(bound * u128::from(kind.code_max()), kind.shift_min());
        (rd, if kind.has_minima() { least_shift(bound, 0) } else { 0 })
    }

    /// `xD` of a row: the exponent of its scaled part, where it has one.
    pub fn x_scales(&self, row: usize) -> Option<i32> {
        let row = &self.rows[row];
        row.has_scales().then(|| self.rd as i32 - row.kd)
    }

    /// `xM` of a row: the exponent of the part of its minima, where it has one.
    pub fn x_mins(&self, row: usize) -> Option<i32> {
        let row = &self.rows[row];
        row.has_mins().then(|| self.rm as i32 - row.km)
    }

    fn zero_unseen(&mut self) {
        for i in 0..self.rows.len() {
            if self.x_scales(i).is_some_and(|x| self.x - x > SEEN_BITS) {
                self.rows[i].scales.fill(0);
            }
            if self.x_mins(i).is_some_and(|x| self.x - x > SEEN_BITS) {
                self.rows[i].mins.fill(0);
            }
        }
    }
}

/// The least shift of at least `min` that brings `bound` below 2^31.
fn least_shift(bound: u128, min: u32) -> u32 {
    let bits = 128 - bound.leading_zeros();
    min.max(bits.saturating_sub(31))
}

fn check_shape(kind: BlockType, rows: usize, columns: usize, actual: usize) -> Result<(), WeightsError> {
    let (of, max) = (kind.group_columns(), BLOCKS_MAX * kind.block());
    if columns == 0 || !columns.is_multiple_of(of) || columns > max {
        return Err(WeightsError::Columns { columns, kind, of, max });
    }
    let expected = rows as u128 * (columns / of) as u128 * kind.group_bytes() as u128;
    if expected != actual as u128 {
        return Err(WeightsError::Length { rows, columns, expected, actual });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32_matrix(rows: &[f32]) -> CodedMatrix {
        let bytes: Vec<u8> = rows.iter().flat_map(|&w| [w.to_bits().to_le_bytes(); BLOCK].concat()).collect();
        CodedMatrix::from_gguf(BlockType::F32, rows.len(), BLOCK, &bytes).expect("the rows are finite")
    }

    #[test]
    fn shifts_are_the_least_that_fit() {
        let bound = |n: u128, code_max: u128| n * COLUMN_BOUND * code_max;
        assert_eq!(least_shift(bound(576, 15), 8), 9);
        assert_eq!(least_shift(bound(32, 15), 8), 8);
        assert_eq!(least_shift(bound(576, 1), 0), 5);
        assert_eq!(least_shift(bound(1 << 24, 16256), 15), 33);
        for n in (32..100_000u128).step_by(32) {
            let shift = least_shift(bound(n, 15), 8);
            assert!(bound(n, 15) >> shift < 1 << 31);
            assert!(shift == 8 || bound(n, 15) >> (shift - 1) >= 1 << 31);
        }
    }

    #[test]
    fn parts_too_small_to_be_seen_are_zeroed_and_the_others_kept() {
        let matrix = f32_matrix(&[1.0, 2f32.powi(-30), 2f32.powi(-31), 0.0]);
        assert_eq!(matrix.x, 1 + 15 - matrix.rows[0].kd);
        assert_eq!(
            matrix.rows.iter().map(CodedRow::has_scales).collect::<Vec<_>>(),
            [true, true, false, false]
        );
    }

    #[test]
    fn a_matrix_of_zeros_has_exponent_zero() {
        assert_eq!(f32_matrix(&[0.0, 0.0]).x, 0);
    }

    #[test]
    fn shapes_outside_the_bounds_are_refused() {
        let refuse = |rows, columns, bytes: &[u8]| {
            CodedMatrix::from_gguf(BlockType::Q4_1, rows, columns, bytes).expect_err("the shape is wrong")
        };
        let width = |columns, kind, of, max| WeightsError::Columns { columns, kind, of, max };
        let q4_1 = |columns| width(columns, BlockType::Q4_1, 32, 1 << 24);
        assert_eq!(refuse(1, 0, &[]), q4_1(0));
        assert_eq!(refuse(1, 48, &[0; 30]), q4_1(48));
        assert_eq!(refuse(0, 1 << 25, &[]), q4_1(1 << 25));
        for columns in [32, (1 << 23) + 256] {
            let refusal = CodedMatrix::from_gguf(BlockType::Q6K, 0, columns, &[]);
            assert_eq!(refusal, Err(width(columns, BlockType::Q6K, 256, 1 << 23)));
        }
        let expected = WeightsError::Length { rows: 2, columns: 32, expected: 40, actual: 39 };
        assert_eq!(refuse(2, 32, &[0; 39]), expected);
        refuse(usize::MAX, 32, &[0; 20]);
    }
}
