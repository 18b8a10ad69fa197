//! The block layouts of GGUF that numerics v1 reads.

use crate::exact::rational::Dyadic;

/// Columns of a block.
pub const BLOCK: usize = 32;

/// How a tensor of the file stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockType {
    /// 4-bit codes with a half-float scale and minimum per block: 20 bytes.
    Q4_1,
    /// Signed 8-bit codes with a half-float scale per block: 34 bytes.
    Q8_0,
    /// Single floats: 128 bytes per 32 columns.
    F32,
}

impl BlockType {
    /// Bytes of 32 columns in the file.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
            Self::F32 => 4 * BLOCK,
        }
    }

    /// The largest magnitude of a code.
    pub fn code_max(self) -> u32 {
        match self {
            Self::Q4_1 => 15,
            Self::Q8_0 => 128,
            Self::F32 => 16256,
        }
    }

    /// The least shift of a block's product: `Rmin` of the page.
    pub fn shift_min(self) -> u32 {
        if self == Self::F32 { 15 } else { 8 }
    }
}

/// One block as the file holds it; a type without minima has zero there.
pub(super) struct Block {
    pub(super) scale: Dyadic,
    pub(super) min: Dyadic,
    pub(super) codes: [i16; BLOCK],
}

/// Reads a row of Q4_1; `Err` is the index of a block whose scale or minimum is not finite.
pub(super) fn read_q4_1(row: &[u8]) -> Result<Vec<Block>, usize> {
    blocks(BlockType::Q4_1, row, |bytes| {
        let nibble = |j: usize| if j < 16 { bytes[4 + j] & 15 } else { bytes[4 + j - 16] >> 4 };
        let codes = std::array::from_fn(|j| nibble(j).into());
        Some(Block { scale: half(bytes, 0)?, min: half(bytes, 2)?, codes })
    })
}

/// Reads a row of Q8_0; `Err` is the index of a block whose scale is not finite.
pub(super) fn read_q8_0(row: &[u8]) -> Result<Vec<Block>, usize> {
    blocks(BlockType::Q8_0, row, |bytes| {
        let codes = std::array::from_fn(|j| (bytes[2 + j] as i8).into());
        Some(Block { scale: half(bytes, 0)?, min: Dyadic::ZERO, codes })
    })
}

/// Reads a row of F32; `Err` is the index of a block of 32 that holds an infinity or a NaN.
pub(super) fn read_f32(row: &[u8]) -> Result<Vec<Dyadic>, usize> {
    let word = |w: &[u8]| u32::from_le_bytes([w[0], w[1], w[2], w[3]]);
    let read = |(i, w): (usize, &[u8])| Dyadic::from_f32_bits(word(w)).ok_or(i / BLOCK);
    row.chunks_exact(4).enumerate().map(read).collect()
}

fn half(bytes: &[u8], at: usize) -> Option<Dyadic> {
    Dyadic::from_f16_bits(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn blocks(kind: BlockType, row: &[u8], read: impl Fn(&[u8]) -> Option<Block>) -> Result<Vec<Block>, usize> {
    row.chunks_exact(kind.block_bytes()).enumerate().map(|(i, bytes)| read(bytes).ok_or(i)).collect()
}
