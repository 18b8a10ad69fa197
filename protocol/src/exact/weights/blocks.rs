//! The block layouts of GGUF that numerics v1 reads.

mod plain;
mod super_block;

use crate::exact::rational::Dyadic;

/// Columns of a block of activations, and of weights but for Q6_K.
pub const BLOCK: usize = 32;

/// Columns of a super-block of Q4_K and Q6_K.
pub const SUPER_BLOCK: usize = 256;

/// How a tensor of the file stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockType {
    /// 4-bit codes with a half-float scale and minimum per block: 20 bytes.
    Q4_1,
    /// Signed 8-bit codes with a half-float scale per block: 34 bytes.
    Q8_0,
    /// Single floats: 128 bytes per 32 columns.
    F32,
    /// Half floats: 64 bytes per 32 columns.
    F16,
    /// The upper halves of single floats: 64 bytes per 32 columns.
    Bf16,
    /// 4-bit codes, less 8, with a half-float scale per block: 18 bytes.
    Q4_0,
    /// 5-bit codes, less 16, with a half-float scale per block: 22 bytes.
    Q5_0,
    /// 5-bit codes with a half-float scale and minimum per block: 24 bytes.
    Q5_1,
    /// Super-blocks of 256 columns: 4-bit codes in 8 blocks, whose 6-bit scales and minima have a half-float
    /// unit each: 144 bytes.
    Q4K,
    /// Super-blocks of 256 columns: 6-bit codes, less 32, in 16 blocks, whose 8-bit scales have a half-float
    /// unit: 210 bytes.
    Q6K,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::Q4_1,
        Self::Q8_0,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q6K,
    ];

    /// Columns that the file stores together, of which a row is a whole number.
    pub fn group_columns(self) -> usize {
        match self {
            Self::Q4K | Self::Q6K => SUPER_BLOCK,
            _ => BLOCK,
        }
    }

    /// Bytes of those columns in the file.
    pub fn group_bytes(self) -> usize {
        match self {
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
            Self::F32 => 4 * BLOCK,
            Self::F16 | Self::Bf16 => 2 * BLOCK,
            Self::Q4_0 => 18,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q6K => 210,
        }
    }

    /// Columns of a block, which share one scale.
    pub fn block(self) -> usize {
        if self == Self::Q6K { BLOCK / 2 } else { BLOCK }
    }

    /// Whether blocks have a minimum beside their scale.
    pub fn has_minima(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4K)
    }

    /// Whether weights are floats, which are coded in two limbs.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The largest magnitude of a code: `qmax` of the page.
    pub fn code_max(self) -> u32 {
        match self {
            Self::Q4_1 | Self::Q4K => 15,
            Self::Q8_0 => 128,
            Self::F32 | Self::F16 | Self::Bf16 => 16256,
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q5_1 => 31,
            Self::Q6K => 32,
        }
    }

    /// The least shift of a block's product: `Rmin` of the page.
    pub fn shift_min(self) -> u32 {
        if self.is_float() { 15 } else { 8 }
    }
}

/// The blocks of a row as the file holds them; a type without minima has zeros there.
#[derive(Default)]
pub(super) struct Blocks {
    pub(super) scales: Vec<Dyadic>,
    pub(super) mins: Vec<Dyadic>,
    pub(super) codes: Vec<i16>,
}

impl Blocks {
    fn push(&mut self, scale: Dyadic, min: Dyadic, codes: impl IntoIterator<Item = i16>) {
        self.scales.push(scale);
        self.mins.push(min);
        self.codes.extend(codes);
    }
}

/// Reads a row of a quantised type; `Err` is the index of a block whose scale or minimum is not finite, the
/// first of its super-block.
pub(super) fn read_blocks(kind: BlockType, row: &[u8]) -> Result<Blocks, usize> {
    let mut blocks = Blocks::default();
    for group in row.chunks_exact(kind.group_bytes()) {
        let at = blocks.scales.len();
        let read = match kind {
            BlockType::Q4K => super_block::q4_k(group, &mut blocks),
            BlockType::Q6K => super_block::q6_k(group, &mut blocks),
            _ => plain::block(kind, group, &mut blocks),
        };
        read.ok_or(at)?;
    }
    Ok(blocks)
}

/// Reads a row of floats; `Err` is the index of a block of 32 that holds an infinity or a NaN.
pub(super) fn read_floats(kind: BlockType, row: &[u8]) -> Result<Vec<Dyadic>, usize> {
    let half = |w: &[u8]| u16::from_le_bytes([w[0], w[1]]);
    let (bytes, float): (usize, fn(&[u8], u16) -> Option<Dyadic>) = match kind {
        BlockType::F16 => (2, |_, bits| Dyadic::from_f16_bits(bits)),
        BlockType::Bf16 => (2, |_, bits| Dyadic::from_f32_bits(u32::from(bits) << 16)),
        _ => (4, |w, _| Dyadic::from_f32_bits(u32::from_le_bytes([w[0], w[1], w[2], w[3]]))),
    };
    let read = |(i, w): (usize, &[u8])| float(w, half(w)).ok_or(i / BLOCK);
    row.chunks_exact(bytes).enumerate().map(read).collect()
}

fn half(bytes: &[u8], at: usize) -> Option<Dyadic> {
    Dyadic::from_f16_bits(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
