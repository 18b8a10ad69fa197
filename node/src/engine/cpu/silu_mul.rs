//! The gated unit: `silu(gate) * up`, to A15.

use super::{
    super::{
        fixed::{FixedScale, LOG2E, Scale, narrow_shift, round_shift},
        isa::Kernels,
    },
    a15::quantize_plain,
    exp2_neg::exp2_neg,
};

/// Buffers that the operator reuses.
#[derive(Debug, Default)]
pub struct SiluScratch {
    products: Vec<i64>,
    narrowed: Vec<i32>,
}

/// Codes `silu(gate) * up`; the two products come with their scales.
pub fn silu_mul_quant(
    kernels: Kernels,
    (gate, gate_scale): (&[i32], Scale),
    (up, up_scale): (&[i32], Scale),
    scratch: &mut SiluScratch,
    codes: &mut [i16],
) -> Scale {
    let relative = kernels.widened(gated, ((gate, gate_scale), up, scratch, codes));
    relative.mul(gate_scale).mul(up_scale)
}

/// Gates with their scale, ups, scratch and room for the codes.
type Gated<'a> = ((&'a [i32], Scale), &'a [i32], &'a mut SiluScratch, &'a mut [i16]);

/// The codes of `silu(gate) * up`, relative to the scales of both.
#[inline(always)]
fn gated(((gate, gate_scale), up, scratch, codes): Gated<'_>) -> Scale {
    let to_bits = gate_scale.mul(LOG2E).fixed(16);
    scratch.products.resize(gate.len(), 0);
    let mut largest = 0;
    for ((product, g), u) in scratch.products.iter_mut().zip(gate).zip(up) {
        *product = silu(*g, to_bits).wrapping_mul(i64::from(*u));
        largest = product.unsigned_abs().max(largest);
    }
    let shift = narrow_shift(largest);
    scratch.narrowed.resize(gate.len(), 0);
    for (narrowed, product) in scratch.narrowed.iter_mut().zip(&scratch.products) {
        *narrowed = round_shift(*product, shift) as i32;
    }
    quantize_plain(&scratch.narrowed, codes).exp2(shift as i32)
}

/// `silu` of a gate, in the scale of the gate; `scale` takes magnitudes to base-2 units.
#[inline(always)]
pub(crate) fn silu(gate: i32, scale: FixedScale) -> i64 {
    round_shift(i64::from(gate).wrapping_mul(sigmoid(gate, scale)), 30)
}

/// The logistic function of `gate` in Q30; `scale` takes magnitudes to base-2 units.
#[inline(always)]
fn sigmoid(gate: i32, scale: FixedScale) -> i64 {
    let magnitude = scale.apply(gate.wrapping_abs());
    let e = i64::from(exp2_neg(magnitude as u64));
    let upper = quotient_of_2_58(e + (1 << 28));
    if gate >= 0 { upper } else { round_shift(e.wrapping_mul(upper), 28) }
}

/// `floor(2^58 / d)` for `d` from `2^28` to `2^29`.
///
/// Processors divide floats in wide registers, but not integers. Both numbers are exact as floats, and the rounded
/// quotient is never below the floor and at most one above, which the remainder shows.
#[inline(always)]
fn quotient_of_2_58(d: i64) -> i64 {
    const DIVIDEND: i64 = 1 << 58;
    let near = (DIVIDEND as f64 / d as f64) as i64;
    let remainder = DIVIDEND.wrapping_sub(near.wrapping_mul(d));
    near.wrapping_add(remainder >> 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_function_is_close_and_symmetric() {
        let scale = Scale::from(1, -16).mul(LOG2E).fixed(16);
        for gate in (-20 << 16..20 << 16).step_by(7919) {
            let exact = 1.0 / (1.0 + (-f64::from(gate) / 65_536.0).exp());
            let found = sigmoid(gate, scale) as f64 / f64::from(1 << 30);
            assert!((found - exact).abs() < 1e-5, "{found} for {exact}");
        }
        assert_eq!(sigmoid(0, scale), 1 << 29);
    }

    #[test]
    fn quotients_are_floors_where_they_are_whole_and_beside() {
        let whole = (28..=29).map(|bits| 1i64 << bits);
        let spread = (1i64 << 28..=1 << 29).step_by(104_729);
        // Divisors of 2^58 plus or minus a little: quotients just below and just above whole numbers.
        let beside =
            (1i64 << 29..1 << 30).step_by(1_000_003).flat_map(|q| [(1 << 58) / q, (1 << 58) / q + 1]);
        for d in whole.chain(spread).chain(beside) {
            assert_eq!(quotient_of_2_58(d), (1 << 58) / d, "for {d}");
        }
    }
}
