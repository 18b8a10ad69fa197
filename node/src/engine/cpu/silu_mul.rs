//! The gated unit: `silu(gate) * up`, to A15.

use super::{
    super::{
        fixed::{FixedScale, LOG2E, Scale, mul_wide, narrow_shift, round_shift},
        isa::{Kernels, Work},
    },
    a15::quantize_plain,
    exp2_neg::{LANES, exp2_neg_lanes},
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
    let relative = kernels.widened(Gated { gate, scale: gate_scale, up, scratch, codes });
    relative.mul(gate_scale).mul(up_scale)
}

/// The codes of `silu(gate) * up`, relative to the scales of both.
struct Gated<'a> {
    gate: &'a [i32],
    scale: Scale,
    up: &'a [i32],
    scratch: &'a mut SiluScratch,
    codes: &'a mut [i16],
}

impl Work for Gated<'_> {
    type Result = Scale;

    #[inline(always)]
    fn run(self) -> Scale {
        let Self { gate, scale, up, scratch: SiluScratch { products, narrowed }, codes } = self;
        products.resize(gate.len(), 0);
        let to_bits = scale.mul(LOG2E).fixed(16);
        let mut largest = 0;
        let inputs = gate.chunks(LANES).zip(up.chunks(LANES));
        for (products, (gates, ups)) in products.chunks_mut(LANES).zip(inputs) {
            largest = gate_some(to_bits, gates, ups, products).max(largest);
        }
        let shift = narrow_shift(largest);
        narrowed.resize(gate.len(), 0);
        for (narrowed, product) in narrowed.iter_mut().zip(products) {
            *narrowed = round_shift(*product, shift) as i32;
        }
        quantize_plain(narrowed, codes).exp2(shift as i32)
    }
}

/// `silu(gate) * up` of at most [`LANES`] numbers; gives the largest magnitude.
#[inline(always)]
fn gate_some(to_bits: FixedScale, gates: &[i32], ups: &[i32], products: &mut [i64]) -> u64 {
    let mut magnitudes = [0; LANES];
    for (magnitude, g) in magnitudes.iter_mut().zip(gates) {
        *magnitude = to_bits.apply(g.wrapping_abs()) as u32;
    }
    let powers = exp2_neg_lanes(&magnitudes);
    let mut largest = 0;
    for (((product, g), u), e) in products.iter_mut().zip(gates).zip(ups).zip(&powers) {
        let silu = round_shift(mul_wide(*g, sigmoid(*g, *e)), 30);
        *product = mul_wide(silu as i32, *u);
        largest = product.unsigned_abs().max(largest);
    }
    largest
}

/// Takes gates through `silu`, in their own scale: what a device does with them before they meet the ups.
pub(crate) fn silu(gates: &mut [i32], scale: Scale) {
    let to_bits = scale.mul(LOG2E).fixed(16);
    for gates in gates.chunks_mut(LANES) {
        let mut products = [0; LANES];
        gate_some(to_bits, gates, &[1; LANES], &mut products);
        gates.iter_mut().zip(products).for_each(|(gate, product)| *gate = product as i32);
    }
}

/// The logistic function of `gate` in Q30, from `e`, the exponential of its negative magnitude in Q28.
#[inline(always)]
fn sigmoid(gate: i32, e: i32) -> i32 {
    let upper = quotient_of_2_58(e.wrapping_add(1 << 28));
    if gate >= 0 { upper } else { round_shift(mul_wide(e, upper), 28) as i32 }
}

/// `floor(2^58 / d)` for `d` from `2^28` to `2^29`.
///
/// Processors divide floats in wide registers, but not integers. Both numbers are exact as floats. Added to `2^52`, the
/// quotient is rounded to an integer, which the lowest bits of the sum hold; it is never below the floor and at most one
/// above, which the remainder shows.
#[inline(always)]
fn quotient_of_2_58(d: i32) -> i32 {
    const DIVIDEND: i64 = 1 << 58;
    const UNIT: f64 = (1u64 << 52) as f64;
    let near = (DIVIDEND as f64 / f64::from(d) + UNIT).to_bits() as i32;
    let remainder = DIVIDEND.wrapping_sub(mul_wide(near, d));
    near.wrapping_add((remainder >> 63) as i32)
}

#[cfg(test)]
mod tests {
    use super::{super::exp2_neg::exp2_neg, *};

    #[test]
    fn the_logistic_function_is_close_and_symmetric() {
        let scale = Scale::from(1, -16).mul(LOG2E).fixed(16);
        for gate in (-20 << 16..20 << 16).step_by(7919) {
            let exact = 1.0 / (1.0 + (-f64::from(gate) / 65_536.0).exp());
            let found =
                f64::from(sigmoid(gate, exp2_neg(scale.apply(gate.abs()) as u32))) / f64::from(1 << 30);
            assert!((found - exact).abs() < 1e-5, "{found} for {exact}");
        }
        assert_eq!(sigmoid(0, exp2_neg(0)), 1 << 29);
    }

    #[test]
    fn quotients_are_floors_where_they_are_whole_and_beside() {
        let whole = (28..=29).map(|bits| 1i64 << bits);
        let spread = (1i64 << 28..=1 << 29).step_by(104_729);
        // Divisors of 2^58 plus or minus a little: quotients just below and just above whole numbers.
        let beside =
            (1i64 << 29..1 << 30).step_by(1_000_003).flat_map(|q| [(1 << 58) / q, (1 << 58) / q + 1]);
        for d in whole.chain(spread).chain(beside) {
            assert_eq!(i64::from(quotient_of_2_58(d as i32)), (1 << 58) / d, "for {d}");
        }
    }
}
