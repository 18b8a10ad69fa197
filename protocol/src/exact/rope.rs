//! Rotary position embedding and per-head quantisation (page, section 3).

use super::{
    a15::{A15, Scaled, a15},
    round::{proven32, round_shift},
    tables::{RopePair, RopePairs},
};

/// `rope(Y, position)`: turns the pairs of every head by the angles of `row`, the table's row of that position.
/// The values are halved, so that they stay in 31 bits, and the scale doubled.
///
/// # Panics
/// If the vector is not a whole number of heads of `2 * row.len()` values.
pub fn rope(y: &Scaled<i32>, row: &[RopePair], pairs: RopePairs) -> Scaled<i32> {
    let head_dim = 2 * row.len();
    assert_eq!(y.values.len() % head_dim, 0, "a whole number of heads");
    let mut values = y.values.clone();
    for head in values.chunks_exact_mut(head_dim) {
        for (i, angle) in row.iter().enumerate() {
            let (first, second) = pairs.places(i, head_dim);
            (head[first], head[second]) = turn(head[first].into(), head[second].into(), angle);
        }
    }
    Scaled { values, scale: y.scale.exp2(1) }
}

fn turn(a: i64, b: i64, angle: &RopePair) -> (i32, i32) {
    let (c, s) = (i64::from(angle.cos), i64::from(angle.sin));
    (proven32(round_shift(a * c - b * s, 31)), proven32(round_shift(a * s + b * c, 31)))
}

/// `head_quant(Y, s)`: A15 of each head's slice on its own.
///
/// # Panics
/// If the vector is not a whole number of heads.
pub fn head_quant(y: &Scaled<i32>, head_dim: usize) -> Vec<A15> {
    assert_eq!(y.values.len() % head_dim, 0, "a whole number of heads");
    let quantise = |slice: &[i32]| {
        let head = a15(slice);
        let scale = head.scale.times(y.scale);
        head.with_scale(scale)
    };
    y.values.chunks_exact(head_dim).map(quantise).collect()
}
