//! RMS norm, straight to A15: the largest code cancels the root mean square, which only the scale needs.

use super::{
    super::{
        fixed::{Scale, bit_len, max_magnitude, narrow_shift, round_shift},
        isa::Kernels,
        norm_weights::NormWeights,
    },
    a15::quantize_plain,
};

/// Fractional bits that a squared residual (two times 14) has.
const SQUARE_BITS: i32 = 28;

/// Codes the norm of `stream`, times the weights; `scratch` gets lost and is as long.
pub fn norm_quant(
    kernels: Kernels,
    stream: &[i32],
    weights: &NormWeights,
    scratch: &mut Vec<i32>,
    codes: &mut [i16],
) -> Scale {
    kernels.widened(norm_quant_plain, (stream, weights, scratch, codes))
}

#[inline(always)]
fn norm_quant_plain(
    (stream, weights, scratch, codes): (&[i32], &NormWeights, &mut Vec<i32>, &mut [i16]),
) -> Scale {
    let Some(inverse) = inverse_rms(stream, weights.epsilon) else {
        codes.fill(0);
        return Scale::ZERO;
    };
    let product = |x: &i32, w: &i32| i64::from(*x).wrapping_mul(i64::from(*w));
    let mut largest = 0;
    for (x, w) in stream.iter().zip(&weights.values) {
        largest = product(x, w).unsigned_abs().max(largest);
    }
    let shift = narrow_shift(largest);
    scratch.resize(stream.len(), 0);
    for ((narrowed, x), w) in scratch.iter_mut().zip(stream).zip(&weights.values) {
        *narrowed = round_shift(product(x, w), shift) as i32;
    }
    let relative = quantize_plain(scratch, codes);
    relative.mul(inverse).exp2(shift as i32 - 14 - weights.exponent)
}

/// One over the root mean square, of the stream's integers as Q14 numbers; none where that would be zero.
#[inline(always)]
fn inverse_rms(stream: &[i32], epsilon: i64) -> Option<Scale> {
    // Sixteen bits of each value, so that the sum of squares fits 64 whatever the width.
    let shift = bit_len(u64::from(max_magnitude(stream))).saturating_sub(15);
    let mut squares = 0i64;
    for x in stream {
        squares = squares.wrapping_add(round_shift(i64::from(*x), shift).wrapping_pow(2));
    }
    let total = squares + round_shift(epsilon, 2 * shift);
    if total == 0 {
        return None;
    }
    let root = Scale::sqrt(total as u64, 2 * shift as i32 - SQUARE_BITS);
    Some(Scale::sqrt(stream.len() as u64, 0).mul(root.recip()))
}
