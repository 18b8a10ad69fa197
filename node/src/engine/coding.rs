//! Rows of a model file as integers: block codes, 12-bit block scales and minima, and the row's exponents.
//!
//! `docs/NUMERICS.md`, section 2. Floats are read as the exact rationals that their bits say; an infinity or
//! a NaN is refused.

mod blocks;
mod kind;
mod rational;

pub use self::kind::{Coding, Form, Kind};
use self::{
    blocks::Blocks,
    rational::{Rational, largest_exponent},
};

/// Columns of a block of activations, and of weights but for Q6_K.
pub const BLOCK: usize = 32;
/// Largest magnitude of a coded block scale or minimum.
pub const SCALE_MAX: i64 = 4095;

/// A float that is an infinity or a NaN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NonFinite;

/// One row as integers; every weight is about `codes * scale * 2^-scale_exponent + minimum *
/// 2^-minimum_exponent`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodedRow {
    /// One code a column.
    pub codes: Vec<i16>,
    /// One scale a block, up to [`SCALE_MAX`] in magnitude.
    pub scales: Vec<i16>,
    /// One minimum a block, up to [`SCALE_MAX`] in magnitude; empty for kinds without minima.
    pub minima: Vec<i16>,
    /// Power of two that the scales were multiplied by; 0 where all are zero.
    pub scale_exponent: i32,
    /// Power of two that the minima were multiplied by; 0 where all are zero.
    pub minimum_exponent: i32,
}

impl CodedRow {
    /// Whether any block has a scale.
    pub fn has_scales(&self) -> bool {
        self.scales.iter().any(|s| *s != 0)
    }

    /// Whether any block has a minimum.
    pub fn has_minima(&self) -> bool {
        self.minima.iter().any(|m| *m != 0)
    }
}

/// Codes one row, given as its bytes in the file.
///
/// # Errors
/// [`NonFinite`] if a scale, a minimum or a weight is an infinity or a NaN.
pub fn code_row(kind: Kind, bytes: &[u8]) -> Result<CodedRow, NonFinite> {
    match kind {
        Kind::F32 => code_floats(bytes.as_chunks().0, Rational::from_f32),
        Kind::F16 => code_floats(bytes.as_chunks().0, Rational::from_f16),
        Kind::Bf16 => code_floats(bytes.as_chunks().0, Rational::from_bf16),
        _ => Ok(code_blocks(Blocks::read(kind, bytes)?)),
    }
}

fn code_blocks(blocks: Blocks) -> CodedRow {
    let (scales, scale_exponent) = code_scales(&blocks.scales);
    let (minima, minimum_exponent) = code_scales(&blocks.minima);
    CodedRow { codes: blocks.codes, scales, minima, scale_exponent, minimum_exponent }
}

/// Scales relative to the row's largest, which gets 12 bits: `2048 <= max * 2^k < 4096`.
fn code_scales(values: &[Rational]) -> (Vec<i16>, i32) {
    let Some(k) = values.iter().filter(|v| v.m != 0).map(|v| 12 - v.magnitude_bits()).min() else {
        return (vec![0; values.len()], 0);
    };
    let code = |v: &Rational| v.times_exp2_rounded(k).clamp(-SCALE_MAX, SCALE_MAX) as i16;
    (values.iter().map(code).collect(), k)
}

