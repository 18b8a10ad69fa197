//! Attention of the query heads of one key-value head over its positions, a page of them at a time.

use super::{
    super::{
        device::PAGE,
        fixed::{A15_MAX, LOG2E, Scale, mul_wide, round_shift, round_shift_any},
        isa::{Kernels, Work},
    },
    a15::quantize,
    exp2_neg::{LANES, exp2_neg_lanes},
    head_view::{HeadView, KeyPair, PageScales},
};

/// Right shifts beyond this one leave nothing.
const SHIFT_MAX: i32 = 62;

/// Constants of heads of one size.
#[derive(Clone, Copy, Debug)]
pub struct HeadLaw {
    /// Right shift that takes a dot product of two heads to 32 bits.
    dot_shift: u32,
    /// Base-2 logarithm of e over the root of the size.
    to_bits: Scale,
}

/// Buffers that the operator reuses.
#[derive(Debug, Default)]
pub struct AttendScratch {
    value_mantissas: Vec<u32>,
    value_exponents: Vec<i32>,
    /// For every query, as many as there are positions in whole pages.
    logits: Vec<i32>,
    weights: Vec<i32>,
    codes: Vec<i16>,
}

/// Query heads that share a key-value head, and room for what they get of it.
#[derive(Debug)]
pub struct Queries<'a> {
    /// Codes, head after head.
    pub codes: &'a [i16],
    /// Scale of each head.
    pub scales: &'a [Scale],
    /// The weighted sums of the values, head after head.
    pub sums: &'a mut [i64],
    /// Scale of each head's sums.
    pub sum_scales: &'a mut [Scale],
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

/// Attends with the queries over every position of their head. All pages but the last are full; a page is read once for
/// all queries.
///
/// # Panics
/// If the parts of `queries` and the heads of the pages differ in size, or there are no pages.
pub fn attend<'a>(
    kernels: Kernels,
    law: &HeadLaw,
    queries: Queries<'_>,
    pages: impl Iterator<Item = HeadView<'a>> + Clone,
    scratch: &mut AttendScratch,
) {
    let Queries { codes, scales, sums, sum_scales } = queries;
    let head_dim = codes.len() / scales.len();
    scratch.score(kernels, law, (codes, scales), pages.clone());
    scratch.weigh(kernels, sum_scales);
    sums.fill(0);
    let room = scratch.codes.len() / scales.len();
    for (page, first) in pages.zip((0..).step_by(PAGE)) {
        let codes = scratch.codes[first..].as_chunks::<PAGE>().0.iter().step_by(room / PAGE);
        for (codes, sums) in codes.zip(sums.chunks_exact_mut(head_dim)) {
            weighted_sum(kernels, &codes[..page.positions.next_multiple_of(2)], page.values, sums);
        }
    }
}

impl AttendScratch {
    /// The base-2 logit of every position for every query, and the scale of its value.
    fn score<'a>(
        &mut self,
        kernels: Kernels,
        law: &HeadLaw,
        (queries, scales): (&[i16], &[Scale]),
        pages: impl Iterator<Item = HeadView<'a>> + Clone,
    ) {
        let (count, head_dim) = (pages.clone().count(), queries.len() / scales.len());
        self.logits.resize(scales.len() * count * PAGE, 0);
        self.value_mantissas.clear();
        self.value_exponents.clear();
        for (at, page) in pages.enumerate() {
            let rooms = self.logits.as_chunks_mut::<PAGE>().0[at..].iter_mut().step_by(count);
            for ((query, scale), logits) in queries.chunks_exact(head_dim).zip(scales).zip(rooms) {
                dots(kernels, (query, law.dot_shift), page.keys, logits);
                kernels.widened(Logits { law, scale: *scale, key_scales: page.key_scales, dots: logits });
            }
            self.value_mantissas.extend_from_slice(&page.value_scales.mantissas()[..page.positions]);
            self.value_exponents.extend_from_slice(&page.value_scales.exponents()[..page.positions]);
        }
    }

    /// The code of every position's weight for every query; writes the scale of the sums that they weigh, which are zero
    /// where all values are.
    fn weigh(&mut self, kernels: Kernels, scales: &mut [Scale]) {
        let Self { value_mantissas: mantissas, value_exponents: exponents, logits, weights, codes } = self;
        // Positions that are not there weigh nothing.
        codes.clear();
        codes.resize(logits.len(), 0);
        let room = logits.len() / scales.len();
        let queries = logits.chunks_exact(room).zip(codes.chunks_exact_mut(room));
        for (scale, (logits, codes)) in scales.iter_mut().zip(queries) {
            let logits = &logits[..mantissas.len()];
            let weighed = kernels.widened(Weigh { logits, mantissas, exponents, weights });
            *scale = weighed.map_or(Scale::ZERO, |(total, top)| {
                quantize(kernels, weights, codes).mul(Scale::from(total, 0).recip()).exp2(31 + top)
            });
        }
    }
}

