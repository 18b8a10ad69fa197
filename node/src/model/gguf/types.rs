//! Tensor types: which are served, and how many bytes a row of each takes.

use std::fmt;

/// Columns that share one scale in most types.
pub const BLOCK_COLS: usize = 32;
/// Columns of a super-block of the K types.
pub const SUPER_COLS: usize = 256;

/// The encodings that the engine computes with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TensorType {
    /// 32-bit little-endian floats.
    F32,
    /// 16-bit little-endian floats, IEEE 754.
    F16,
    /// Blocks of 32: f16 scale, 16 bytes of 4-bit codes (column j low, column j + 16 high), 8 taken off each.
    Q4_0,
    /// Blocks of 32: f16 scale, f16 minimum, 16 bytes of 4-bit codes (column j low, column j + 16 high).
    Q4_1,
    /// Blocks of 32: f16 scale, 32 fifth bits, 16 bytes of 4-bit codes, 16 taken off each.
    Q5_0,
    /// Blocks of 32: f16 scale, f16 minimum, 32 fifth bits, 16 bytes of 4-bit codes.
    Q5_1,
    /// Blocks of 32: f16 scale, 32 signed 8-bit codes.
    Q8_0,
    /// Super-blocks of 256: f16 units of scales and minima, 6-bit scales and minima of 8 blocks, 4-bit codes.
    Q4K,
    /// Super-blocks of 256: 6-bit codes, 8-bit scales of 16 blocks, their f16 unit.
    Q6K,
    /// The upper halves of 32-bit floats.
    Bf16,
}

/// Names that go into a refusal, so that the user knows which file to fetch instead.
pub(crate) const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q6_K";

impl TensorType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q6K,
        Self::Bf16,
    ];

    /// The type's number in a GGUF file.
    pub const fn code(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    /// The type with this number in a GGUF file, if it is served.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| u32::from(ty.code()) == code)
    }

    /// Columns that the file stores together.
    pub const fn group_cols(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4K | Self::Q6K => SUPER_COLS,
            _ => BLOCK_COLS,
        }
    }

    /// Bytes of those columns.
    const fn group_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q6K => 210,
        }
    }

    /// Bytes of one row of `cols` columns; `None` if `cols` does not fill whole blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.group_cols()) {
            return None;
        }
        (cols / self.group_cols()).checked_mul(self.group_bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&type_name(self.code().into()))
    }
}

/// The name that users know a type number by, for refusals.
pub(crate) fn type_name(code: u32) -> String {
    const NAMES: [(u32, &str); 33] = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (6, "Q5_0"),
        (7, "Q5_1"),
        (8, "Q8_0"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (12, "Q4_K"),
        (13, "Q5_K"),
        (14, "Q6_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (30, "BF16"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (39, "MXFP4"),
        (40, "NVFP4"),
    ];
    match NAMES.iter().find(|(number, _)| *number == code) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("number {code}, which no known version defines"),
    }
}
