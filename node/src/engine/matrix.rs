//! A weight matrix laid out for the product: panels of eight rows, whose codes lie pair of columns by pair of
//! columns.
//!
//! One load then brings the same two columns of eight rows, so that a register holds eight running dot
//! products and nothing is ever summed across it. Panels are filled up with rows of zeros.

mod laws;
mod pack;

use rayon::prelude::*;
use thiserror::Error;

use self::{
    laws::Laws,
    pack::{interleave, pack_codes},
};
pub(crate) use self::{laws::matrix_exponent, pack::pair_index};
use super::coding::{BLOCK, CodedRow, Coding, Kind, NonFinite, code_row};

/// Rows of a panel.
pub const PANEL: usize = 8;
/// Weights of one block of a panel.
pub const PANEL_BLOCK: usize = PANEL * BLOCK;
/// Blocks of a row at most; keeps every sum of rounded block products in an `i32`.
pub const BLOCKS_MAX: usize = 1 << 19;
/// Columns of a matrix at most, in blocks of 32.
pub const COLS_MAX: usize = BLOCKS_MAX * BLOCK;
/// Why a matrix was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MatrixError {
    /// A row holds an infinity or a NaN.
    #[error("row {row} holds an infinity or a NaN")]
    NonFinite {
        /// The row, counted from 0.
        row: usize,
    },
    /// The number of columns does not suit the arithmetic.
    #[error("{cols} columns: the arithmetic takes multiples of {BLOCK} up to {max} of this type")]
    Columns {
        /// Columns found.
        cols: usize,
        /// The most of the matrix's kind.
        max: usize,
    },
    /// The byte length is not that of the rows and columns.
    #[error("the data has {found} bytes where its shape takes {expected}")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes that rows, columns and kind ask for.
        expected: usize,
    },
}

/// Codes by panel and block, each block holding 16 pairs of columns x 8 rows x the pair's two codes.
#[derive(Debug)]
pub enum Codes {
    /// Four-bit codes: a word of row `r` holds columns `8v + h`, `+2`, `+4`, `+6` from the low bits up, at
    /// index `16v + 2r + h`.
    Nibbles(Vec<[u16; PANEL_BLOCK / 4]>),
    /// Eight-bit codes, column `2j + h` of row `r` at index `16j + 2r + h`.
    Bytes(Vec<[i8; PANEL_BLOCK]>),
    /// Codes of up to 15 bits, ordered as the bytes are.
    Words(Vec<[i16; PANEL_BLOCK]>),
}

/// Powers of two by which one row's scales and minima were multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowExponents {
    /// Of the scales.
    pub scale: i32,
    /// Of the minima.
    pub minimum: i32,
}

/// Final right shifts of a panel's sums, by row; 0 where the part is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PanelShifts {
    /// Of the scaled dot products.
    pub data: [i32; PANEL],
    /// Of the scaled code sums.
    pub minima: [i32; PANEL],
}

/// A coded matrix, `rows` outputs by `cols` inputs.
#[derive(Debug)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    kind: Kind,
    codes: Codes,
    scales: Vec<[i16; PANEL]>,
    minima: Vec<[i16; PANEL]>,
    shifts: Vec<PanelShifts>,
    rows_exponents: Vec<RowExponents>,
    block_shift: u32,
    minimum_shift: u32,
    exponent: i32,
}

/// One panel's part of a matrix, all that its product needs.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a> {
    /// Codes of all blocks.
    pub codes: PanelCodes<'a>,
    /// Block scales, by block and row; two for each 32 columns where blocks have 16.
    pub scales: &'a [[i16; PANEL]],
    /// Block minima, by block and row; empty for kinds without.
    pub minima: &'a [[i16; PANEL]],
    /// Final shifts.
    pub shifts: &'a PanelShifts,
    /// Shift of each scaled block product.
    pub block_shift: u32,
    /// Shift of each scaled block sum.
    pub minimum_shift: u32,
    /// What the codes are like.
    pub coding: Coding,
}

impl Panel<'_> {
    /// Scales of each 32 columns: 1 or 2.
    #[inline(always)]
    pub fn scales_each(&self) -> usize {
        BLOCK / self.coding.block
    }
}

