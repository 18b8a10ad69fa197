//! Attention of one query head over the positions of its key-value head, a page of them at a time.

use super::{
    super::{
        device::PAGE,
        fixed::{A15_MAX, LOG2E, Scale, mul_wide, round_shift, round_shift_any},
        isa::{Kernels, Work},
    },
    a15::quantize,
    exp2_neg::{LANES, exp2_neg_lanes},
};

/// Right shifts beyond this one leave nothing.
const SHIFT_MAX: i32 = 62;

/// Two neighbouring columns of the keys of a page: of every position, one code and the other.
pub type KeyPair = [i16; 2 * PAGE];

/// Keys and values of one head in one page, in A15 codes with a scale a position.
///
/// Positions lie side by side, so that sums over columns (of keys) and over positions (of values) are taken in as many
/// lanes as a register has, two products a lane. What lies behind the positions that are there counts for nothing.
#[derive(Clone, Copy, Debug)]
pub struct HeadView<'a> {
    /// Positions that are there, from the first on, at least one.
    pub positions: usize,
    /// Codes of the keys, half as many as a head has columns.
    pub keys: &'a [KeyPair],
    /// Scales of the keys.
    pub key_scales: &'a PageScales,
    /// Codes of the values, for every two positions, for every column, one position's and the other's.
    pub values: &'a [i16],
    /// Scales of the values.
    pub value_scales: &'a PageScales,
}

/// Scales of the positions of a page, mantissas and exponents apart.
#[derive(Clone, Copy, Debug)]
pub struct PageScales {
    m: [u32; PAGE],
    e: [i32; PAGE],
}

impl PageScales {
    /// All zero.
    pub const ZERO: Self = Self { m: [0; PAGE], e: [0; PAGE] };

    /// The scale of one position.
    pub fn at(&self, slot: usize) -> Scale {
        Scale { m: self.m[slot], e: self.e[slot] }
    }

    /// Sets the scale of one position.
    pub fn set(&mut self, slot: usize, scale: Scale) {
        (self.m[slot], self.e[slot]) = (scale.m, scale.e);
    }
}

/// Constants of heads of one size.
#[derive(Clone, Copy, Debug)]
pub struct HeadLaw {
    /// Right shift that takes a dot product of two heads to 32 bits.
    dot_shift: u32,
    /// Base-2 logarithm of e over the root of the size.
    to_bits: Scale,
}

/// Buffers that the operator reuses, as long as the positions.
#[derive(Debug, Default)]
pub struct AttendScratch {
    logits: Vec<i32>,
    value_mantissas: Vec<u32>,
    value_exponents: Vec<i32>,
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
/// its scale. All pages but the last are full.
///
/// # Panics
/// If `out`, `query` and the heads of the pages differ in size, or there are no pages.
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
    let AttendScratch { logits, value_mantissas: mantissas, value_exponents: exponents, weights, .. } =
        scratch;
    let Some((total, top)) = kernels.widened(Weigh { logits, mantissas, exponents, weights }) else {
        return Scale::ZERO;
    };
    // Positions that are not there weigh nothing.
    scratch.codes.clear();
    scratch.codes.resize(scratch.weights.len().next_multiple_of(PAGE), 0);
    let relative = quantize(kernels, &scratch.weights, &mut scratch.codes);
    for (page, codes) in pages.zip(scratch.codes.as_chunks::<PAGE>().0) {
        weighted_sum(kernels, &codes[..page.positions.next_multiple_of(2)], page.values, out);
    }
    relative.mul(Scale::from(total, 0).recip()).exp2(31 + top)
}

impl AttendScratch {
    /// The base-2 logit of every position, and the scale of its value.
    fn score<'a>(
        &mut self,
        kernels: Kernels,
        law: &HeadLaw,
        (query, scale): (&[i16], Scale),
        pages: impl Iterator<Item = HeadView<'a>>,
    ) {
        self.logits.clear();
        self.value_mantissas.clear();
        self.value_exponents.clear();
        let mut logits = [0; PAGE];
        for page in pages {
            dots(kernels, (query, law.dot_shift), page.keys, &mut logits);
            kernels.widened(Logits { law, scale, key_scales: page.key_scales, dots: &mut logits });
            self.logits.extend_from_slice(&logits[..page.positions]);
            self.value_mantissas.extend_from_slice(&page.value_scales.m[..page.positions]);
            self.value_exponents.extend_from_slice(&page.value_scales.e[..page.positions]);
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
        for ((dot, m), e) in self.dots.iter_mut().zip(&self.key_scales.m).zip(&self.key_scales.e) {
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
        let scale = attend(Kernels::PORTABLE, &law, query, store.head((0, 0), &table, 1), scratch, &mut out);
        (out, scale)
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
