//! A vector of weights: those of a norm, or the biases of a matrix.

use super::{
    coding::{BLOCK, CodedRow, Kind, code_row},
    matrix::{MatrixError, check_shape, matrix_exponent},
};

/// One row of 32-bit floats as integers, `values * 2^-exponent`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowWeights {
    /// One weight a column, below `2^26` in magnitude.
    pub values: Vec<i32>,
    /// Power of two that the weights were multiplied by.
    pub exponent: i32,
    /// The exponent that a matrix of this one row has, for the manifest.
    pub matrix_exponent: i32,
}

impl RowWeights {
    /// Codes the one row of 32-bit floats of a model file. `leaf` sees the row as coded.
    ///
    /// # Errors
    /// [`MatrixError`] if the row has a bad length or a weight is not finite.
    pub fn build<L>(
        cols: usize,
        bytes: &[u8],
        leaf: impl Fn(&CodedRow) -> L,
    ) -> Result<(Self, L), MatrixError> {
        check_shape(Kind::F32, 1, cols, bytes)?;
        let row = code_row(Kind::F32, bytes).map_err(|_| MatrixError::NonFinite { row: 0 })?;
        let blocks = row.codes.chunks_exact(BLOCK).zip(&row.scales);
        let values =
            blocks.flat_map(|(codes, scale)| codes.iter().map(|c| i32::from(*c) * i32::from(*scale)));
        let weights = Self {
            values: values.collect(),
            exponent: row.scale_exponent,
            matrix_exponent: matrix_exponent(Kind::F32, cols, std::slice::from_ref(&row)),
        };
        Ok((weights, leaf(&row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_values() {
        let weights: Vec<f32> = (0..32).map(|i| 0.03 * i as f32 - 0.4).collect();
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let (row, ()) = RowWeights::build(32, &bytes, |_| ()).expect("finite weights");
        for (value, weight) in row.values.iter().zip(&weights) {
            let back = f64::from(*value) * f64::from(-row.exponent).exp2();
            assert!((back - f64::from(*weight)).abs() < 1e-4, "{weight} became {back}");
        }
    }
}
