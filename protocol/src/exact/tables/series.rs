//! Elementary functions in Q60 by integer series (page, section 5).
//!
//! Terms are kept non-negative and are added or subtracted in turn: the floor of a negative term would never
//! reach zero.

/// 1 in Q60.
pub(super) const ONE: i64 = 1 << 60;

/// `floor(2^60 * ln 2)`.
pub(super) const LN2: i64 = 799_144_290_325_165_978;

/// `floor(2^60 * pi / 2)`.
pub(super) const QUARTER_TURN: i64 = 1_811_004_864_519_280_710;

/// `floor(a * b / 2^60)`.
const fn mul(a: i64, b: i64) -> i64 {
    ((a as i128 * b as i128) >> 60) as i64
}

/// Rounds Q60 to `bits` fractional bits by the one rule.
pub(super) const fn round_q60(a: i64, bits: u32) -> i32 {
    ((a as i128 + (1 << (59 - bits))) >> (60 - bits)) as i32
}

/// `ln(m * 2^e)` for `m` in Q60, `1 <= m < 2`: `e * ln 2 + 2 * atanh((m - 1) / (m + 1))`.
pub(super) const fn ln(m: i64, e: i32) -> i128 {
    let z = (((m - ONE) as i128) << 60) / (m as i128 + ONE as i128);
    e as i128 * LN2 as i128 + 2 * atanh(z as i64) as i128
}

/// The odd power series, for `0 <= z <= 1/3`.
const fn atanh(z: i64) -> i64 {
    let square = mul(z, z);
    let (mut sum, mut power, mut term, mut k) = (0, z, z, 1);
    while term > 0 {
        sum += term;
        power = mul(power, square);
        k += 2;
        term = power / k;
    }
    sum
}

/// `exp(-x)` for `x >= 0`.
pub(super) const fn exp_neg(x: i128) -> i64 {
    let n = x / LN2 as i128;
    let r = (x - n * LN2 as i128) as i64;
    let (mut sum, mut term, mut k) = (0, ONE, 1);
    while term > 0 {
        sum += if k % 2 == 1 { term } else { -term };
        term = mul(term, r) / k;
        k += 1;
    }
    sum >> n
}

/// Cosine and sine of an angle in the first quadrant, by the Taylor series.
pub(super) const fn cos_sin(angle: i64) -> (i64, i64) {
    let square = mul(angle, angle);
    (alternating(ONE, square, 1), alternating(angle, square, 2))
}

/// `t - t * square / (k (k+1)) + ...`, the divisor's factors rising by two from term to term.
const fn alternating(first: i64, square: i64, mut k: i64) -> i64 {
    let (mut sum, mut term, mut sign) = (0, first, 1);
    while term > 0 {
        sum += sign * term;
        term = mul(term, square) / (k * (k + 1));
        sign = -sign;
        k += 2;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(a: i64) -> f64 {
        a as f64 / ONE as f64
    }

    #[test]
    fn constants_are_those_of_mathematics() {
        assert_eq!((value(LN2), value(QUARTER_TURN)), (std::f64::consts::LN_2, std::f64::consts::FRAC_PI_2));
        assert!((0..64).contains(&(LN2 - 2 * atanh(ONE / 3))), "the series loses only its floors");
    }

    #[test]
    fn series_agree_with_floats_to_their_last_bits() {
        for i in 0..=1000i64 {
            let x = QUARTER_TURN / 1000 * i;
            let (c, s) = cos_sin(x);
            assert!((value(c) - value(x).cos()).abs() < 1e-15 && (value(s) - value(x).sin()).abs() < 1e-15);
            assert!((value(exp_neg(16 * x as i128)) - (-16.0 * value(x)).exp()).abs() < 1e-15);
            let m = ONE + ONE / 1001 * i;
            let expected = value(m).ln() + 5.0 * std::f64::consts::LN_2;
            assert!((ln(m, 5) as f64 / ONE as f64 - expected).abs() < 2e-15);
        }
    }
}
