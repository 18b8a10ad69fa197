//! Powers of two of numbers that are not positive: 64 table entries, straight lines between them.

use gridhour_protocol::exact::tables;

/// Whole powers beyond this one are zero in Q28.
const POWER_MAX: u32 = 28;

/// Numbers that [`exp2_neg_lanes`] takes at a time.
pub(crate) const LANES: usize = 64;

/// `2^-x` in Q28, for `x` in Q16.
#[inline(always)]
pub fn exp2_neg(x: u32) -> i32 {
    between(entries(x), x)
}

/// [`exp2_neg`] of many numbers. Compilers know no wide form of reading a table here, and of a loop with such reads none
/// at all, so these stand apart.
#[inline(always)]
pub(crate) fn exp2_neg_lanes(xs: &[u32; LANES]) -> [i32; LANES] {
    let (mut uppers, mut lowers, mut powers) = ([0; LANES], [0; LANES], [0; LANES]);
    for ((upper, lower), x) in uppers.iter_mut().zip(&mut lowers).zip(xs) {
        (*upper, *lower) = entries(*x);
    }
    for (((power, upper), lower), x) in powers.iter_mut().zip(&uppers).zip(&lowers).zip(xs) {
        *power = between((*upper, *lower), *x);
    }
    powers
}

/// The entries of the table on both sides of the fraction of `x`.
#[inline(always)]
fn entries(x: u32) -> (u32, u32) {
    let at = (x as usize & 0xffff) >> 10;
    (tables::EXP2[at] as u32, tables::EXP2[at + 1] as u32)
}

/// The power from the line between two entries. In 32 bits, so that a register has twice as many lanes.
#[inline(always)]
fn between((upper, lower): (u32, u32), x: u32) -> i32 {
    // Neighbours differ by less than 2^22, and entries are at most 2^28.
    let along = upper.wrapping_sub(lower).wrapping_mul(x & 1023).wrapping_add(512) >> 10;
    let (doubled, power) = (upper.wrapping_sub(along) << 1, x >> 16);
    let value = (doubled >> power.min(POWER_MAX)).wrapping_add(1) >> 1;
    if power > POWER_MAX { 0 } else { value as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_powers_are_exact_and_small_ones_vanish() {
        assert_eq!(exp2_neg(0), 1 << 28);
        assert_eq!(exp2_neg(28 << 16), 1);
        assert_eq!(exp2_neg(29 << 16), 0);
        assert_eq!(exp2_neg(u32::MAX), 0);
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
