//! Attention of one query head over the positions of its key-value head.

use super::{
    super::{
        fixed::{A15_MAX, LOG2E, Scale, round_shift, round_shift_any},
        isa::Kernels,
    },
    a15::quantize,
    exp2_neg::exp2_neg,
};

/// Right shifts beyond this one leave nothing.
const SHIFT_MAX: i32 = 62;
/// Products of two codes that fit an `i32` when added.
const PRODUCTS_MAX: usize = 8;

/// Keys and values of one head in one page, position after position, in A15 codes with a scale a position.
#[derive(Clone, Copy, Debug)]
pub struct HeadView<'a> {
    /// Codes of the keys.
    pub keys: &'a [i16],
    /// Scales of the keys.
    pub key_scales: &'a [Scale],
    /// Codes of the values.
    pub values: &'a [i16],
    /// Scales of the values.
    pub value_scales: &'a [Scale],
}

/// Constants of heads of one size.
#[derive(Clone, Copy, Debug)]
pub struct HeadLaw {
    /// Right shift that takes a dot product of two heads to 32 bits.
    dot_shift: u32,
    /// Base-2 logarithm of e over the root of the size.
    to_bits: Scale,
}

/// Buffers that the operator reuses, as long as the positions; `dots` as long as those of a page.
#[derive(Debug, Default)]
pub struct AttendScratch {
    dots: Vec<i64>,
    logits: Vec<i32>,
    value_scales: Vec<Scale>,
    weights: Vec<i32>,
    codes: Vec<i16>,
}

impl HeadLaw {
    /// Right shift that takes a dot product of two heads to 32 bits.
    pub fn dot_shift(&self) -> u32 {
        self.dot_shift
    }

    /// Base-2 logarithm of e over the root of the size.
    pub fn to_bits(&self) -> Scale {
        self.to_bits
    }

    /// Constants of heads of `size` numbers.
    ///
    /// # Panics
    /// If `size` is zero.
    pub fn new(size: usize) -> Self {
        let largest = size as i64 * A15_MAX * A15_MAX;
        let fits = |shift: &u32| round_shift(largest, *shift) <= i64::from(i32::MAX);
        let dot_shift = (0..62).find(fits).expect("a dot product of 63 bits fits 32 after a shift by 61");
        Self { dot_shift, to_bits: LOG2E.mul(Scale::sqrt(size as u64, 0).recip()) }
    }
}

/// Attends with one query over every position of a head, page after page; writes the sum to `out` and returns
/// its scale.
///
/// # Panics
/// If `out`, `query` and the positions of the pages differ in size, or there are none.
pub fn attend<'a>(
    kernels: Kernels,
    law: &HeadLaw,
    query: (&[i16], Scale),
    pages: impl Iterator<Item = HeadView<'a>> + Clone,
    scratch: &mut AttendScratch,
    out: &mut [i64],
) -> Scale {
    scratch.score(kernels, law, query, pages.clone());
    out.fill(0);
    let (logits, value_scales) = (&scratch.logits[..], &scratch.value_scales[..]);
    let weighed = kernels.widened(weigh, (logits, value_scales, &mut scratch.weights));
    let Some((total, top)) = weighed else {
        return Scale::ZERO;
    };
    scratch.codes.resize(scratch.weights.len(), 0);
    let relative = quantize(kernels, &scratch.weights, &mut scratch.codes);
    let mut codes = &scratch.codes[..];
    for page in pages {
        let (here, behind) = codes.split_at(page.value_scales.len());
        weighted_sum(kernels, here, page.values, out);
        codes = behind;
    }
    relative.mul(Scale::from(total, 0).recip()).exp2(31 + top)
}

impl AttendScratch {
    /// The base-2 logit of every position, and the scale of its value.
    fn score<'a>(
        &mut self,
        kernels: Kernels,
        law: &HeadLaw,
        (query, query_scale): (&[i16], Scale),
        pages: impl Iterator<Item = HeadView<'a>>,
    ) {
        self.logits.clear();
        self.value_scales.clear();
        for page in pages {
            self.dots.resize(page.key_scales.len(), 0);
            dots(kernels, query, page.keys, &mut self.dots);
            let first = self.logits.len();
            self.logits.resize(first + self.dots.len(), 0);
            let (dots, logits) = (&self.dots[..], &mut self.logits[first..]);
            kernels.widened(scaled_dots, (law, dots, query_scale, page.key_scales, logits));
            self.value_scales.extend_from_slice(page.value_scales);
        }
    }
}

/// Logits in base-2 units, Q16, from dot products with keys of these scales.
#[inline(always)]
fn scaled_dots(
    (law, dots, query_scale, key_scales, logits): (&HeadLaw, &[i64], Scale, &[Scale], &mut [i32]),
) {
    for ((logit, dot), key_scale) in logits.iter_mut().zip(dots).zip(key_scales) {
        let scale = query_scale.mul(*key_scale).mul(law.to_bits).exp2(law.dot_shift as i32);
        *logit = scale.apply(round_shift(*dot, law.dot_shift) as i32, 16);
    }
}