/// Logits in base-2 units, Q16, from shifted dot products of a query with keys of these scales, in place.
struct Logits<'a> {
    law: &'a HeadLaw,
    scale: Scale,
    key_scales: &'a PageScales,
    dots: &'a mut [i32; PAGE],
}

impl Work for Logits<'_> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        let (query, to_bits, fraction) = (self.scale, self.law.to_bits, 16 + self.law.dot_shift as i32);
        let (mantissas, exponents) = (self.key_scales.mantissas(), self.key_scales.exponents());
        for ((dot, m), e) in self.dots.iter_mut().zip(mantissas).zip(exponents) {
            let scale = query.mul_in_loop(Scale { m: *m, e: *e }).mul_in_loop(to_bits);
            *dot = scale.fixed(fraction).apply(*dot);
        }
    }
}

/// The softmax numerators times the scales of the values, relative to `2^(31 + top)`. Gives the denominator and `top`,
/// the largest exponent of a value's scale, or nothing where all values are zero.
struct Weigh<'a> {
    logits: &'a [i32],
    mantissas: &'a [u32],
    exponents: &'a [i32],
    weights: &'a mut Vec<i32>,
}

impl Work for Weigh<'_> {
    type Result = Option<(u64, i32)>;

    #[inline(always)]
    fn run(self) -> Option<(u64, i32)> {
        let Self { logits, mantissas, exponents, weights } = self;
        let (mut top, mut peak) = (i32::MIN, i32::MIN);
        for ((logit, m), e) in logits.iter().zip(mantissas).zip(exponents) {
            top = if *m == 0 { top } else { top.max(*e) };
            peak = peak.max(*logit);
        }
        if top == i32::MIN {
            return None;
        }
        let mut total = 0u64;
        weights.resize(logits.len(), 0);
        let scales = mantissas.chunks(LANES).zip(exponents.chunks(LANES));
        let parts = weights.chunks_mut(LANES).zip(logits.chunks(LANES)).zip(scales);
        for ((weights, logits), (mantissas, exponents)) in parts {
            total = total.wrapping_add(weigh_some((peak, top), logits, (mantissas, exponents), weights));
        }
        Some((total, top))
    }
}

/// The weights of at most [`LANES`] positions; gives the sum of their numerators.
#[inline(always)]
fn weigh_some(
    (peak, top): (i32, i32),
    logits: &[i32],
    (mantissas, exponents): (&[u32], &[i32]),
    weights: &mut [i32],
) -> u64 {
    let mut below = [0; LANES];
    for (x, logit) in below.iter_mut().zip(logits) {
        *x = peak.wrapping_sub(*logit) as u32;
    }
    let mut total = 0u64;
    let powers = exp2_neg_lanes(&below);
    for (((weight, power), m), e) in weights.iter_mut().zip(&powers).zip(mantissas).zip(exponents) {
        total = total.wrapping_add(u64::from(*power as u32));
        // A scale of zero may have any exponent, and its mantissa is zero.
        let down = top.wrapping_sub(*e).wrapping_add(31);
        let rounded = round_shift_any(mul_wide(*power, *m as i32), down.clamp(0, SHIFT_MAX) as u32) as i32;
        *weight = if down <= SHIFT_MAX { rounded } else { 0 };
    }
    total
}

/// The dot products of `query` with the key of each position, rounded and shifted right to 32 bits.
pub(crate) fn dots(kernels: Kernels, query: (&[i16], u32), keys: &[KeyPair], out: &mut [i32; PAGE]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = kernels.avx512() {
        return super::avx512::attend::dots(proof, query, keys, out);
    } else if let Some(proof) = kernels.avx2() {
        return super::avx2::attend::dots(proof, query, keys, out);
    }
    let _ = kernels;
    dots_plain(query, keys, out);
}

