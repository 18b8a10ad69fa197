//! The product of a coded matrix and an A15 vector (page, section 3).

use super::{
    a15::{A15, Scaled},
    round::{proven32, round_shift},
    weights::{CodedMatrix, CodedRow},
};

/// `matvec(W, q, s)`: one output per row; magnitudes at most 2^31 - 2^18 (page, section 8).
///
/// # Panics
/// If the vector is not as long as a row.
pub fn matvec(w: &CodedMatrix, a: &A15) -> Scaled<i32> {
    assert_eq!(a.values.len(), w.columns, "an activation per column");
    let values = (0..w.rows.len()).map(|i| row_product(w, i, &a.values)).collect();
    Scaled { values, scale: a.scale.exp2(w.x) }
}

fn row_product(w: &CodedMatrix, i: usize, q: &[i16]) -> i32 {
    let row = &w.rows[i];
    let part = |sum: i64, x: Option<i32>| x.map_or(0, |x| round_shift(sum, (w.x - x) as u32));
    let scaled = part(scaled_sum(row, q, w.rd), w.x_scales(i));
    let minima = part(minima_sum(row, q, w.rm), w.x_mins(i));
    proven32(scaled + minima)
}

/// `accD`: each block's product is rounded before it is added.
fn scaled_sum(row: &CodedRow, q: &[i16], rd: u32) -> i64 {
    let blocks = row.scales.iter().zip(row.codes.chunks_exact(row.block)).zip(q.chunks_exact(row.block));
    blocks.map(|((&s, c), q)| round_shift(i64::from(s) * dot(c, q), rd)).sum()
}

/// `accM`.
fn minima_sum(row: &CodedRow, q: &[i16], rm: u32) -> i64 {
    let total = |q: &[i16]| q.iter().map(|&v| i64::from(v)).sum::<i64>();
    row.mins
        .iter()
        .zip(q.chunks_exact(row.block))
        .map(|(&m, q)| round_shift(i64::from(m) * total(q), rm))
        .sum()
}

/// The exact dot product of two vectors of codes.
pub(super) fn dot(a: &[i16], b: &[i16]) -> i64 {
    a.iter().zip(b).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum()
}
