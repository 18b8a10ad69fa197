//! RMS norm and quantisation in one step (page, section 3).

use super::{
    a15::{A15, Scaled, a15},
    embed::RESIDUAL_BITS,
    rational::{Dyadic, round_div},
    round::{bitlen, narrow, round_shift},
    scale::Scale,
    weights::VectorWeights,
};

/// Bits to which the residual stream is rounded before it is squared.
const SQUARE_BITS: u32 = 15;

/// `E = floor(eps * n * 2^28 + 1/2)`: the epsilon of a norm over `n` values, in units of the squares' sum.
/// `eps` lies in [0, 1) and `n` is at most 2^24.
pub fn norm_epsilon(eps: Dyadic, n: usize) -> i64 {
    round_div(i64::from(eps.numerator()) * n as i64, eps.exponent() + 2 * RESIDUAL_BITS, 1)
}

/// `norm_quant(x, W, k, E)`: RMS norm of the residual stream in Q14, times the weights, as A15.
///
/// # Panics
/// If there is not one weight per value.
pub fn norm_quant(x: &[i32], w: &VectorWeights, epsilon: i64) -> A15 {
    assert_eq!(x.len(), w.values.len(), "a weight per value");
    let (squares, h) = sum_of_squares(x);
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

/// The sum of the squares of values rounded to 15 bits, and the bits `h` that each lost: in units of `2^(2h)`.
fn sum_of_squares(x: &[i32]) -> (i64, u32) {
    let bits = x.iter().map(|&v| bitlen(v.into())).max().unwrap_or(0);
    let h = bits.saturating_sub(SQUARE_BITS);
    (x.iter().map(|&v| round_shift(v.into(), h).pow(2)).sum(), h)
}

/// `head_norm(Y, s, W, k, eps)`: RMS norm of one head of queries or keys, times the weights. The head's own scale
/// cancels, but for the epsilon, which is brought to units of its values.
///
/// # Panics
/// If there is not one weight per value.
pub fn head_norm(y: &Scaled<i32>, w: &VectorWeights, eps: Dyadic) -> Scaled<i32> {
    assert_eq!(y.values.len(), w.values.len(), "a weight per value");
    let zeros = || Scaled { values: vec![0; y.values.len()], scale: Scale::ZERO };
    if y.scale.is_zero() {
        return zeros();
    }
    let (squares, h) = sum_of_squares(&y.values);
    let d = y.values.len() as u64;
    let epsilon = Scale::from_int(d * u64::from(eps.numerator().unsigned_abs()), eps.exponent());
    let per_unit = y.scale.recip();
    let total = Scale::from_int(squares as u64, 2 * h as i32).plus(epsilon.times(per_unit).times(per_unit));
    if total.is_zero() {
        return zeros();
    }
    let rms = Scale::sqrt(total.mantissa().into(), total.exponent());
    let inverse = Scale::sqrt(d, 0).times(rms.recip());
    let weighted = y.values.iter().zip(&w.values).map(|(&y, &w)| i64::from(y) * i64::from(w));
    let (values, j) = narrow(&weighted.collect::<Vec<_>>());
    Scaled { values, scale: inverse.exp2(j - w.k) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_zeros_or_of_no_scale_is_zero() {
        let w = VectorWeights { values: vec![1 << 25; 2], k: 25 };
        let eps = Dyadic::from_f32_bits(1e-6f32.to_bits()).expect("finite");
        let head = |values: [i32; 2], scale| Scaled { values: values.to_vec(), scale };
        let zero = head([0, 0], Scale::ZERO);
        assert_eq!(head_norm(&head([5, -5], Scale::ZERO), &w, eps), zero);
        assert_eq!(head_norm(&head([0, 0], Scale::from_int(1, -9)), &w, Dyadic::ZERO), zero);
        assert_eq!(head_norm(&head([0, 0], Scale::from_int(1, -9)), &w, eps).values, [0, 0]);
    }

    #[test]
    fn zeros_without_epsilon_are_zeros() {
        let w = VectorWeights { values: vec![1 << 25; 2], k: 25 };
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