/// The one portable body of [`dots`].
pub(crate) fn dots_plain((query, shift): (&[i16], u32), keys: &[KeyPair], out: &mut [i32; PAGE]) {
    let mut sums = [0i64; PAGE];
    for (query, keys) in query.as_chunks::<2>().0.iter().zip(keys) {
        for (sum, key) in sums.iter_mut().zip(keys.as_chunks::<2>().0) {
            *sum = sum.wrapping_add(i64::from(two_products(query, key)));
        }
    }
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = round_shift(sum, shift) as i32);
}

/// Below `2^31`: a code is at most 16256.
#[inline(always)]
fn two_products(a: &[i16; 2], b: &[i16; 2]) -> i32 {
    let product = |at: usize| i32::from(a[at]).wrapping_mul(i32::from(b[at]));
    product(0).wrapping_add(product(1))
}

/// Adds to `out[j]` the sum over positions, an even number of them, of `codes[t]` times column `j` of their values.
pub(crate) fn weighted_sum(kernels: Kernels, codes: &[i16], values: &[i16], out: &mut [i64]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = kernels.avx512() {
        return super::avx512::attend::weighted_sum(proof, codes, values, out);
    } else if let Some(proof) = kernels.avx2() {
        return super::avx2::attend::weighted_sum(proof, codes, values, out);
    }
    let _ = kernels;
    weighted_sum_plain(codes, values, out);
}

/// The one portable body of [`weighted_sum`].
pub(crate) fn weighted_sum_plain(codes: &[i16], values: &[i16], out: &mut [i64]) {
    for (codes, values) in codes.as_chunks::<2>().0.iter().zip(values.chunks_exact(2 * out.len())) {
        for (sum, values) in out.iter_mut().zip(values.as_chunks::<2>().0) {
            *sum = sum.wrapping_add(i64::from(two_products(codes, values)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        cpu::kv_store::{KvEntry, KvPlace, KvShape, KvStore},
        device::PageId,
    };

    #[test]
    fn the_dot_shift_is_the_least() {
        assert_eq!([2, 8, 9, 64, 128].map(|size| HeadLaw::new(size).dot_shift), [0, 0, 1, 3, 4]);
    }

    /// Attends to one position of two columns.
    fn to_one(query: (&[i16], Scale), key: (&[i16], Scale), value: (&[i16], Scale)) -> ([i64; 2], Scale) {
        let mut store = KvStore::new(KvShape { layers: 1, heads: 1, head_dim: 2 });
        let (page, mut out) = (PageId(0), [5; 2]);
        store.back(page).expect("a little memory");
        store.write(KvPlace { layer: 0, head: 0, page, slot: 0 }, KvEntry { key, value });
        let (law, table, scratch) = (HeadLaw::new(2), [page], &mut AttendScratch::default());
        let mut scale = [Scale::from(1, 0)];
        let (codes, scales) = (query.0, &[query.1][..]);
        let queries = Queries { codes, scales, sums: &mut out, sum_scales: &mut scale };
        attend(Kernels::PORTABLE, &law, queries, store.head((0, 0), &table, 1), scratch);
        (out, scale[0])
    }

    #[test]
    fn one_position_gives_its_value() {
        let (key, value) =
            ((&[16_256, 0][..], Scale::from(1, -10)), (&[300, -16_256][..], Scale::from(3, -12)));
        let (out, scale) = to_one((&[16_256, 16_256], Scale::from(1, -12)), key, value);
        let real = |o: i64| o as f64 * f64::from(scale.m) * f64::from(scale.e).exp2();
        assert!((real(out[0]) - 300.0 * 3.0 / 4096.0).abs() < 1e-6);
        assert!((real(out[1]) + 16_256.0 * 3.0 / 4096.0).abs() < 1e-5);
    }

    #[test]
    fn values_of_zero_scale_give_zero() {
        let (key, value) = ((&[1, 2][..], Scale::ZERO), (&[0, 0][..], Scale::ZERO));
        assert_eq!(to_one((&[1, 1], Scale::from(1, 0)), key, value), ([0, 0], Scale::ZERO));
    }
}
