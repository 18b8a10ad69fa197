//! Logits: natural-logarithm units in Q16.

use super::super::{
    fixed::{FixedScale, Scale},
    isa::{Kernels, Work},
};

/// Fractional bits of a logit.
pub const FRACTION_BITS: i32 = 16;

/// Brings an output product to logits, in place.
pub fn logits(kernels: Kernels, product: &mut [i32], scale: Scale) {
    kernels.widened(Apply { product, scale: scale.fixed(FRACTION_BITS) });
}

struct Apply<'a> {
    product: &'a mut [i32],
    scale: FixedScale,
}

impl Work for Apply<'_> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        for y in self.product {
            *y = self.scale.apply(*y);
        }
    }
}
