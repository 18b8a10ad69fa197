//! Attention of one query head over the positions so far (page, section 3).

use super::{
    a15::{A15, Scaled, a15},
    exp2::exp2_neg,
    matvec::dot,
    round::{I32_MAX, narrow, proven32, round_shift},
    scale::Scale,
};

/// Fractional bits of attention logits.
const LOGIT_BITS: i32 = 16;

/// Positions per partial sum, so that a dispute ends in one dot product of at most this length.
pub const PARTIAL_SUM: usize = 64;

/// Shifts of a scale's mantissa beyond this leave nothing.
const MANTISSA_SHIFT_MAX: i32 = 62;

/// The bits of a mantissa, which is what a scale's exponent is relative to here.
const MANTISSA_BITS: i32 = 31;

/// `attend`: one query head against the keys and values of its key-value head at positions `0..=position`.
/// The values returned have magnitudes below 2^46.
///
/// # Panics
/// If there is no position, or not a key and a value of the query's length for each.
pub fn attend(query: &A15, keys: &[A15], values: &[A15]) -> Scaled<i64> {
    assert!(!keys.is_empty() && keys.len() == values.len(), "a key and a value per position");
    let exponentials = softmax_terms(&logits(query, keys));
    let total: i64 = exponentials.iter().sum();
    let Some(top) = top_exponent(values.iter().map(|v| v.scale)) else {
        return Scaled { values: vec![0; query.values.len()], scale: Scale::ZERO };
    };
    let weights = a15(&fold_scales(&exponentials, values, top));
    let normaliser = Scale::from_int(total as u64, 0).recip();
    let scale = weights.scale.times(normaliser).exp2(MANTISSA_BITS + top);
    Scaled { values: weighted_sum(&weights.values, values, query.values.len()), scale }
}

/// Step 1: base-2 logits in Q16.
fn logits(query: &A15, keys: &[A15]) -> Vec<i32> {
    let d = query.values.len();
    let g = product_shift(d);
    let per_dimension = Scale::LOG2E.times(Scale::sqrt(d as u64, 0).recip());
    let logit = |key: &A15| {
        assert_eq!(key.values.len(), d, "a key as long as the query");
        let product = proven32(round_shift(dot(&query.values, &key.values), g));
        query.scale.times(key.scale).times(per_dimension).exp2(g as i32).apply(product, LOGIT_BITS)
    };
    keys.iter().map(logit).collect()
}

/// `g`: the least shift that brings the largest product of two heads of size `d` into 31 bits.
fn product_shift(d: usize) -> u32 {
    let largest = d as i64 * 16256 * 16256;
    (0..).find(|&g| round_shift(largest, g) <= I32_MAX).expect("a shift of 63 leaves at most 1")
}

/// Step 2: powers of two relative to the largest logit, in Q28.
fn softmax_terms(logits: &[i32]) -> Vec<i64> {
    let largest = logits.iter().copied().max().unwrap_or(0);
    logits.iter().map(|&z| exp2_neg(i64::from(largest) - i64::from(z))).collect()
}

/// The largest exponent of the scales that are not zero.
fn top_exponent(scales: impl Iterator<Item = Scale>) -> Option<i32> {
    scales.filter(|s| !s.is_zero()).map(Scale::exponent).max()
}

/// Step 3: the scale of each value is folded into its weight before anything is rounded to 15 bits.
fn fold_scales(exponentials: &[i64], values: &[A15], top: i32) -> Vec<i32> {
    exponentials.iter().zip(values).map(|(&e, v)| relative(e, v.scale, top)).collect()
}

/// `y * s` in units of `2^(31 + top)`, where `top` is at least the exponent of `s`.
fn relative(y: i64, s: Scale, top: i32) -> i32 {
    let shift = MANTISSA_BITS + top - s.exponent();
    if s.is_zero() || shift > MANTISSA_SHIFT_MAX {
        return 0;
    }
    proven32(round_shift(y * i64::from(s.mantissa()), shift as u32))
}

/// Step 4: the exact sum over positions of each dimension.
fn weighted_sum(weights: &[i16], values: &[A15], d: usize) -> Vec<i64> {
    let mut sums = vec![0i64; d];
    for (weights, values) in weights.chunks(PARTIAL_SUM).zip(values.chunks(PARTIAL_SUM)) {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum +=
                weights.iter().zip(values).map(|(&p, v)| i64::from(p) * i64::from(v.values[j])).sum::<i64>();
        }
    }
    sums
}

/// `join_heads`: the heads' outputs side by side in one A15 vector.
pub fn join_heads(heads: &[Scaled<i64>]) -> A15 {
    let narrowed: Vec<(Vec<i32>, Scale)> = heads
        .iter()
        .map(|head| {
            let (y, k) = narrow(&head.values);
            (y, head.scale.exp2(k))
        })
        .collect();
    let top = top_exponent(narrowed.iter().map(|(_, s)| *s)).unwrap_or(0);
    let aligned =
        |(y, s): &(Vec<i32>, Scale)| -> Vec<i32> { y.iter().map(|&v| relative(v.into(), *s, top)).collect() };
    let joined = a15(&narrowed.iter().flat_map(aligned).collect::<Vec<_>>());
    let scale = joined.scale.exp2(MANTISSA_BITS + top);
    joined.with_scale(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_shifts() {
        assert_eq!([2, 8, 16, 64, 128, 256].map(product_shift), [0, 0, 1, 3, 4, 5]);
    }

    #[test]
    fn a_cache_of_zero_values_gives_the_zero_scale() {
        let zero = A15 { values: vec![0; 4], scale: Scale::ZERO };
        let query = A15 { values: vec![16256; 4], scale: Scale::from_int(1, 0) };
        let cache = [zero.clone()];
        assert_eq!(attend(&query, &cache, &cache).scale, Scale::ZERO);
        assert_eq!(join_heads(&[Scaled { values: vec![0; 4], scale: Scale::ZERO }]), zero);
    }
}
