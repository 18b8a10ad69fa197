//! Scales: the real numbers `m * 2^e` with a 31-bit mantissa (page, section 1).
//!
//! Mantissas are truncated, never rounded: values are rounded, scales are not.

use super::round::{round_shift, sat32};

/// Bits of a mantissa.
const MANTISSA_BITS: u32 = 31;

/// The largest shift for which [`Scale::apply`] can give anything but zero.
const APPLY_SHIFT_MAX: i32 = 62;

/// `m * 2^e` with `2^30 <= m < 2^31`, or zero (`m = e = 0`).
///
/// In a model that passes `LlamaConfig::check`, `|e| < 2048` (page, section 8), so exponents are plain sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    mantissa: u32,
    exponent: i32,
}

impl Scale {
    /// The zero scale.
    pub const ZERO: Self = Self { mantissa: 0, exponent: 0 };

    /// log2(e) to 31 bits.
    pub const LOG2E: Self = Self { mantissa: 1_549_082_005, exponent: -30 };

    /// `m`: zero, or in `[2^30, 2^31)`.
    pub fn mantissa(self) -> u32 {
        self.mantissa
    }

    /// `e`; zero for the zero scale.
    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// Whether this is the zero scale.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// `from(v, e)`: the scale `v * 2^e`, low bits beyond 31 dropped.
    pub fn from_int(v: u64, e: i32) -> Self {
        if v == 0 {
            return Self::ZERO;
        }
        let excess = (64 - v.leading_zeros()) as i32 - MANTISSA_BITS as i32;
        let mantissa = if excess >= 0 { v >> excess } else { v << -excess };
        Self { mantissa: mantissa as u32, exponent: e + excess }
    }

    /// `mul(a, b)`: the product of two scales.
    pub fn times(self, other: Self) -> Self {
        let product = u64::from(self.mantissa) * u64::from(other.mantissa);
        Self::from_int(product, self.exponent + other.exponent)
    }

