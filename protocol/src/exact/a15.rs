//! Vectors with one scale, and the 15-bit activation format A15 (page, section 1).

use super::{round::round_shift, scale::Scale};

/// The largest magnitude of an A15 code: 127 * 128, so that a code splits into two signed 8-bit limbs.
pub const A15_MAX: i64 = 16256;

/// A vector of integers and one scale: the real numbers `values[i] * scale`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scaled<T> {
    /// The integers.
    pub values: Vec<T>,
    /// What one unit of them is worth.
    pub scale: Scale,
}

/// Codes in [-16256, 16256] and their scale.
pub type A15 = Scaled<i16>;

impl<T> Scaled<T> {
    /// The same integers with another scale.
    pub fn with_scale(self, scale: Scale) -> Self {
        Self { scale, ..self }
    }
}

/// `a15(y)`: codes relative to the largest magnitude, which becomes 16256. The scale is what a code is worth
/// in units of `y`. Magnitudes of `y` are at most 2^31 - 1.
pub fn a15(y: &[i32]) -> A15 {
    let largest = y.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    if largest == 0 {
        return A15 { values: vec![0; y.len()], scale: Scale::ZERO };
    }
    let l = largest.leading_zeros() - 1;
    let reciprocal = (1i64 << 61) / (i64::from(largest) << l);
    let code = |v: i32| {
        let t = ((i64::from(v) << l) * reciprocal) >> 32;
        round_shift(t * A15_MAX, 29) as i16
    };
    let unit = Scale::from_int(A15_MAX as u64, 0).recip();
    A15 {
        values: y.iter().map(|&v| code(v)).collect(),
        scale: Scale::from_int(largest.into(), 0).times(unit),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_magnitude_becomes_16256() {
        for largest in [1, 2, 3, 16256, 1 << 30, i32::MAX] {
            assert_eq!(a15(&[largest, -largest, 0]).values, [16256, -16256, 0], "{largest}");
        }
        assert_eq!(a15(&[0, 0]), A15 { values: vec![0, 0], scale: Scale::ZERO });
        assert_eq!(a15(&[]), A15::default());
    }

    proptest! {
        #[test]
        fn codes_are_within_half_a_step_of_the_quotient(y in prop::collection::vec(any::<i32>(), 1..40)) {
            let y: Vec<i32> = y.into_iter().map(|v| v.max(-i32::MAX)).collect();
            let largest = y.iter().map(|v| i128::from(v.unsigned_abs())).max().unwrap_or(0).max(1);
            for (&v, &q) in y.iter().zip(&a15(&y).values) {
                prop_assert!(i64::from(q).abs() <= A15_MAX);
                let twice_error = 2 * (i128::from(v) * 16256 - i128::from(q) * largest);
                prop_assert!(twice_error.abs() <= largest + largest / 1000 + 1);
            }
        }

        #[test]
        fn two_signed_bytes_hold_a_code(q in -16256i32..=16256) {
            let hi = (q + 64) >> 7;
            let lo = q - 128 * hi;
            prop_assert!(hi.abs() <= 127 && (-64..=63).contains(&lo));
        }
    }
}
