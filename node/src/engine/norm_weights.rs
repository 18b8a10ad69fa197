//! Weights of one RMS norm.

use super::{coding::CodedRow, fixed::Scale, matrix::MatrixError, row_weights::RowWeights};

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
        let (RowWeights { values, exponent, matrix_exponent }, leaf) = RowWeights::build(cols, bytes, leaf)?;
        Ok((Self { values, exponent, epsilon: epsilon(eps, cols), matrix_exponent }, leaf))
    }
}

/// The weights of a norm of single heads, with the epsilon as a scale: it is compared with squares of values whose
/// own scale differs from head to head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadNorm {
    /// One weight for each value of a head.
    pub weights: RowWeights,
    /// `eps` times the values of a head.
    pub epsilon: Scale,
}

impl HeadNorm {
    /// Adds the model's epsilon, from 0 to 1, to the weights of one head.
    pub fn new(weights: RowWeights, eps: f32) -> Self {
        let (mantissa, exponent) = parts(eps);
        let epsilon = Scale::from(mantissa.unsigned_abs() * weights.values.len() as u64, exponent);
        Self { weights, epsilon }
    }
}

/// Integer mantissa and power of two of a float that is not negative.
fn parts(float: f32) -> (i64, i32) {
    let bits = float.to_bits();
    let (exponent, fraction) = ((bits >> 23) as i32, i64::from(bits & 0x007f_ffff));
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 23 };
    (mantissa, exponent.max(1) - 150)
}

/// `floor(eps * n * 2^28 + 1/2)`, from the bits of `eps`, which is at least 0 and at most 1.
fn epsilon(eps: f32, cols: usize) -> i64 {
    let (mantissa, exponent) = parts(eps);
    let doubled = (i128::from(mantissa) * cols as i128) << 29;
    let down = exponent.unsigned_abs();
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
    fn a_head_s_epsilon_counts_its_values() {
        let weights = RowWeights { values: vec![1; 128], exponent: 0, matrix_exponent: 0 };
        let epsilon = |eps| HeadNorm::new(weights.clone(), eps).epsilon;
        assert_eq!(epsilon(0.5), Scale::from(64, 0));
        assert_eq!((epsilon(0.0), epsilon(f32::from_bits(1))), (Scale::ZERO, Scale::from(1, 7 - 149)));
    }
}
