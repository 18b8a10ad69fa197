//! Rows of a model file as integers: block codes, 12-bit block scales and minima, and the row's exponents.
//!
//! `docs/NUMERICS.md`, section 2. Floats are read as the exact rationals that their bits say; an infinity or
//! a NaN is refused.

use super::fixed::{A15_MAX, bit_len, round_shift};

/// Columns of a block.
pub const BLOCK: usize = 32;
/// Largest magnitude of a coded block scale or minimum.
pub const SCALE_MAX: i64 = 4095;

/// How a row's codes are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// GGUF `Q4_1`: codes 0..=15, block scales and block minima.
    Q4_1,
    /// GGUF `Q8_0`: codes -128..=127 and block scales.
    Q8_0,
    /// GGUF `F32`: codes of two limbs, up to 16256 in magnitude, and block scales.
    F32,
}

impl Kind {
    /// Bytes of one block in the file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
            Self::F32 => 4 * BLOCK,
        }
    }

    /// Largest magnitude of a code.
    pub const fn code_max(self) -> u64 {
        match self {
            Self::Q4_1 => 15,
            Self::Q8_0 => 128,
            Self::F32 => A15_MAX as u64,
        }
    }

    /// Least right shift of a block's scaled dot product.
    pub const fn shift_min(self) -> u32 {
        match self {
            Self::Q4_1 | Self::Q8_0 => 8,
            Self::F32 => 15,
        }
    }
}

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
    let blocks = bytes.chunks_exact(kind.block_bytes());
    match kind {
        Kind::Q4_1 => code_q4_1(blocks),
        Kind::Q8_0 => code_q8_0(blocks),
        Kind::F32 => code_f32(blocks),
    }
}

fn code_q4_1<'a>(blocks: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<CodedRow, NonFinite> {
    let mut codes = Vec::with_capacity(blocks.len() * BLOCK);
    let (mut steps, mut minima) = (Vec::with_capacity(blocks.len()), Vec::with_capacity(blocks.len()));
    for block in blocks {
        steps.push(Rational::from_f16([block[0], block[1]])?);
        minima.push(Rational::from_f16([block[2], block[3]])?);
        codes.extend(block[4..].iter().map(|byte| i16::from(byte & 15)));
        codes.extend(block[4..].iter().map(|byte| i16::from(byte >> 4)));
    }
    let (scales, scale_exponent) = code_scales(&steps);
    let (minima, minimum_exponent) = code_scales(&minima);
    Ok(CodedRow { codes, scales, minima, scale_exponent, minimum_exponent })
}

fn code_q8_0<'a>(blocks: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<CodedRow, NonFinite> {
    let mut codes = Vec::with_capacity(blocks.len() * BLOCK);
    let mut steps = Vec::with_capacity(blocks.len());
    for block in blocks {
        steps.push(Rational::from_f16([block[0], block[1]])?);
        codes.extend(block[2..].iter().map(|byte| i16::from(*byte as i8)));
    }
    let (scales, scale_exponent) = code_scales(&steps);
    Ok(CodedRow { codes, scales, scale_exponent, ..CodedRow::default() })
}

/// Scales relative to the row's largest, which gets 12 bits: `2048 <= max * 2^k < 4096`.
fn code_scales(values: &[Rational]) -> (Vec<i16>, i32) {
    let Some(k) = values.iter().filter(|v| v.m != 0).map(|v| 12 - v.magnitude_bits()).min() else {
        return (vec![0; values.len()], 0);
    };
    let code = |v: &Rational| v.times_exp2_rounded(k).clamp(-SCALE_MAX, SCALE_MAX) as i16;
    (values.iter().map(code).collect(), k)
}

fn code_f32<'a>(blocks: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<CodedRow, NonFinite> {
    let mut row = CodedRow::default();
    let values = blocks.flatten().copied().collect::<Vec<u8>>();
    let (words, _) = values.as_chunks::<4>();
    let values = words.iter().map(|w| Rational::from_f32(*w)).collect::<Result<Vec<_>, _>>()?;
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

/// Largest `k` with `ceil(|v| * 2^k / 16256) <= 4095`, for `v` not zero.
fn largest_exponent(v: &Rational) -> i32 {
    let limit = (A15_MAX * SCALE_MAX) as u64;
    // A 24-bit mantissa lies below the limit, so the exponent relative to it is never negative.
    let m = u64::from(v.m.unsigned_abs());
    let t = (limit / m).ilog2() as i32;
    t - v.e
}

/// A finite binary float, exactly: `m * 2^e` with `|m| < 2^24`.
#[derive(Clone, Copy, Debug)]
struct Rational {
    m: i32,
    e: i32,
}

impl Rational {
    fn from_f16(bytes: [u8; 2]) -> Result<Self, NonFinite> {
        Self::from_parts(u32::from(u16::from_le_bytes(bytes)), 10, 5)
    }

    fn from_f32(bytes: [u8; 4]) -> Result<Self, NonFinite> {
        Self::from_parts(u32::from_le_bytes(bytes), 23, 8)
    }

    /// Reads an IEEE 754 binary format of `fraction_bits` and `exponent_bits`.
    fn from_parts(bits: u32, fraction_bits: u32, exponent_bits: u32) -> Result<Self, NonFinite> {
        let fraction = (bits & ((1 << fraction_bits) - 1)) as i32;
        let exponent_max = (1 << exponent_bits) - 1;
        let exponent = ((bits >> fraction_bits) & exponent_max) as i32;
        if exponent == exponent_max as i32 {
            return Err(NonFinite);
        }
        let magnitude = if exponent == 0 { fraction } else { fraction | 1 << fraction_bits };
        let sign = if bits >> (fraction_bits + exponent_bits) & 1 == 1 { -1 } else { 1 };
        let bias = (exponent_max as i32 >> 1) + fraction_bits as i32;
        Ok(Self { m: sign * magnitude, e: exponent.max(1) - bias })
    }

    /// The integer `n` with `2^(n-1) <= |v| < 2^n`, for a value not zero.
    fn magnitude_bits(&self) -> i32 {
        bit_len(u64::from(self.m.unsigned_abs())) as i32 + self.e
    }

    /// `floor(v * 2^k + 1/2)`, where `|v| * 2^k` is below `2^38`.
    fn times_exp2_rounded(&self, k: i32) -> i64 {
        let m = i64::from(self.m);
        match self.e + k {
            shift @ 0.. => m << shift.min(38),
            shift => round_shift(m, shift.unsigned_abs().min(62)),
        }
    }

    /// `ceil(|v| * 2^k / 16256)`.
    fn limbs_needed(&self, k: i32) -> i64 {
        let m = i64::from(self.m.unsigned_abs());
        match self.e + k {
            shift @ 0.. => ((m << shift.min(26)) as u64).div_ceil(A15_MAX as u64) as i64,
            shift => (m as u64).div_ceil((A15_MAX as u64) << shift.unsigned_abs().min(40)) as i64,
        }
    }

    /// `floor(v * 2^k / scale + 1/2)`, 0 where the scale is 0.
    fn divided_rounded(&self, k: i32, scale: i64) -> i16 {
        if scale == 0 {
            return 0;
        }
        let m = i64::from(self.m);
        let (over, under) = match self.e + k {
            shift @ 0.. => (m << shift.min(26), scale),
            shift => (m, scale << shift.unsigned_abs().min(40)),
        };
        (2 * over + under).div_euclid(2 * under) as i16
    }
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
