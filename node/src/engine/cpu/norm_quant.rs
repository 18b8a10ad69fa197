//! RMS norm, straight to A15: the largest code cancels the root mean square, which only the scale needs.

use super::{
    super::{
        fixed::{Scale, bit_len, max_magnitude, mul_wide, narrow_shift, round_shift},
        isa::{Kernels, Work},
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
    kernels.widened(NormQuant { stream, weights, scratch, codes })
}

struct NormQuant<'a> {
    stream: &'a [i32],
    weights: &'a NormWeights,
    scratch: &'a mut Vec<i32>,
    codes: &'a mut [i16],
}

impl Work for NormQuant<'_> {
    type Result = Scale;

    #[inline(always)]
    fn run(self) -> Scale {
        let Self { stream, weights, scratch, codes } = self;
        let Some(inverse) = inverse_rms(stream, weights.epsilon) else {
            codes.fill(0);
            return Scale::ZERO;
        };
        let mut largest = 0;
        for (x, w) in stream.iter().zip(&weights.values) {
            largest = mul_wide(*x, *w).unsigned_abs().max(largest);
        }
        let shift = narrow_shift(largest);
        scratch.resize(stream.len(), 0);
        for ((narrowed, x), w) in scratch.iter_mut().zip(stream).zip(&weights.values) {
            *narrowed = round_shift(mul_wide(*x, *w), shift) as i32;
        }
        let relative = quantize_plain(scratch, codes);
        relative.mul(inverse).exp2(shift as i32 - 14 - weights.exponent)
    }
}

/// One over the root mean square, of the stream's integers as Q14 numbers; none where that would be zero.
#[inline(always)]
fn inverse_rms(stream: &[i32], epsilon: i64) -> Option<Scale> {
    // Sixteen bits of each value, so that the sum of squares fits 64 whatever the width.
    let shift = bit_len(u64::from(max_magnitude(stream))).saturating_sub(15);
    let mut squares = 0i64;
    for x in stream {
        let short = round_shift(i64::from(*x), shift) as i32;
        squares = squares.wrapping_add(mul_wide(short, short));
    }
    let total = squares + round_shift(epsilon, 2 * shift);
    if total == 0 {
        return None;
    }
    let root = Scale::sqrt(total as u64, 2 * shift as i32 - SQUARE_BITS);
    Some(Scale::sqrt(stream.len() as u64, 0).mul(root.recip()))
}
