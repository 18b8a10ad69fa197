//! Blocks of 32 columns: a half-float scale, in some types a half-float minimum, the fifth bits of the codes,
//! and the codes.

use super::{BLOCK, BlockType, Blocks, half};
use crate::exact::rational::Dyadic;

/// Reads one block.
pub(super) fn block(kind: BlockType, bytes: &[u8], out: &mut Blocks) -> Option<()> {
    let scale = half(bytes, 0)?;
    let (min, at) = if kind.has_minima() { (half(bytes, 2)?, 4) } else { (Dyadic::ZERO, 2) };
    let rest = &bytes[at..];
    let code = |j: usize| match kind {
        BlockType::Q4_0 => nibble(rest, j) - 8,
        BlockType::Q4_1 => nibble(rest, j),
        BlockType::Q5_0 => nibble(&rest[4..], j) + fifth_bit(rest, j) - 16,
        BlockType::Q5_1 => nibble(&rest[4..], j) + fifth_bit(rest, j),
        _ => (rest[j] as i8).into(),
    };
    out.push(scale, min, (0..BLOCK).map(code));
    Some(())
}

/// Columns 0 to 15 are the low halves of the bytes, 16 to 31 the high halves.
fn nibble(bytes: &[u8], j: usize) -> i16 {
    let code = if j < 16 { bytes[j] & 15 } else { bytes[j - 16] >> 4 };
    code.into()
}

/// Bit `j` of four bytes, worth 16.
fn fifth_bit(bytes: &[u8], j: usize) -> i16 {
    i16::from(bytes[j / 8] >> (j % 8) & 1) << 4
}
