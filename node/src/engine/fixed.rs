//! Words of the arithmetic: the rounding rule, saturation, and scales `m * 2^e`. See `docs/NUMERICS.md`,
//! section 1.
//!
//! Every sum and product of the operators is proven to fit (section 8 of that page). Their loops wrap, here
//! and in `cpu/`, since a check at each step would keep the compiler from using wide registers.

/// Largest magnitude of an A15 code: two signed 8-bit limbs, `127 * 128`.
pub const A15_MAX: i64 = 16_256;

/// `floor((a + 2^(n-1)) / 2^n)`, and `a` for `n = 0`: the one rounding rule.
///
/// `n` is at most 62, and `a` at most `2^62` in magnitude where `n` is that large.
#[inline(always)]
pub const fn round_shift(a: i64, n: u32) -> i64 {
    if n == 0 { a } else { a.wrapping_add(1 << (n - 1)) >> n }
}

/// [`round_shift`] without a branch, for shifts that differ from number to number; `a` is below `2^62` in magnitude and
/// `n` at most 62.
#[inline(always)]
pub const fn round_shift_any(a: i64, n: u32) -> i64 {
    a.wrapping_shl(1).wrapping_shr(n).wrapping_add(1) >> 1
}

/// The product of two numbers of 32 bits. Wide registers multiply these at once, and numbers of 64 bits in three steps.
#[inline(always)]
pub const fn mul_wide(a: i32, b: i32) -> i64 {
    (a as i64).wrapping_mul(b as i64)
}

/// `a` clamped to the symmetric range of an `i32`.
#[inline(always)]
pub fn sat32(a: i64) -> i32 {
    a.clamp(-(i32::MAX as i64), i32::MAX as i64) as i32
}

/// Bits of the magnitude `a`: 0 for 0, 31 for `2^31 - 1`.
#[inline(always)]
pub const fn bit_len(a: u64) -> u32 {
    u64::BITS - a.leading_zeros()
}

/// The real number `m * 2^e`: `m` is 0 (then `e` is 0), or has exactly 31 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scale {
    /// Mantissa.
    pub m: u32,
    /// Exponent of two.
    pub e: i32,
}

/// The base-2 logarithm of e.
pub const LOG2E: Scale = Scale { m: 1_549_082_005, e: -30 };

impl Scale {
    /// The number zero.
    pub const ZERO: Self = Self { m: 0, e: 0 };

    /// `v * 2^e` cut to 31 bits.
    #[inline]
    pub const fn from(v: u64, e: i32) -> Self {
        if v == 0 {
            return Self::ZERO;
        }
        let bits = bit_len(v) as i32;
        let m = if bits > 31 { v >> (bits - 31) } else { v << (31 - bits) };
        Self { m: m as u32, e: e + bits - 31 }
    }

    /// Whether this is zero.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.m == 0
    }

    /// The product, cut to 31 bits.
    #[inline]
    pub const fn mul(self, other: Self) -> Self {
        Self::from(self.m as u64 * other.m as u64, self.e + other.e)
    }

    /// The product, cut to 31 bits, without a branch, so that loops over it use wide registers; the exponent of a zero
    /// means nothing.
    #[inline(always)]
    pub const fn mul_in_loop(self, other: Self) -> Self {
        let product = (self.m as u64).wrapping_mul(other.m as u64);
        // Two mantissas of 31 bits make one of 61 or 62.
        let cut = (product >> 61) as u32 + 30;
        let e = self.e.wrapping_add(other.e).wrapping_add(cut as i32);
        Self { m: product.wrapping_shr(cut) as u32, e }
    }

    /// The sum, each mantissa cut to units of the larger exponent.
    pub fn plus(self, other: Self) -> Self {
        let (high, low) = if self.e >= other.e { (self, other) } else { (other, self) };
        match (high.is_zero(), low.is_zero(), (high.e - low.e).unsigned_abs()) {
            (true, ..) => low,
            (_, true, _) | (_, _, 32..) => high,
            (.., down) => Self::from(u64::from(high.m) + u64::from(low.m >> down), high.e),
        }
    }

    /// `self * 2^k`.
    #[inline]
    pub const fn exp2(self, k: i32) -> Self {
        if self.is_zero() { self } else { Self { m: self.m, e: self.e + k } }
    }

    /// The reciprocal.
    ///
    /// # Panics
    /// If `self` is zero.
    #[inline]
    pub const fn recip(self) -> Self {
        Self::from((1 << 61) / self.m as u64, -61 - self.e)
    }

    /// The root of `v * 2^e`, for `v > 0`.
    pub fn sqrt(v: u64, e: i32) -> Self {
        // The mantissa below the root is brought to 63 or 64 bits, whichever leaves an even exponent.
        let k = v.leading_zeros() as i32;
        let (v, e) = match (k, (e - k) & 1) {
            (_, 0) => (v << k, e - k),
            (0, _) => (v >> 1, e + 1),
            (_, _) => (v << (k - 1), e - k + 1),
        };
        Self::from(v.isqrt(), e / 2)
    }

    /// The integer nearest to `y * self * 2^f`: `y` (at most `2^31 - 1` in magnitude) as a fixed-point number
    /// of `f` fractional bits, saturated.
    #[inline(always)]
    pub fn apply(self, y: i32, f: i32) -> i32 {
        self.fixed(f).apply(y)
    }

    /// What [`Scale::apply`] does for `f` fractional bits, prepared for many numbers.
    #[inline(always)]
    pub fn fixed(self, f: i32) -> FixedScale {
        let n = self.e.wrapping_add(f).wrapping_neg();
        let down = n.clamp(0, 62) as u32;
        FixedScale {
            m: self.m as i32,
            // A mantissa has 31 bits, so a product that is not zero saturates as soon as it grows at all.
            up: u32::from(n < 0),
            half: 1i64.wrapping_shl(down) >> 1,
            down,
            seen: if n > 62 { 0 } else { -1 },
        }
    }
}