fn code_floats<const N: usize>(
    weights: &[[u8; N]],
    read: impl Fn([u8; N]) -> Result<Rational, NonFinite>,
) -> Result<CodedRow, NonFinite> {
    let values = weights.iter().map(|w| read(*w)).collect::<Result<Vec<_>, _>>()?;
    let mut row = CodedRow::default();
    let Some(k) = values.iter().filter(|v| v.m != 0).map(largest_exponent).min() else {
        row.codes = vec![0; values.len()];
        row.scales = vec![0; values.len() / BLOCK];
        return Ok(row);
    };
    row.scale_exponent = k;
    for block in values.chunks_exact(BLOCK) {
        let scale = block.iter().map(|v| v.limbs_needed(k)).max().unwrap_or(0);
        row.scales.push(scale as i16);
        row.codes.extend(block.iter().map(|v| v.divided_rounded(k, scale)));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32_row(values: [f32; 32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn q4_1_block(d: u16, m: u16) -> Vec<u8> {
        let mut block = [d.to_le_bytes(), m.to_le_bytes()].concat();
        block.extend((0..16).map(|i| i | (15 - i) << 4));
        block
    }

    #[test]
    fn q4_1_keeps_codes_and_relates_scales_to_the_largest() {
        // 1.0 and 0.5 as steps; -2.0 and zero as minima.
        let bytes = [q4_1_block(0x3c00, 0xc000), q4_1_block(0x3800, 0)].concat();
        let row = code_row(Kind::Q4_1, &bytes).unwrap();
        assert_eq!((row.scales, row.scale_exponent), (vec![2048, 1024], 11));
        assert_eq!((row.minima, row.minimum_exponent), (vec![-2048, 0], 10));
        assert_eq!(row.codes[..4], [0, 1, 2, 3]);
        assert_eq!(row.codes[16..20], [15, 14, 13, 12]);
    }

    #[test]
    fn a_scale_that_would_round_to_4096_is_clamped() {
        let mut block = 0x3fffu16.to_le_bytes().to_vec();
        block.extend([0x80; 32]);
        let row = code_row(Kind::Q8_0, &block).unwrap();
        assert_eq!((row.scales[0], row.codes[0]), (4094, -128));
        // 2047 * 2 is even, so no half-precision number rounds up; a clamp is still part of the rule.
        assert_eq!(code_scales(&[Rational { m: 0x00ff_ffff, e: 0 }]).0, [4095]);
    }

    #[test]
    fn infinities_and_nans_are_refused_in_every_kind() {
        for bits in [0x7c00u16, 0xfc00, 0x7e01] {
            assert_eq!(code_row(Kind::Q4_1, &q4_1_block(bits, 0)), Err(NonFinite));
            assert_eq!(code_row(Kind::Q4_1, &q4_1_block(0, bits)), Err(NonFinite));
            assert_eq!(code_row(Kind::F16, &bits.to_le_bytes().repeat(32)), Err(NonFinite));
        }
        let mut values = [0.5; 32];
        values[7] = f32::NAN;
        assert_eq!(code_row(Kind::F32, &f32_row(values)), Err(NonFinite));
    }

    #[test]
    fn float_codes_reproduce_the_weights_to_fourteen_bits() {
        let mut values = [0.0f32; 32];
        values.iter_mut().enumerate().for_each(|(i, v)| *v = (i as f32 - 11.3) * 0.071);
        let row = code_row(Kind::F32, &f32_row(values)).unwrap();
        for (value, code) in values.iter().zip(&row.codes) {
            let back = f64::from(*code) * f64::from(row.scales[0]) * f64::from(-row.scale_exponent).exp2();
            assert!((back - f64::from(*value)).abs() < 1e-4, "{value} became {back}");
        }
        assert!(row.scales[0] > 2047 && i64::from(row.scales[0]) <= SCALE_MAX);
    }

    #[test]
    fn floats_of_every_size_are_coded_without_overflow() {
        let mut values = [0.0f32; 32];
        (values[0], values[1], values[2], values[3]) =
            (f32::MAX, -f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1));
        let row = code_row(Kind::F32, &f32_row(values)).unwrap();
        assert_eq!(row.codes[2..4], [0, 0]);
        assert!(row.codes[0] > 16_000 && row.codes[1] < -16_000);
        let tiny = code_row(Kind::F32, &f32_row([f32::from_bits(1); 32])).unwrap();
        assert_eq!((tiny.scale_exponent, tiny.codes[0]), (149 + 25, 16_249));
    }

    #[test]
    fn a_row_of_zeros_has_no_scale_and_exponent_zero() {
        let row = code_row(Kind::F32, &f32_row([-0.0; 32])).unwrap();
        assert!(!row.has_scales() && row.scale_exponent == 0 && row.codes == [0; 32]);
        assert!(!code_row(Kind::Q4_1, &q4_1_block(0, 0x8000)).unwrap().has_minima());
    }
}
