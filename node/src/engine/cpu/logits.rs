//! Logits: natural-logarithm units in Q16.

use super::super::fixed::Scale;

/// Fractional bits of a logit.
pub const FRACTION_BITS: i32 = 16;

/// Brings an output product to logits, in place.
pub fn logits(product: &mut [i32], scale: Scale) {
    product.iter_mut().for_each(|y| *y = scale.apply(*y, FRACTION_BITS));
}
