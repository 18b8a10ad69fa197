//! Logits: natural-logarithm units in Q16.

use super::super::{
    fixed::{FixedScale, Scale},
    isa::Kernels,
};

/// Fractional bits of a logit.
pub const FRACTION_BITS: i32 = 16;

/// Brings an output product to logits, in place.
pub fn logits(kernels: Kernels, product: &mut [i32], scale: Scale) {
    kernels.widened(apply_all, (product, scale.fixed(FRACTION_BITS)));
}

#[inline(always)]
fn apply_all((product, scale): (&mut [i32], FixedScale)) {
    for y in product {
        *y = scale.apply(*y);
    }
}
