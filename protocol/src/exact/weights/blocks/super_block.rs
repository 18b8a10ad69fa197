//! Super-blocks of 256 columns, whose blocks have small integers as scales, in a half-float unit.

use super::{BLOCK, Blocks, SUPER_BLOCK, half};
use crate::exact::rational::Dyadic;

/// Reads a super-block of Q4_K: units of scales and minima, twelve bytes of 6-bit scales and minima, codes.
pub(super) fn q4_k(bytes: &[u8], out: &mut Blocks) -> Option<()> {
    let (scale_unit, min_unit) = (half(bytes, 0)?, half(bytes, 2)?);
    let (packed, codes) = bytes[4..].split_at(12);
    for block in 0..SUPER_BLOCK / BLOCK {
        let (scale, min) = six_bits(packed, block);
        // Two blocks share 32 bytes: the first has the low halves, the second the high halves.
        let bytes = codes[block / 2 * BLOCK..][..BLOCK].iter();
        let codes = bytes.map(|byte| i16::from(byte >> (4 * (block % 2)) & 15));
        out.push(scale_unit.times(scale), min_unit.times(-min), codes);
    }
    Some(())
}

/// Scale and minimum of a block. The first four are the low six bits of their bytes; the last four have four
/// bits in the last bytes, and their two highest in the bytes of the first four.
fn six_bits(packed: &[u8], block: usize) -> (i32, i32) {
    let byte = |at: usize| i32::from(packed[at]);
    if block < 4 {
        return (byte(block) & 63, byte(block + 4) & 63);
    }
    let low = byte(block + 4);
    (low & 15 | byte(block - 4) >> 6 << 4, low >> 4 | byte(block) >> 6 << 4)
}

/// Reads a super-block of Q6_K: low halves and high quarters of the codes, signed scales, their unit.
pub(super) fn q6_k(bytes: &[u8], out: &mut Blocks) -> Option<()> {
    let (low, rest) = bytes.split_at(128);
    let (high, scales) = rest.split_at(64);
    let unit = half(bytes, 208)?;
    for block in 0..16 {
        let code = |column: usize| six_bit_code(low, high, 16 * block + column);
        out.push(unit.times((scales[block] as i8).into()), Dyadic::ZERO, (0..16).map(code));
    }
    Some(())
}

/// Each half of 128 columns has 64 bytes of low halves and 32 of high quarters: the quarters of the half, 32
/// columns each, take in turn the low four bits of the first and of the second 32 bytes, then the high four.
fn six_bit_code(low: &[u8], high: &[u8], column: usize) -> i16 {
    let (half, quarter, at) = (column / 128, column % 128 / 32, column % 32);
    let low = low[64 * half + 32 * (quarter % 2) + at] >> (4 * (quarter / 2)) & 15;
    let high = high[32 * half + at] >> (2 * quarter) & 3;
    i16::from(low | high << 4) - 32
}
