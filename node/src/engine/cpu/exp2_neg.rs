//! Powers of two of numbers that are not positive: 64 table entries, straight lines between them.

use gridhour_protocol::exact::tables;

use super::super::fixed::{round_shift, round_shift_any};

/// Whole powers beyond this one are zero in Q28.
const POWER_MAX: u64 = 28;

/// `2^-x` in Q28, for `x >= 0` in Q16.
#[inline(always)]
pub fn exp2_neg(x: u64) -> i32 {
    let power = x >> 16;
    let (entry, rest) = ((x as usize & 0xffff) >> 10, x as i64 & 1023);
    let (upper, lower) = (i64::from(tables::EXP2[entry]), i64::from(tables::EXP2[entry + 1]));
    let mantissa = upper.wrapping_sub(round_shift((upper.wrapping_sub(lower)).wrapping_mul(rest), 10));
    let value = round_shift_any(mantissa, power.min(POWER_MAX) as u32) as i32;
    if power > POWER_MAX { 0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_powers_are_exact_and_small_ones_vanish() {
        assert_eq!(exp2_neg(0), 1 << 28);
        assert_eq!(exp2_neg(28 << 16), 1);
        assert_eq!(exp2_neg(29 << 16), 0);
        assert_eq!(exp2_neg(u64::from(u32::MAX)), 0);
    }

    #[test]
    fn powers_never_rise_and_stay_close() {
        let mut last = i32::MAX;
        for x in (0..29 << 16).step_by(37) {
            let (found, exact) = (exp2_neg(x), (-(x as f64) / 65_536.0).exp2() * f64::from(1 << 28));
            assert!(found <= last, "rises at {x}");
            assert!((f64::from(found) - exact).abs() <= exact * 1.6e-5 + 1.0, "{found} for {exact}");
            last = found;
        }
    }
}
