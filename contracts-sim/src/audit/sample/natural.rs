//! Whole numbers of any size, as far as products are compared.

use core::cmp::Ordering;

/// Limbs of 64 bits, the lowest first, the highest never 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Natural(Vec<u64>);

impl From<u32> for Natural {
    fn from(value: u32) -> Self {
        Self(if value == 0 { Vec::new() } else { vec![value.into()] })
    }
}

impl Natural {
    pub(super) fn multiply(&mut self, factor: u64) {
        if factor == 0 {
            self.0.clear();
        }
        let mut carry = 0_u128;
        for limb in &mut self.0 {
            // (2^64 - 1)^2 + 2^64 - 1 < 2^128, so this cannot overflow, and each half fits a limb.
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        if carry != 0 {
            self.0.push(carry as u64);
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let by_size = self.0.len().cmp(&other.0.len());
        by_size.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_128_bits_and_go_on_beyond() {
        let numbers = [1, 2, 3, 1 << 33, u64::MAX - 1, u64::MAX];
        for (a, b) in numbers.iter().flat_map(|a| numbers.map(|b| (*a, b))) {
            let mut product = Natural::from(1);
            product.multiply(a);
            product.multiply(b);
            let expected = u128::from(a) * u128::from(b);
            let limbs = [expected as u64, (expected >> 64) as u64];
            assert_eq!(product.0, limbs[..if limbs[1] == 0 { 1 } else { 2 }], "{a} x {b}");
        }
        let mut power = Natural::from(7);
        (0..40).for_each(|_| power.multiply(1 << 32));
        assert_eq!((power.0.len(), power.0[20]), (21, 7), "7 x 2^1280");
        power.multiply(0);
        assert_eq!(power, Natural::from(0));
    }

    #[test]
    fn numbers_compare_by_their_highest_limbs_first() {
        let of = |limbs: &[u64]| Natural(limbs.to_vec());
        assert_eq!(of(&[9, 1]).compare(&of(&[0, 2])), Ordering::Less);
        assert_eq!(of(&[9, 1]).compare(&of(&[8, 1])), Ordering::Greater);
        assert_eq!(of(&[1, 1]).compare(&of(&[u64::MAX])), Ordering::Greater);
        assert_eq!(of(&[5]).compare(&of(&[5])), Ordering::Equal);
    }
}