    /// `plus(a, b)`: the sum of two scales, each mantissa cut to units of the larger exponent.
    pub fn plus(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other } else { self };
        }
        let e = self.exponent.max(other.exponent);
        let cut = |s: Self| u64::from(s.mantissa.checked_shr((e - s.exponent) as u32).unwrap_or(0));
        Self::from_int(cut(self) + cut(other), e)
    }

    /// `self * 2^k`; zero stays zero.
    pub fn exp2(self, k: i32) -> Self {
        if self.is_zero() { self } else { Self { exponent: self.exponent + k, ..self } }
    }

    /// `1 / self`.
    ///
    /// # Panics
    /// If `self` is zero.
    pub fn recip(self) -> Self {
        assert!(!self.is_zero(), "the reciprocal of the zero scale");
        Self::from_int((1 << 61) / u64::from(self.mantissa), -61 - self.exponent)
    }

    /// The square root of `v * 2^e`.
    ///
    /// # Panics
    /// If `v` is zero.
    pub fn sqrt(v: u64, e: i32) -> Self {
        assert!(v > 0, "the root of zero has no scale");
        let full = v >= 1 << 63;
        let (v, e) = if full && e.rem_euclid(2) == 1 { (v / 2, e + 1) } else { (v, e) };
        let room = v.leading_zeros() as i32;
        let k = if (e - room).rem_euclid(2) == 0 { room } else { room - 1 };
        Self::from_int((v << k).isqrt(), (e - k) / 2)
    }

    /// `apply(y, s, f)`: the fixed-point integer with `f` fractional bits nearest to `y * self`, saturated.
    /// `y` has a magnitude of at most 2^31 - 1.
    pub fn apply(self, y: i32, f: i32) -> i32 {
        let product = i64::from(y) * i64::from(self.mantissa);
        match -(self.exponent + f) {
            // A non-zero product has a magnitude of at least 2^30; twice that saturates already.
            n if n < 0 => sat32(product.saturating_mul(2)),
            n if n <= APPLY_SHIFT_MAX => sat32(round_shift(product, n as u32)),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mantissas_are_truncated_to_31_bits() {
        assert_eq!(Scale::from_int(1, 0), Scale { mantissa: 1 << 30, exponent: -30 });
        assert_eq!(Scale::from_int(u64::MAX, 0), Scale { mantissa: u32::MAX >> 1, exponent: 33 });
        assert_eq!(Scale::from_int(0, 7), Scale::ZERO);
        assert_eq!(Scale::from_int(3, 0).times(Scale::ZERO), Scale::ZERO);
        assert_eq!(Scale::ZERO.exp2(9), Scale::ZERO);
    }

    #[test]
    fn sums_are_cut_to_the_larger_exponent() {
        let (one, three) = (Scale::from_int(1, 0), Scale::from_int(3, 0));
        assert_eq!(one.plus(three), Scale::from_int(4, 0));
        assert_eq!((one.plus(Scale::ZERO), Scale::ZERO.plus(three)), (one, three));
        assert_eq!(one.plus(Scale::from_int(7, -32)), Scale { mantissa: (1 << 30) + 1, exponent: -30 });
        assert_eq!((one.plus(Scale::from_int(1, -31)), Scale::from_int(1, -2000).plus(one)), (one, one));
        let most = Scale { mantissa: i32::MAX as u32, exponent: 5 };
        assert_eq!(most.plus(most), Scale { mantissa: i32::MAX as u32, exponent: 6 });
    }

    #[test]
    fn powers_of_two_have_exact_reciprocals_and_roots() {
        assert_eq!(Scale::from_int(1, 5).recip(), Scale::from_int(1, -5));
        assert_eq!(Scale::sqrt(1, 8), Scale::from_int(1, 4));
        assert_eq!(Scale::sqrt(1 << 63, 1), Scale::from_int(1, 32));
        assert_eq!(Scale::sqrt(9, -2), Scale::from_int(3, -1));
    }

    #[test]
    fn apply_saturates_and_vanishes() {
        let one = Scale::from_int(1, 0);
        assert_eq!((one.apply(5, 0), one.apply(-5, 3), one.apply(-5, -1)), (5, -40, -2));
        assert_eq!((one.apply(1, 31), one.apply(-1, 4000), one.apply(0, 4000)), (i32::MAX, -i32::MAX, 0));
        assert_eq!((one.apply(i32::MAX, -32), one.apply(i32::MAX, -33), one.apply(1, -5000)), (0, 0, 0));
        assert_eq!(Scale::ZERO.apply(i32::MAX, 16), 0);
    }

    proptest! {
        #[test]
        fn a_root_squared_is_the_value_to_30_bits(v in 1u64.., e in -200i32..200) {
            let root = Scale::sqrt(v, e);
            let (square, value) = (root.times(root), Scale::from_int(v, e));
            prop_assert!((1 << 30..1u32 << 31).contains(&root.mantissa()));
            let (a, b) = (u64::from(square.mantissa()), u64::from(value.mantissa()));
            let b = b << (value.exponent() - square.exponent());
            prop_assert!(a <= b && b - a <= 8, "{square:?} {value:?}");
        }

        #[test]
        fn a_reciprocal_times_the_scale_is_one_to_29_bits(v in 1u64.., e in -200i32..200) {
            let s = Scale::from_int(v, e);
            let one = s.times(s.recip());
            prop_assert!(one.apply(1 << 29, 0) - (1 << 29) <= 0);
            prop_assert!(one.apply(1 << 29, 0) - (1 << 29) >= -3);
        }

        #[test]
        fn apply_with_a_negative_shift_is_the_saturated_exact_product(y: i32, v in 1u64.., n in 1i32..30) {
            let (y, s) = (y.max(-i32::MAX), Scale::from_int(v, 0).exp2(0));
            let exact = (i128::from(y) * i128::from(s.mantissa())) << n;
            let expected = exact.clamp(-i128::from(i32::MAX), i128::from(i32::MAX)) as i32;
            prop_assert_eq!(s.apply(y, n - s.exponent()), expected);
        }
    }
}