/// The softmax numerators times the scales of the values, relative to `2^(31 + top)`; returns the denominator
/// and `top`, the largest exponent of a value's scale, or nothing where all values are zero.
#[inline(always)]
fn weigh((logits, value_scales, weights): (&[i32], &[Scale], &mut Vec<i32>)) -> Option<(u64, i32)> {
    let top = value_scales.iter().filter(|s| !s.is_zero()).map(|s| s.e).max()?;
    let peak = i64::from(logits.iter().copied().max()?);
    let mut total = 0;
    weights.resize(logits.len(), 0);
    for ((weight, logit), scale) in weights.iter_mut().zip(logits).zip(value_scales) {
        let e = i64::from(exp2_neg(peak.wrapping_sub(i64::from(*logit)) as u64));
        total += e;
        // A scale of zero has the mantissa zero.
        let down = 31 + top - scale.e;
        let m = if down <= SHIFT_MAX { i64::from(scale.m) } else { 0 };
        *weight = round_shift_any(e.wrapping_mul(m), down.clamp(0, SHIFT_MAX) as u32) as i32;
    }
    Some((total as u64, top))
}

/// The dot products of `query` with every key.
pub(crate) fn dots(kernels: Kernels, query: &[i16], keys: &[i16], out: &mut [i64]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = kernels.avx2() {
        return super::avx2::attend::dots(proof, query, keys, out);
    }
    let _ = kernels;
    dots_plain(query, keys, out);
}

/// The one portable body of [`dots`].
pub(crate) fn dots_plain(query: &[i16], keys: &[i16], out: &mut [i64]) {
    for (dot, key) in out.iter_mut().zip(keys.chunks_exact(query.len())) {
        let parts = query.chunks(PRODUCTS_MAX).zip(key.chunks(PRODUCTS_MAX));
        *dot = parts.fold(0, |sum: i64, (q, k)| sum.wrapping_add(i64::from(short_dot(q, k))));
    }
}

/// A dot product of at most eight codes, whose sum is below `2^31`.
#[inline(always)]
fn short_dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).fold(0, |sum: i32, (a, b)| sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(*b))))
}

/// Adds to `out[j]` the sum over positions of `codes[t] * values[t][j]`.
pub(crate) fn weighted_sum(kernels: Kernels, codes: &[i16], values: &[i16], out: &mut [i64]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = kernels.avx2() {
        return super::avx2::attend::weighted_sum(proof, codes, values, out);
    }
    let _ = kernels;
    weighted_sum_plain(codes, values, out);
}

/// The one portable body of [`weighted_sum`].
pub(crate) fn weighted_sum_plain(codes: &[i16], values: &[i16], out: &mut [i64]) {
    for (code, value) in codes.iter().zip(values.chunks_exact(out.len())) {
        for (sum, v) in out.iter_mut().zip(value) {
            *sum = sum.wrapping_add(i64::from(i32::from(*code).wrapping_mul(i32::from(*v))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dot_shift_is_the_least() {
        assert_eq!([2, 8, 9, 64, 128].map(|size| HeadLaw::new(size).dot_shift), [0, 0, 1, 3, 4]);
    }

    #[test]
    fn one_position_gives_its_value() {
        let view = HeadView {
            keys: &[16_256, 0],
            key_scales: &[Scale::from(1, -10)],
            values: &[300, -16_256],
            value_scales: &[Scale::from(3, -12)],
        };
        let mut out = [0; 2];
        let query = (&[16_256, 16_256][..], Scale::from(1, -12));
        let law = HeadLaw::new(2);
        let scale = attend(
            Kernels::PORTABLE,
            &law,
            query,
            [view].into_iter(),
            &mut AttendScratch::default(),
            &mut out,
        );
        let real = |o: i64| o as f64 * f64::from(scale.m) * f64::from(scale.e).exp2();
        assert!((real(out[0]) - 300.0 * 3.0 / 4096.0).abs() < 1e-6);
        assert!((real(out[1]) + 16_256.0 * 3.0 / 4096.0).abs() < 1e-5);
    }

    #[test]
    fn values_of_zero_scale_give_zero() {
        let view = HeadView {
            keys: &[1, 2],
            key_scales: &[Scale::ZERO],
            values: &[0, 0],
            value_scales: &[Scale::ZERO],
        };
        let mut out = [5; 2];
        let query = (&[1, 1][..], Scale::from(1, 0));
        let law = HeadLaw::new(2);
        let scale = attend(
            Kernels::PORTABLE,
            &law,
            query,
            [view].into_iter(),
            &mut AttendScratch::default(),
            &mut out,
        );
        assert_eq!((out, scale), ([0, 0], Scale::ZERO));
    }
}