/// The codes of one panel, a block an element.
#[derive(Clone, Copy, Debug)]
pub enum PanelCodes<'a> {
    /// See [`Codes::Nibbles`].
    Nibbles(&'a [[u16; PANEL_BLOCK / 4]]),
    /// See [`Codes::Bytes`].
    Bytes(&'a [[i8; PANEL_BLOCK]]),
    /// See [`Codes::Words`].
    Words(&'a [[i16; PANEL_BLOCK]]),
}

impl Matrix {
    /// Codes and lays out a matrix from its rows in a model file. `leaf` sees every row as coded, before
    /// parts too small to be seen are dropped; its answers come back in the order of the rows.
    ///
    /// # Errors
    /// [`MatrixError`]; rows are coded in parallel, but the first bad row is the one named.
    pub fn build<L: Send>(
        kind: Kind,
        rows: usize,
        cols: usize,
        bytes: &[u8],
        leaf: impl Fn(&CodedRow) -> L + Sync + Send,
    ) -> Result<(Self, Vec<L>), MatrixError> {
        check_shape(kind, rows, cols, bytes)?;
        let mut coded = code_rows(kind, bytes, cols)?;
        let leaves = coded.par_iter().map(leaf).collect();
        let laws = Laws::new(kind, cols);
        let exponent = laws.matrix_exponent(&coded);
        coded.par_iter_mut().for_each(|row| laws.drop_unseen_parts(row, exponent));
        Ok((Self::pack(kind, cols, &coded, &laws, exponent), leaves))
    }

    fn pack(kind: Kind, cols: usize, coded: &[CodedRow], laws: &Laws, exponent: i32) -> Self {
        let blocks = cols / BLOCK;
        let panels = coded.par_chunks(PANEL);
        let Coding { block, has_minima, .. } = kind.coding();
        let minima = if has_minima { interleave(coded, blocks, |row| &row.minima) } else { Vec::new() };
        Self {
            rows: coded.len(),
            cols,
            kind,
            codes: pack_codes(kind, coded, blocks),
            scales: interleave(coded, cols / block, |row| &row.scales),
            minima,
            shifts: panels.map(|rows| laws.panel_shifts(rows, exponent)).collect(),
            rows_exponents: coded
                .iter()
                .map(|row| RowExponents { scale: row.scale_exponent, minimum: row.minimum_exponent })
                .collect(),
            block_shift: laws.block_shift,
            minimum_shift: laws.minimum_shift,
            exponent,
        }
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Panels, the last of which may be filled up with zeros.
    pub fn panels(&self) -> usize {
        self.shifts.len()
    }

    /// The exponent `X` that a product's scale gets.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// Encoding in the model file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Exponents of one row.
    pub fn row_exponents(&self, row: usize) -> RowExponents {
        self.rows_exponents[row]
    }

    /// The codes of one block of 32 columns of a row, as they are counted in.
    ///
    /// # Panics
    /// If there is no such row or block.
    pub fn codes(&self, row: usize, block: usize) -> [i16; BLOCK] {
        let panel = self.panel(row / PANEL);
        std::array::from_fn(|col| panel.codes.get(block, row % PANEL, col) - panel.coding.offset)
    }

    /// The scale of a block of 32 columns of a row and its minimum; where blocks are `halves` of that, both
    /// their scales.
    ///
    /// # Panics
    /// If there is no such row or block.
    pub fn block_scales(&self, row: usize, block: usize, halves: bool) -> (i16, i16) {
        let (panel, at) = (self.panel(row / PANEL), row % PANEL);
        match halves {
            true => (panel.scales[2 * block][at], panel.scales[2 * block + 1][at]),
            false => (panel.scales[block][at], panel.minima.get(block).map_or(0, |minima| minima[at])),
        }
    }

    /// The final shifts of a row: of its scaled dot products, and of its scaled code sums.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_shifts(&self, row: usize) -> (i32, i32) {
        let shifts = &self.shifts[row / PANEL];
        (shifts.data[row % PANEL], shifts.minima[row % PANEL])
    }

    /// Shift of each scaled block product.
    pub fn block_shift(&self) -> u32 {
        self.block_shift
    }

    /// Shift of each scaled block sum.
    pub fn minimum_shift(&self) -> u32 {
        self.minimum_shift
    }

    /// Panel `index`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn panel(&self, index: usize) -> Panel<'_> {
        let (blocks, coding) = (self.cols / BLOCK, self.kind.coding());
        let range = index * blocks..(index + 1) * blocks;
        let each = BLOCK / coding.block;
        let codes = match &self.codes {
            Codes::Nibbles(all) => PanelCodes::Nibbles(&all[range.clone()]),
            Codes::Bytes(all) => PanelCodes::Bytes(&all[range.clone()]),
            Codes::Words(all) => PanelCodes::Words(&all[range.clone()]),
        };
        let minima = if self.minima.is_empty() { &[] } else { &self.minima[range.clone()] };
        Panel {
            codes,
            scales: &self.scales[range.start * each..range.end * each],
            minima,
            shifts: &self.shifts[index],
            block_shift: self.block_shift,
            minimum_shift: self.minimum_shift,
            coding,
        }
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::Nibbles(all) => size_of_val(all.as_slice()),
            Codes::Bytes(all) => size_of_val(all.as_slice()),
            Codes::Words(all) => size_of_val(all.as_slice()),
        };
        codes
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.minima.as_slice())
            + size_of_val(self.shifts.as_slice())
            + size_of_val(self.rows_exponents.as_slice())
    }
}

