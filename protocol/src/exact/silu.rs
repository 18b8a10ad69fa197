//! The gated activation of the feed-forward part (page, section 3).

use super::{
    a15::{A15, Scaled, a15},
    exp2::exp2_neg,
    round::{narrow, round_shift},
    scale::Scale,
};

/// `silu_mul_quant(G, sg, U, su)`: `silu(G) * U` as A15.
///
/// # Panics
/// If the lengths differ.
pub fn silu_mul_quant(g: &Scaled<i32>, u: &Scaled<i32>) -> A15 {
    assert_eq!(g.values.len(), u.values.len(), "a gate per value");
    let to_log2 = g.scale.times(Scale::LOG2E);
    let gated = |(&g, &u): (&i32, &i32)| silu(g, to_log2) * i64::from(u);
    let (y, k) = narrow(&g.values.iter().zip(&u.values).map(gated).collect::<Vec<_>>());
    let quantised = a15(&y);
    let scale = quantised.scale.times(g.scale).times(u.scale).exp2(k);
    quantised.with_scale(scale)
}

/// `g * sigma(g)` in units of `g`; `to_log2` turns `g` into the exponent of two.
fn silu(g: i32, to_log2: Scale) -> i64 {
    let e = exp2_neg(to_log2.apply(g.abs(), 16).into());
    let r = (1i64 << 58) / ((1 << 28) + e);
    let sigma = if g >= 0 { r } else { round_shift(e * r, 28) };
    round_shift(i64::from(g) * sigma, 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silu_tends_to_the_identity_and_to_zero() {
        let unit = Scale::LOG2E;
        assert_eq!((silu(0, unit), silu(i32::MAX, unit), silu(-i32::MAX, unit)), (0, i32::MAX.into(), 0));
        assert_eq!(silu(7, Scale::ZERO), 4);
    }
}
