//! Gumbel noise from a uniform of 33 bits, with relative precision in the large values that decide.

use super::{SamplingKey, threefry2x32};
use crate::exact::{
    round::round_shift,
    tables::{EXPONENTIAL_RATIO, LN2_Q30, LOG2},
};

/// `gumbel(key, position, token)` in Q16: -ln(-ln(1 - u)) for a uniform u in (0, 1). It lies between -3.14
/// and 22.88.
pub fn gumbel(key: SamplingKey, position: u32, token: u32) -> i32 {
    gumbel_of(threefry2x32(key.0, [position, token])[0])
}

/// The noise of one uniform word.
fn gumbel_of(word: u32) -> i32 {
    let v = 2 * i64::from(word) + 1;
    let log2_exponential = if v < 1 << 32 { log2_small(v) } else { log2_large(v) };
    round_shift(-log2_exponential * LN2_Q30, 42) as i32
}

/// log2 of the exponential variate, in Q28, for u = v / 2^33 below 1/2: the product of u and the table's
/// ratio.
fn log2_small(v: i64) -> i64 {
    let ratio = interpolate(&EXPONENTIAL_RATIO, v, 24);
    log2(v * ratio) - (63 << 28)
}

/// The same for u of at least 1/2: ln 2 times 33 - log2(2^33 - v).
fn log2_large(v: i64) -> i64 {
    let distance = (33 << 28) - log2((1 << 33) - v);
    log2(LN2_Q30 * distance) - (58 << 28)
}

/// log2 of an integer of at least 1, in Q28: its length, and 31 bits below the leading one through the table.
pub(super) fn log2(n: i64) -> i64 {
    let length = i64::from(n.ilog2());
    let normalised = if length >= 31 { n >> (length - 31) } else { n << (31 - length) };
    (length << 28) + interpolate(&LOG2, normalised - (1 << 31), 23)
}

/// Linear interpolation in a table whose steps are `2^bits` apart.
fn interpolate(table: &[i32], x: i64, bits: u32) -> i64 {
    let (i, r) = ((x >> bits) as usize, x & ((1 << bits) - 1));
    let (left, right) = (i64::from(table[i]), i64::from(table[i + 1]));
    left + round_shift((right - left) * r, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// -ln(-ln(1-u)) for the same uniform, in floats that keep relative precision in both tails.
    fn expected(word: u32) -> f64 {
        let u = (2.0 * f64::from(word) + 1.0) / 2f64.powi(33);
        -(-(-u).ln_1p()).ln()
    }

    fn error(word: u32) -> f64 {
        (f64::from(gumbel_of(word)) / 65536.0 - expected(word)).abs()
    }

    #[test]
    fn noise_agrees_with_floats_in_both_tails() {
        let near = |middle: u32| (0..2000).map(move |i| middle.wrapping_sub(1000).wrapping_add(i));
        let tails = [0, 1 << 31, 1 << 24, 3 << 30].into_iter().flat_map(near);
        let powers = (0..32).flat_map(|i| [1u32 << i, (1 << i) - 1, !(1 << i), u32::MAX >> i]);
        for word in tails.chain(powers) {
            assert!(error(word) < 1.5e-5, "{word}: {}", error(word));
        }
    }

    #[test]
    fn noise_falls_with_the_uniform() {
        let words = (0..=4096u64).map(|i| (i << 20).min(u32::MAX.into()) as u32);
        let noise: Vec<i32> = words.map(gumbel_of).collect();
        assert!(noise.windows(2).all(|w| w[0] > w[1]));
        assert_eq!((gumbel_of(0), gumbel_of(u32::MAX)), (1_499_061, -205_127));
    }
}
