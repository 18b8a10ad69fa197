//! The residual stream: where it starts and what is added to it (page, section 3).

use super::{
    a15::Scaled,
    round::{round_shift, sat32},
    weights::CodedMatrix,
};

/// Fractional bits of the residual stream: Q14 holds +-131,072.
pub const RESIDUAL_BITS: i32 = 14;

/// `embed(W, token)`: row `token` of the embedding matrix in Q14.
///
/// # Panics
/// If there is no such row.
pub fn embed(w: &CodedMatrix, token: usize) -> Vec<i32> {
    let row = &w.rows[token];
    let value = |(i, &c): (usize, &i16)| {
        let (s, m) = (i64::from(row.scales[i / row.block]), i64::from(row.mins[i / row.block]));
        sat32(fix(s * i64::from(c), row.kd) + fix(m, row.km))
    };
    row.codes.iter().enumerate().map(value).collect()
}

/// `fix(v, k)`: `v * 2^-k` in Q14, `|v| < 2^26`.
fn fix(v: i64, k: i32) -> i64 {
    match k - RESIDUAL_BITS {
        // Only floats have exponents below -11, and they have no minima: a non-zero value shifted by 32
        // saturates whatever lies beyond.
        n if n < 0 => v << (-n).min(32),
        n if n <= 62 => round_shift(v, n as u32),
        _ => 0,
    }
}

/// `add(x, Y, s)`: adds a layer's output to the residual stream, saturating.
///
/// # Panics
/// If the lengths differ.
pub fn add(x: &mut [i32], y: &Scaled<i32>) {
    assert_eq!(x.len(), y.values.len(), "an output per residual");
    for (x, &y_i) in x.iter_mut().zip(&y.values) {
        *x = sat32(i64::from(*x) + i64::from(y.scale.apply(y_i, RESIDUAL_BITS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::scale::Scale;

    #[test]
    fn fixing_follows_the_exponent() {
        assert_eq!((fix(3, 14), fix(3, 15), fix(-3, 15), fix(3, 12)), (3, 2, -1, 12));
        assert_eq!((fix(1 << 25, 76), fix(1 << 25, 77), fix(-1, 77)), (0, 0, 0));
        assert_eq!((sat32(fix(1, -102)), sat32(fix(-1, -102)), fix(0, -102)), (i32::MAX, -i32::MAX, 0));
    }

    #[test]
    fn adding_saturates_on_both_sides() {
        let mut x = [i32::MAX, -i32::MAX, 5, 7];
        add(&mut x, &Scaled { values: vec![1, -1, -3, 0], scale: Scale::from_int(1, -14) });
        assert_eq!(x, [i32::MAX, -i32::MAX, 2, 7]);
    }
}
