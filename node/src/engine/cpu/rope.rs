//! Rotary position embedding of adjacent pairs, as the architecture `llama` has it.

use gridhour_protocol::exact::tables;

use super::super::{fixed::round_shift, isa::Kernels};

/// The product's scale gains this power of two, since the rotation takes one bit off.
pub const SCALE_SHIFT: i32 = 1;

/// Rotates each pair of each head by the angles of one position.
///
/// `pairs` holds the cosine and sine in Q30 of every pair of one head; `heads` is a whole number of heads.
pub fn rotate(kernels: Kernels, heads: &mut [i32], pairs: &[tables::RopePair]) {
    kernels.widened(rotate_plain, (heads, pairs));
}

#[inline(always)]
fn rotate_plain((heads, pairs): (&mut [i32], &[tables::RopePair])) {
    for head in heads.chunks_exact_mut(2 * pairs.len()) {
        let (slots, _) = head.as_chunks_mut::<2>();
        for ([a, b], turn) in slots.iter_mut().zip(pairs) {
            let (x, y) = (i64::from(*a), i64::from(*b));
            let (cos, sin) = (i64::from(turn.cos), i64::from(turn.sin));
            *a = round_shift(x.wrapping_mul(cos).wrapping_sub(y.wrapping_mul(sin)), 31) as i32;
            *b = round_shift(x.wrapping_mul(sin).wrapping_add(y.wrapping_mul(cos)), 31) as i32;
        }
    }
}
