//! The residual stream: Q14 integers, to which every layer adds twice.

use super::super::{
    fixed::{FixedScale, Scale, sat32},
    isa::{Kernels, Work},
};

/// Fractional bits of the residual stream.
pub const FRACTION_BITS: i32 = 14;

/// Adds a product and its scale to the stream, saturating.
pub fn add(kernels: Kernels, stream: &mut [i32], product: &[i32], scale: Scale) {
    kernels.widened(Add { stream, product, scale: scale.fixed(FRACTION_BITS) });
}

struct Add<'a> {
    stream: &'a mut [i32],
    product: &'a [i32],
    scale: FixedScale,
}

impl Work for Add<'_> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        for (x, y) in self.stream.iter_mut().zip(self.product) {
            *x = sat32(i64::from(*x).wrapping_add(i64::from(self.scale.apply(*y))));
        }
    }
}

/// The checksum of a layer: the sum of `x_i * ((2i+1) * 2654435761)` modulo `2^32`.
pub fn checksum(stream: &[i32]) -> u32 {
    let weighted =
        |(i, x): (usize, &i32)| (*x as u32).wrapping_mul((2 * i as u32 + 1).wrapping_mul(2_654_435_761));
    stream.iter().enumerate().map(weighted).fold(0, u32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_at_the_same_magnitude_on_both_sides() {
        let mut stream = [i32::MAX, -i32::MAX, 5];
        add(Kernels::PORTABLE, &mut stream, &[1, -1, 3], Scale::from(1, 0));
        assert_eq!(stream, [i32::MAX, -i32::MAX, 5 + (3 << 14)]);
    }

    #[test]
    fn checksums_depend_on_the_place() {
        assert_eq!(checksum(&[1, 0]), 2_654_435_761);
        assert_eq!(checksum(&[0, 1]), 2_654_435_761u32.wrapping_mul(3));
        assert_eq!(checksum(&[-1, 1]), 2_654_435_761u32.wrapping_mul(2));
    }
}
