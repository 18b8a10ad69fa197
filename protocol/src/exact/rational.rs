//! The floats of a model file, read from their bits as the exact rationals that they are.

/// A finite float: `numerator * 2^exponent`, with `2^23 <= |numerator| < 2^24`, or zero (both fields zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dyadic {
    numerator: i32,
    exponent: i32,
}

/// The layout of a binary float: fraction bits, and the exponent of the unit of a subnormal.
struct Layout {
    fraction_bits: u32,
    exponent_bits: u32,
    unit: i32,
}

const F16: Layout = Layout { fraction_bits: 10, exponent_bits: 5, unit: -24 };
const F32: Layout = Layout { fraction_bits: 23, exponent_bits: 8, unit: -149 };

impl Dyadic {
    /// Zero.
    pub const ZERO: Self = Self { numerator: 0, exponent: 0 };

    /// Reads the bits of an IEEE 754 half float; `None` for an infinity or a NaN.
    pub fn from_f16_bits(bits: u16) -> Option<Self> {
        F16.read(bits.into())
    }

    /// Reads the bits of an IEEE 754 single float; `None` for an infinity or a NaN.
    pub fn from_f32_bits(bits: u32) -> Option<Self> {
        F32.read(bits)
    }

    /// The signed numerator.
    pub fn numerator(self) -> i32 {
        self.numerator
    }

    /// The exponent of two.
    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// The absolute value.
    pub fn abs(self) -> Self {
        Self { numerator: self.numerator.abs(), ..self }
    }

    /// `self * by`, exactly, for a half float and `|by| <= 128`: 11 significant bits times 8 fit 24.
    ///
    /// # Panics
    /// If the product has more than 24 significant bits.
    pub fn times(self, by: i32) -> Self {
        let zeros = self.numerator.trailing_zeros().min(23);
        let product = i64::from(self.numerator >> zeros) * i64::from(by);
        assert!(product.unsigned_abs() < 1 << 24, "a half float and a factor of 8 bits");
        normalise(product.unsigned_abs() as u32, self.exponent + zeros as i32, product < 0)
    }

    /// `floor(log2 |self|)`; `None` for zero.
    pub fn floor_log2(self) -> Option<i32> {
        (self.numerator != 0).then_some(self.exponent + 23)
    }

    /// A key that orders magnitudes.
    pub fn magnitude_key(self) -> (i32, i32) {
        if self.numerator == 0 { (i32::MIN, 0) } else { (self.exponent, self.numerator.abs()) }
    }
}

impl Layout {
    fn read(&self, bits: u32) -> Option<Dyadic> {
        let fraction = bits & ((1 << self.fraction_bits) - 1);
        let biased = bits >> self.fraction_bits & ((1 << self.exponent_bits) - 1);
        if biased == (1 << self.exponent_bits) - 1 {
            return None;
        }
        let (magnitude, unit) = match biased {
            0 => (fraction, self.unit),
            _ => (fraction | 1 << self.fraction_bits, self.unit + biased as i32 - 1),
        };
        let negative = bits >> (self.fraction_bits + self.exponent_bits) & 1 == 1;
        Some(normalise(magnitude, unit, negative))
    }
}

fn normalise(magnitude: u32, unit: i32, negative: bool) -> Dyadic {
    if magnitude == 0 {
        return Dyadic::ZERO;
    }
    let up = magnitude.leading_zeros() - 8;
    let numerator = (magnitude << up) as i32;
    Dyadic { numerator: if negative { -numerator } else { numerator }, exponent: unit - up as i32 }
}

/// Below this exponent every quotient that occurs here is a fraction too small to matter.
const SMALL: i32 = -64;

/// `floor(numerator * 2^exponent / divisor + 1/2)`, for `|numerator| < 2^50`, `0 < divisor < 2^31` and
/// `exponent <= 64`.
pub fn round_div(numerator: i64, exponent: i32, divisor: i64) -> i64 {
    if exponent < SMALL {
        return 0;
    }
    let (n, d) = widen(numerator, exponent, divisor);
    (2 * n + d).div_euclid(2 * d) as i64
}

/// `ceil(numerator * 2^exponent / divisor)`, for `0 <= numerator < 2^50` and the other bounds of
/// [`round_div`].
pub fn ceil_div(numerator: i64, exponent: i32, divisor: i64) -> i64 {
    if exponent < SMALL {
        return i64::from(numerator > 0);
    }
    let (n, d) = widen(numerator, exponent, divisor);
    (n + d - 1).div_euclid(d) as i64
}

fn widen(numerator: i64, exponent: i32, divisor: i64) -> (i128, i128) {
    let (n, d) = (i128::from(numerator), i128::from(divisor));
    if exponent >= 0 { (n << exponent, d) } else { (n, d << -exponent) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value of a dyadic; exact, since its numerator has 24 bits and doubles reach below 2^-200.
    fn value(d: Dyadic) -> f64 {
        f64::from(d.numerator) * 2f64.powi(d.exponent)
    }

    #[test]
    fn every_half_float_has_the_value_of_its_formula() {
        for bits in 0..=u16::MAX {
            let (sign, biased) = (if bits >> 15 == 1 { -1.0 } else { 1.0 }, i32::from(bits >> 10 & 31));
            let fraction = f64::from(bits & 1023) / 1024.0;
            let expected = match biased {
                31 => None,
                0 => Some(sign * fraction * 2f64.powi(-14)),
                _ => Some(sign * (1.0 + fraction) * 2f64.powi(biased - 15)),
            };
            assert_eq!(Dyadic::from_f16_bits(bits).map(value), expected, "{bits:#06x}");
        }
    }

    #[test]
    fn every_half_float_times_a_small_factor_is_exact() {
        for half in (0..=u16::MAX).filter_map(Dyadic::from_f16_bits) {
            for by in [-128, -127, -63, -1, 0, 1, 3, 63, 127] {
                let product = half.times(by);
                assert_eq!(value(product), value(half) * f64::from(by), "{half:?} {by}");
                assert!(product == Dyadic::ZERO || product.numerator.unsigned_abs() >> 23 == 1);
            }
        }
    }

    #[test]
    fn quotients_round_to_the_nearest_and_halves_up() {
        assert_eq!([-5, -3, -1, 1, 3, 5].map(|n| round_div(n, -1, 1)), [-2, -1, 0, 1, 2, 3]);
        assert_eq!((round_div(7, 0, 3), round_div(-7, 1, 4), round_div(1 << 49, -300, 1)), (2, -3, 0));
        assert_eq!(
            (ceil_div(7, 0, 3), ceil_div(6, 0, 3), ceil_div(1, -300, 1), ceil_div(0, -300, 1)),
            (3, 2, 1, 0)
        );
    }

    proptest! {
        #[test]
        fn a_single_float_keeps_its_value(bits: u32) {
            let float = f32::from_bits(bits);
            let expected = float.is_finite().then_some(f64::from(float));
            prop_assert_eq!(Dyadic::from_f32_bits(bits).map(value), expected);
        }

        #[test]
        fn keys_order_magnitudes(a: u32, b: u32) {
            let [x, y] = [a, b].map(|bits| Dyadic::from_f32_bits(bits).unwrap_or_default());
            let floats = value(x).abs().total_cmp(&value(y).abs());
            prop_assert_eq!(x.magnitude_key().cmp(&y.magnitude_key()), floats);
        }
    }
}