/// A [`Scale`] for numbers of a fixed number of fractional bits.
#[derive(Clone, Copy, Debug)]
pub struct FixedScale {
    m: i32,
    up: u32,
    half: i64,
    down: u32,
    seen: i32,
}

impl FixedScale {
    /// See [`Scale::apply`]; without branches, so that loops over it use wide registers.
    #[inline(always)]
    pub fn apply(self, y: i32) -> i32 {
        let product = mul_wide(y, self.m).wrapping_shl(self.up);
        sat32(product.wrapping_add(self.half).wrapping_shr(self.down)) & self.seen
    }
}

/// The largest magnitude in `values`.
#[inline(always)]
pub fn max_magnitude(values: &[i32]) -> u32 {
    values.iter().fold(0, |max, v| max.max(v.unsigned_abs()))
}

/// Shift that brings the largest magnitude `max` to 30 bits: `k` of the word `narrow`.
#[inline]
pub fn narrow_shift(max: u64) -> u32 {
    bit_len(max).saturating_sub(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_floor_of_x_plus_half() {
        assert_eq!([5, 6, 7, -5, -6, -7].map(|a| round_shift(a, 2)), [1, 2, 2, -1, -1, -2]);
        assert_eq!(round_shift(-3, 0), -3);
        for a in [5, 6, 7, -5, -6, -7, (1 << 61) + 3, -(1 << 61) - 3] {
            for n in 0..=62 {
                assert_eq!(round_shift_any(a, n), round_shift(a, n), "{a} by {n}");
            }
        }
    }

    #[test]
    fn scales_keep_thirty_one_bits() {
        assert_eq!(Scale::from(1, 0), Scale { m: 1 << 30, e: -30 });
        assert_eq!(Scale::from(u64::MAX, 0), Scale { m: i32::MAX as u32, e: 33 });
        assert_eq!(Scale::from(3, 0).mul(Scale::from(5, -1)), Scale::from(15, -1));
        assert_eq!(Scale::from(8, 2).recip(), Scale::from(1, -5));
    }

    #[test]
    fn roots_of_squares_are_exact_at_every_size() {
        for k in 0..32 {
            assert_eq!(Scale::sqrt(1 << (2 * k), 0), Scale::from(1 << k, 0));
            assert_eq!(Scale::sqrt(9 << (2 * k.min(30)), -4), Scale::from(3 << k.min(30), -2));
        }
        assert_eq!(Scale::sqrt(1 << 63, 1), Scale::from(1 << 32, 0));
        assert_eq!(Scale::sqrt(2, -1), Scale::from(1, 0));
    }

    #[test]
    fn apply_rounds_saturates_and_vanishes() {
        assert_eq!(Scale::from(1, -1).apply(5, 0), 3);
        assert_eq!(Scale::from(1, 40).apply(-1, 0), -i32::MAX);
        assert_eq!(Scale::from(1, -80).apply(i32::MAX, 0), 0);
        assert_eq!(Scale::from(1, 30).apply(1, 0), 1 << 30);
        assert_eq!(Scale::ZERO.apply(i32::MAX, 16), 0);
        assert_eq!(Scale::from(1, 0).apply(-7, 16), -7 << 16);
    }
}
