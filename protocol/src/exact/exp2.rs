//! The exponential that softmax and SiLU share (page, section 3).

use super::{round::round_shift, tables::EXP2};

/// `exp2_neg(x)`: 2^-x in Q28 for `x >= 0` in Q16, by a table of 64 steps an octave and interpolation.
pub fn exp2_neg(x: i64) -> i64 {
    let (n, f) = (x >> 16, x & 65535);
    if n > 28 {
        return 0;
    }
    let (i, r) = ((f >> 10) as usize, f & 1023);
    let (left, right) = (i64::from(EXP2[i]), i64::from(EXP2[i + 1]));
    round_shift(left - round_shift((left - right) * r, 10), n as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact_and_vanish_below_the_last_bit() {
        for n in 0..=28 {
            assert_eq!(exp2_neg(n << 16), 1 << (28 - n));
        }
        assert_eq!((exp2_neg(29 << 16), exp2_neg((29 << 16) - 1), exp2_neg(u32::MAX.into())), (0, 1, 0));
    }

    #[test]
    fn exp2_neg_never_rises() {
        let all: Vec<i64> = (0..=(3 << 16)).map(exp2_neg).collect();
        assert!(all.windows(2).all(|w| w[0] >= w[1]));
    }
}
