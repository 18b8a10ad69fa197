//! Rotary position embedding: of neighbouring values, or of the two halves of a head.

use gridhour_protocol::exact::tables::{RopePair, RopePairs};

use super::super::{
    fixed::{mul_wide, round_shift},
    isa::{Kernels, Work},
};

/// The product's scale gains this power of two, since the rotation takes one bit off.
pub const SCALE_SHIFT: i32 = 1;

/// Rotates each pair of each head by the angles of one position.
///
/// `turns` holds the cosine and sine in Q30 of every pair of one head; `heads` is a whole number of heads.
pub fn rotate(kernels: Kernels, heads: &mut [i32], turns: &[RopePair], pairs: RopePairs) {
    kernels.widened(Rotate { heads, turns, pairs });
}

struct Rotate<'a> {
    heads: &'a mut [i32],
    turns: &'a [RopePair],
    pairs: RopePairs,
}

impl Work for Rotate<'_> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        let Self { heads, turns, pairs } = self;
        for head in heads.chunks_exact_mut(2 * turns.len()) {
            match pairs {
                RopePairs::Neighbours => {
                    for ([a, b], turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                        rotate_pair(a, b, turn);
                    }
                }
                RopePairs::Halves => {
                    let (first, second) = head.split_at_mut(turns.len());
                    for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                        rotate_pair(a, b, turn);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn rotate_pair(a: &mut i32, b: &mut i32, turn: &RopePair) {
    let (x, y, cos, sin) = (*a, *b, turn.cos, turn.sin);
    *a = round_shift(mul_wide(x, cos).wrapping_sub(mul_wide(y, sin)), 31) as i32;
    *b = round_shift(mul_wide(x, sin).wrapping_add(mul_wide(y, cos)), 31) as i32;
}