/// Checks that the arithmetic takes the shape, and that the bytes fill it.
pub(crate) fn check_shape(kind: Kind, rows: usize, cols: usize, bytes: &[u8]) -> Result<(), MatrixError> {
    let max = BLOCKS_MAX * kind.coding().block;
    let Some(row) = kind.row_bytes(cols).filter(|_| cols.is_multiple_of(BLOCK) && (1..=max).contains(&cols))
    else {
        return Err(MatrixError::Columns { cols, max });
    };
    let expected = rows.saturating_mul(row);
    if bytes.len() == expected { Ok(()) } else { Err(MatrixError::Length { found: bytes.len(), expected }) }
}

fn code_rows(kind: Kind, bytes: &[u8], cols: usize) -> Result<Vec<CodedRow>, MatrixError> {
    let rows = bytes.par_chunks_exact(kind.row_bytes(cols).unwrap_or(usize::MAX));
    let coded = rows.map(|row| code_row(kind, row)).collect::<Vec<Result<_, NonFinite>>>();
    let named =
        |(row, result): (usize, Result<_, _>)| result.map_err(|NonFinite| MatrixError::NonFinite { row });
    coded.into_iter().enumerate().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q8_row(step: u16, code: u8) -> Vec<u8> {
        let mut row = step.to_le_bytes().to_vec();
        row.extend([code; 32]);
        row
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let build = |rows, cols, len| Matrix::build(Kind::Q8_0, rows, cols, &vec![0; len], |_| ()).err();
        assert_eq!(build(1, 33, 34), Some(MatrixError::Columns { cols: 33, max: COLS_MAX }));
        assert_eq!(build(2, 32, 67), Some(MatrixError::Length { found: 67, expected: 68 }));
        assert_eq!(build(2, 32, 68), None);
        let q6_k = |cols| Matrix::build(Kind::Q6K, 0, cols, &[], |_| ()).err();
        let refused = [32, (1 << 23) + 256].map(|cols| (cols, MatrixError::Columns { cols, max: 1 << 23 }));
        assert!(refused.iter().all(|(cols, error)| q6_k(*cols) == Some(*error)));
    }

    #[test]
    fn the_first_bad_row_is_named() {
        let bytes = [q8_row(0x3c00, 1), q8_row(0x7c00, 1), q8_row(0x7e00, 1)].concat();
        let found = Matrix::build(Kind::Q8_0, 3, 32, &bytes, |_| ()).err();
        assert_eq!(found, Some(MatrixError::NonFinite { row: 1 }));
    }

    #[test]
    fn rows_far_below_the_largest_are_dropped() {
        // 2^15 against 2^-24: more than 31 bits apart; 2^-14 stays.
        let bytes = [q8_row(0x7800, 1), q8_row(0x0001, 1), q8_row(0x0400, 1)].concat();
        let (matrix, leaves) =
            Matrix::build(Kind::Q8_0, 3, 32, &bytes, |row| row.scales[0]).expect("finite rows");
        assert_eq!(leaves, [2048, 2048, 2048]);
        assert_eq!(matrix.panel(0).scales[0], [2048, 0, 2048, 0, 0, 0, 0, 0]);
        assert_eq!(matrix.panel(0).shifts.data, [1, 0, 30, 0, 0, 0, 0, 0]);
        assert_eq!(matrix.panels(), 1);
    }
}
