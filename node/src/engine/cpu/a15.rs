//! A15: vectors of 15-bit codes with one scale, the form in which activations enter every product.

use rayon::prelude::*;

use super::super::{
    coding::BLOCK,
    fixed::{A15_MAX, Scale, bit_len, max_magnitude, mul_wide, round_shift},
    isa::{Kernels, Work},
};

/// The scale of the code 16256, the reciprocal of the largest code.
const ONE_OVER_MAX: Scale = Scale::from(A15_MAX as u64, 0).recip();

/// Codes `values` (magnitudes at most `2^31 - 1`) relative to the largest of them; returns the scale, zero
/// for zeros.
///
/// # Panics
/// If `codes` is shorter than `values`.
pub fn quantize(kernels: Kernels, values: &[i32], codes: &mut [i16]) -> Scale {
    kernels.widened(Quantize { values, codes })
}

struct Quantize<'a> {
    values: &'a [i32],
    codes: &'a mut [i16],
}

impl Work for Quantize<'_> {
    type Result = Scale;

    #[inline(always)]
    fn run(self) -> Scale {
        quantize_plain(self.values, self.codes)
    }
}

/// The body of [`quantize`], for operators that end with it.
#[inline(always)]
pub(crate) fn quantize_plain(values: &[i32], codes: &mut [i16]) -> Scale {
    let max = max_magnitude(values);
    let codes = &mut codes[..values.len()];
    if max == 0 {
        codes.fill(0);
        return Scale::ZERO;
    }
    let shift = 31 - bit_len(u64::from(max));
    // At most 2^31; one less fits an `i32`.
    let reciprocal = ((1u64 << 61) / (u64::from(max) << shift)).wrapping_sub(1) as i32;
    for (code, value) in codes.iter_mut().zip(values) {
        let value = *value << shift;
        let relative = mul_wide(value, reciprocal).wrapping_add(i64::from(value)) >> 32;
        *code = round_shift(mul_wide(relative as i32, A15_MAX as i32), 29) as i16;
    }
    Scale::from(u64::from(max), 0).mul(ONE_OVER_MAX)
}

/// A15 vectors of one length, one a token, with the sums of their blocks.
#[derive(Clone, Debug, Default)]
pub struct A15Rows {
    blocks: usize,
    codes: Vec<[i16; BLOCK]>,
    sums: Vec<i32>,
    scales: Vec<Scale>,
}

/// One vector of [`A15Rows`], to be filled.
#[derive(Debug)]
pub struct A15RowMut<'a> {
    codes: &'a mut [[i16; BLOCK]],
    sums: &'a mut [i32],
    scale: &'a mut Scale,
}

impl A15Rows {
    /// Room for no vectors yet, of `cols` columns each, a multiple of 32.
    pub fn new(cols: usize) -> Self {
        Self { blocks: cols / BLOCK, ..Self::default() }
    }

    /// Makes room for `rows` vectors; what they hold is to be overwritten.
    pub fn resize(&mut self, rows: usize) {
        self.codes.resize(rows * self.blocks, [0; BLOCK]);
        self.sums.resize(rows * self.blocks, 0);
        self.scales.resize(rows, Scale::ZERO);
    }

    /// Vectors held.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Blocks of a vector.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The codes of vector `row`, by block.
    #[inline(always)]
    pub fn codes(&self, row: usize) -> &[[i16; BLOCK]] {
        &self.codes[row * self.blocks..(row + 1) * self.blocks]
    }

    /// The sums of the codes of each block of vector `row`.
    #[inline(always)]
    pub fn sums(&self, row: usize) -> &[i32] {
        &self.sums[row * self.blocks..(row + 1) * self.blocks]
    }

    /// The scale of vector `row`.
    pub fn scale(&self, row: usize) -> Scale {
        self.scales[row]
    }

    /// All vectors, to be filled in parallel.
    pub fn par_rows_mut(&mut self) -> impl IndexedParallelIterator<Item = A15RowMut<'_>> {
        self.codes
            .par_chunks_mut(self.blocks)
            .zip(self.sums.par_chunks_mut(self.blocks))
            .zip(&mut self.scales)
            .map(|((codes, sums), scale)| A15RowMut { codes, sums, scale })
    }
}

impl A15RowMut<'_> {
    /// Takes the codes that `fill` writes, and its scale.
    pub fn fill_with(self, fill: impl FnOnce(&mut [i16]) -> Scale) {
        *self.scale = fill(self.codes.as_flattened_mut());
        for (sum, block) in self.sums.iter_mut().zip(self.codes.iter()) {
            *sum = block.iter().fold(0, |sum: i32, code| sum.wrapping_add(i32::from(*code)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_gets_the_largest_code() {
        for max in [1, 2, 3, 1 << 20, i32::MAX] {
            let mut codes = [0; 3];
            let scale = quantize(Kernels::PORTABLE, &[max, -max, 0], &mut codes);
            assert_eq!(codes, [16_256, -16_256, 0], "for {max}");
            // The scale is cut, never rounded up, and by less than one part in 2^29.
            let back = scale.apply(16_256, 0);
            assert!((i64::from(back) - i64::from(max)).abs() <= i64::from(max >> 29) + 1, "{back} for {max}");
        }
    }

    #[test]
    fn zeros_have_the_zero_scale() {
        let mut codes = [7; 2];
        assert_eq!(quantize(Kernels::PORTABLE, &[0, 0], &mut codes), Scale::ZERO);
        assert_eq!(codes, [0, 0]);
    }

    #[test]
    fn rows_know_the_sums_of_their_blocks() {
        let mut rows = A15Rows::new(64);
        rows.resize(2);
        rows.par_rows_mut().enumerate().for_each(|(at, row)| {
            row.fill_with(|codes| {
                codes.iter_mut().enumerate().for_each(|(i, code)| *code = (i * (at + 1)) as i16);
                Scale::from(1, 0)
            });
        });
        assert_eq!((rows.sums(0), rows.sums(1)), (&[496, 1520][..], &[992, 3040][..]));
    }
}
