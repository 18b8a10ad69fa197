//! The gated unit: `silu(gate) * up`, to A15.

use super::{
    super::{
        fixed::{LOG2E, Scale, narrow_shift, round_shift},
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
    kernels.widened(|| silu_mul_plain((gate, gate_scale), (up, up_scale), scratch, codes))
}

#[inline(always)]
fn silu_mul_plain(
    (gate, gate_scale): (&[i32], Scale),
    (up, up_scale): (&[i32], Scale),
    scratch: &mut SiluScratch,
    codes: &mut [i16],
) -> Scale {
    let nats_to_bits = gate_scale.mul(LOG2E);
    let gated = |(g, u): (&i32, &i32)| {
        let silu = round_shift(i64::from(*g).wrapping_mul(sigmoid(*g, nats_to_bits)), 30);
        silu.wrapping_mul(i64::from(*u))
    };
    scratch.products.clear();
    scratch.products.extend(gate.iter().zip(up).map(gated));
    let largest = scratch.products.iter().map(|h| h.unsigned_abs()).max().unwrap_or(0);
    let shift = narrow_shift(largest);
    scratch.narrowed.clear();
    scratch.narrowed.extend(scratch.products.iter().map(|h| round_shift(*h, shift) as i32));
    let relative = quantize_plain(&scratch.narrowed, codes);
    relative.mul(gate_scale).mul(up_scale).exp2(shift as i32)
}

/// The logistic function of `gate` in Q30; `scale` takes magnitudes to base-2 units.
#[inline(always)]
fn sigmoid(gate: i32, scale: Scale) -> i64 {
    let magnitude = scale.apply(gate.abs(), 16);
    let e = i64::from(exp2_neg(magnitude as u64));
    let upper = (1i64 << 58) / ((1 << 28) + e);
    if gate >= 0 { upper } else { round_shift(e * upper, 28) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_function_is_close_and_symmetric() {
        let scale = Scale::from(1, -16).mul(LOG2E);
        for gate in (-20 << 16..20 << 16).step_by(7919) {
            let exact = 1.0 / (1.0 + (-f64::from(gate) / 65_536.0).exp());
            let found = sigmoid(gate, scale) as f64 / f64::from(1 << 30);
            assert!((found - exact).abs() < 1e-5, "{found} for {exact}");
        }
        assert_eq!(sigmoid(0, scale), 1 << 29);
    }
}
