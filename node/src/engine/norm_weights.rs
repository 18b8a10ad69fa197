//! Weights of one RMS norm.

use super::{
    coding::{BLOCK, CodedRow, Kind, code_row},
    matrix::{MatrixError, check_shape, matrix_exponent},
};

/// The weights of a norm as integers, `values * 2^-exponent`, with the epsilon that the model adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NormWeights {
    /// One weight a column, below `2^26` in magnitude.
    pub values: Vec<i32>,
    /// Power of two that the weights were multiplied by.
    pub exponent: i32,
    /// `eps * n` in Q28.
    pub epsilon: i64,
    /// The exponent that a matrix of this one row has, for the manifest.
    pub matrix_exponent: i32,
}

impl NormWeights {
    /// Codes a norm from its one row of 32-bit floats in a model file; `eps` is the model's, from 0 to 1.
    /// `leaf` sees the row as coded.
    ///
    /// # Errors
    /// [`MatrixError`] if the row has a bad length or a weight is not finite.
    pub fn build<L>(
        cols: usize,
        bytes: &[u8],
        eps: f32,
        leaf: impl Fn(&CodedRow) -> L,
    ) -> Result<(Self, L), MatrixError> {
        check_shape(Kind::F32, 1, cols, bytes)?;
        let row = code_row(Kind::F32, bytes).map_err(|_| MatrixError::NonFinite { row: 0 })?;
        let blocks = row.codes.chunks_exact(BLOCK).zip(&row.scales);
        let values =
            blocks.flat_map(|(codes, scale)| codes.iter().map(|c| i32::from(*c) * i32::from(*scale)));
        let norm = Self {
            values: values.collect(),
            exponent: row.scale_exponent,
            epsilon: epsilon(eps, cols),
            matrix_exponent: matrix_exponent(Kind::F32, cols, std::slice::from_ref(&row)),
        };
        Ok((norm, leaf(&row)))
    }
}

/// `floor(eps * n * 2^28 + 1/2)`, from the bits of `eps`, which is at least 0 and at most 1.
fn epsilon(eps: f32, cols: usize) -> i64 {
    let bits = eps.to_bits();
    let (exponent, fraction) = ((bits >> 23) as i32, i64::from(bits & 0x007f_ffff));
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 23 };
    let doubled = (i128::from(mantissa) * cols as i128) << 29;
    let down = (150 - exponent.max(1)).unsigned_abs();
    if down > 120 { 0 } else { (((doubled >> down) + 1) >> 1) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_is_the_nearest_q28_integer() {
        assert_eq!(epsilon(1.0, 576), 576 << 28);
        assert_eq!(epsilon(0.0, 576), 0);
        assert_eq!(epsilon(f32::from_bits(1), 576), 0);
        for eps in [1e-5f32, 1e-6, 3.7e-9, 0.25] {
            let exact = f64::from(eps) * 576.0 * f64::from(1u32 << 28);
            assert_eq!(epsilon(eps, 576), (exact + 0.5).floor() as i64, "for {eps}");
        }
    }

    #[test]
    fn weights_keep_their_values() {
        let weights: Vec<f32> = (0..32).map(|i| 0.03 * i as f32 - 0.4).collect();
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let (norm, ()) = NormWeights::build(32, &bytes, 1e-5, |_| ()).expect("finite weights");
        for (value, weight) in norm.values.iter().zip(&weights) {
            let back = f64::from(*value) * f64::from(-norm.exponent).exp2();
            assert!((back - f64::from(*weight)).abs() < 1e-4, "{weight} became {back}");
        }
    }
}
