//! Floats as the exact rationals that their bits say.

use super::{
    super::fixed::{A15_MAX, bit_len, round_shift},
    NonFinite, SCALE_MAX,
};

/// Largest `k` with `ceil(|v| * 2^k / 16256) <= 4095`, for `v` not zero.
pub(super) fn largest_exponent(v: &Rational) -> i32 {
    let limit = (A15_MAX * SCALE_MAX) as u64;
    // A 24-bit mantissa lies below the limit, so the exponent relative to it is never negative.
    let m = u64::from(v.m.unsigned_abs());
    let t = (limit / m).ilog2() as i32;
    t - v.e
}

/// A finite binary float, exactly: `m * 2^e` with `|m| < 2^24`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rational {
    pub(super) m: i32,
    pub(super) e: i32,
}

impl Rational {
    pub(super) fn from_f16(bytes: [u8; 2]) -> Result<Self, NonFinite> {
        Self::from_parts(u32::from(u16::from_le_bytes(bytes)), 10, 5)
    }

    pub(super) fn from_f32(bytes: [u8; 4]) -> Result<Self, NonFinite> {
        Self::from_parts(u32::from_le_bytes(bytes), 23, 8)
    }

    pub(super) fn from_bf16(bytes: [u8; 2]) -> Result<Self, NonFinite> {
        Self::from_parts(u32::from(u16::from_le_bytes(bytes)), 7, 8)
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

    /// This times a small integer, of a half float: its 11 bits and the factor's 8 leave room.
    pub(super) fn times(self, by: i8) -> Self {
        Self { m: self.m * i32::from(by), ..self }
    }

    /// The integer `n` with `2^(n-1) <= |v| < 2^n`, for a value not zero.
    pub(super) fn magnitude_bits(&self) -> i32 {
        bit_len(u64::from(self.m.unsigned_abs())) as i32 + self.e
    }

    /// `floor(v * 2^k + 1/2)`, where `|v| * 2^k` is below `2^38`.
    pub(super) fn times_exp2_rounded(&self, k: i32) -> i64 {
        let m = i64::from(self.m);
        match self.e + k {
            shift @ 0.. => m << shift.min(38),
            shift => round_shift(m, shift.unsigned_abs().min(62)),
        }
    }

    /// `ceil(|v| * 2^k / 16256)`.
    pub(super) fn limbs_needed(&self, k: i32) -> i64 {
        let m = i64::from(self.m.unsigned_abs());
        match self.e + k {
            shift @ 0.. => ((m << shift.min(26)) as u64).div_ceil(A15_MAX as u64) as i64,
            shift => (m as u64).div_ceil((A15_MAX as u64) << shift.unsigned_abs().min(40)) as i64,
        }
    }

    /// `floor(v * 2^k / scale + 1/2)`, 0 where the scale is 0.
    pub(super) fn divided_rounded(&self, k: i32, scale: i64) -> i16 {
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
