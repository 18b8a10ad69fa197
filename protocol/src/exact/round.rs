//! The one rounding rule, and the words built on it (page, section 1).

/// The largest magnitude of a value that [`sat32`] returns: 2^31 - 1.
pub const I32_MAX: i64 = (1 << 31) - 1;

/// Bits that [`narrow`] leaves in a vector's largest magnitude.
const NARROW_BITS: u32 = 30;

/// `floor(a / 2^n + 1/2)`, the only rounding there is. `n` is at most 126.
pub fn round_shift(a: i64, n: u32) -> i64 {
    let half = (1i128 << n) >> 1;
    ((i128::from(a) + half) >> n) as i64
}

/// `a` clamped to [-(2^31-1), 2^31-1]. The least i32 is left out so that magnitudes always fit.
pub fn sat32(a: i64) -> i32 {
    a.clamp(-I32_MAX, I32_MAX) as i32
}

/// An integer that section 8 of the page proves to fit 31 bits and a sign.
pub(super) fn proven32(a: i64) -> i32 {
    i32::try_from(a).expect("within the bounds of NUMERICS.md, section 8")
}

/// The number of bits of `|a|`: 0 for 0, 1 for 1, 31 for 2^31 - 1.
pub fn bitlen(a: i64) -> u32 {
    64 - a.unsigned_abs().leading_zeros()
}

/// Brings a vector down to 31 bits and a sign: the rounded values, magnitudes at most 2^30, and the shift `k`
/// that was taken off, so that each input is about `value * 2^k`.
pub fn narrow(v: &[i64]) -> (Vec<i32>, i32) {
    let bits = v.iter().map(|&a| bitlen(a)).max().unwrap_or(0);
    let k = bits.saturating_sub(NARROW_BITS);
    (v.iter().map(|&a| proven32(round_shift(a, k))).collect(), k as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_up_on_both_sides_of_zero() {
        let rounded: Vec<i64> = (-6..=6).map(|a| round_shift(a, 2)).collect();
        assert_eq!(rounded, [-1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2]);
        assert_eq!((round_shift(-7, 0), round_shift(i64::MAX, 63), round_shift(i64::MIN, 63)), (-7, 1, -1));
        assert_eq!((round_shift(i64::MIN, 64), round_shift(i64::MAX, 100)), (0, 0));
    }

    #[test]
    fn saturation_is_symmetric() {
        assert_eq!(sat32(i64::MIN), -i32::MAX);
        assert_eq!(sat32(-(1 << 31)), -i32::MAX);
        assert_eq!((sat32(I32_MAX), sat32(I32_MAX + 1), sat32(-5)), (i32::MAX, i32::MAX, -5));
    }

    #[test]
    fn bit_lengths() {
        assert_eq!([0, 1, -1, 2, I32_MAX, -I32_MAX, i64::MIN].map(bitlen), [0, 1, 1, 2, 31, 31, 64]);
    }

    #[test]
    fn narrowing_keeps_small_vectors_and_may_round_up_to_two_to_the_thirty() {
        assert_eq!(narrow(&[(1 << 30) - 1, -3]), (vec![(1 << 30) - 1, -3], 0));
        assert_eq!(narrow(&[(1 << 31) - 1, -3]), (vec![1 << 30, -1], 1));
        assert_eq!(narrow(&[-(1 << 62), 1 << 32]), (vec![-(1 << 29), 1], 33));
        assert_eq!(narrow(&[]), (vec![], 0));
    }
}
