//! RMS norm and quantisation in one step (page, section 3).

use super::{
    a15::{A15, a15},
    embed::RESIDUAL_BITS,
    rational::{Dyadic, round_div},
    round::{bitlen, narrow, round_shift},
    scale::Scale,
    weights::CodedRow,
};

/// Bits to which the residual stream is rounded before it is squared.
const SQUARE_BITS: u32 = 15;

/// Norm weights: the real weights are `values[i] * 2^-k`, magnitudes of `values` below 2^26.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormWeights {
    /// `W_i` of the page.
    pub values: Vec<i32>,
    /// Their exponent.
    pub k: i32,
}

impl NormWeights {
    /// The weights of one coded F32 row.
    pub fn from_row(row: &CodedRow) -> Self {
        let weight = |(i, &c): (usize, &i16)| i32::from(c) * i32::from(row.scales[i / row.block]);
        Self { values: row.codes.iter().enumerate().map(weight).collect(), k: row.kd }
    }
}

/// `E = floor(eps * n * 2^28 + 1/2)`: the epsilon of a norm over `n` values, in units of the squares' sum.
/// `eps` lies in [0, 1) and `n` is at most 2^24.
pub fn norm_epsilon(eps: Dyadic, n: usize) -> i64 {
    round_div(i64::from(eps.numerator()) * n as i64, eps.exponent() + 2 * RESIDUAL_BITS, 1)
}

/// `norm_quant(x, W, k, E)`: RMS norm of the residual stream in Q14, times the weights, as A15.
///
/// # Panics
/// If there is not one weight per value.
pub fn norm_quant(x: &[i32], w: &NormWeights, epsilon: i64) -> A15 {
    assert_eq!(x.len(), w.values.len(), "a weight per value");
    let bits = x.iter().map(|&v| bitlen(v.into())).max().unwrap_or(0);
    let h = bits.saturating_sub(SQUARE_BITS);
    let squares: i64 = x.iter().map(|&v| round_shift(v.into(), h).pow(2)).sum();
    let total = squares + round_shift(epsilon, 2 * h);
    if total == 0 {
        return A15 { values: vec![0; x.len()], scale: Scale::ZERO };
    }
    let rms = Scale::sqrt(total as u64, 2 * h as i32 - 2 * RESIDUAL_BITS);
    let inverse = Scale::sqrt(x.len() as u64, 0).times(rms.recip());
    let weighted: Vec<i64> = x.iter().zip(&w.values).map(|(&x, &w)| i64::from(x) * i64::from(w)).collect();
    let (y, j) = narrow(&weighted);
    let quantised = a15(&y);
    let scale = quantised.scale.times(inverse).exp2(j - RESIDUAL_BITS - w.k);
    quantised.with_scale(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_without_epsilon_are_zeros() {
        let w = NormWeights { values: vec![1 << 25; 2], k: 25 };
        assert_eq!(norm_quant(&[0, 0], &w, 0), A15 { values: vec![0, 0], scale: Scale::ZERO });
        assert_eq!(norm_quant(&[0, 0], &w, 9), A15 { values: vec![0, 0], scale: Scale::ZERO });
    }

    #[test]
    fn epsilon_is_rounded_once() {
        let eps = |bits| Dyadic::from_f32_bits(bits).expect("finite");
        assert_eq!(norm_epsilon(eps(0.5f32.to_bits()), 1 << 24), 1 << 51);
        assert_eq!(norm_epsilon(eps(1e-5f32.to_bits()), 576), 1_546_188);
        assert_eq!(norm_epsilon(eps(1), 1 << 24), 0);
    }
}
