//! Rotary position embedding and per-head quantisation (page, section 3).

use super::{
    a15::{A15, Scaled, a15},
    round::{proven32, round_shift},
    tables::RopePair,
};

/// `rope(Y, position)`: turns the pairs (2i, 2i+1) of every head by the angles of `row`, the table's row of
/// that position. The values are halved, so that they stay in 31 bits, and the scale doubled.
///
/// # Panics
/// If the vector is not a whole number of heads of `2 * row.len()` values.
pub fn rope(y: &Scaled<i32>, row: &[RopePair]) -> Scaled<i32> {
    let head_dim = 2 * row.len();
    assert_eq!(y.values.len() % head_dim, 0, "a whole number of heads");
    let turn = |(pair, angle): (&[i32], &RopePair)| {
        let (a, b) = (i64::from(pair[0]), i64::from(pair[1]));
        let (c, s) = (i64::from(angle.cos), i64::from(angle.sin));
        [proven32(round_shift(a * c - b * s, 31)), proven32(round_shift(a * s + b * c, 31))]
    };
    let values = y.values.chunks_exact(2).zip(row.iter().cycle()).flat_map(turn).collect();
    Scaled { values, scale: y.scale.exp2(1) }
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
