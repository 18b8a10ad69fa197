//! Tensor types: which are served, and how many bytes a row of each takes.

use std::fmt;

/// Columns that share one scale in the block types.
pub const BLOCK_COLS: usize = 32;

/// The encodings that the engine computes with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TensorType {
    /// 32-bit little-endian floats.
    F32,
    /// Blocks of 32: f16 scale, f16 minimum, 16 bytes of 4-bit codes (column j low, column j + 16 high).
    Q4_1,
    /// Blocks of 32: f16 scale, 32 signed 8-bit codes.
    Q8_0,
}

/// Names that go into a refusal, so that the user knows which file to fetch instead.
pub(crate) const SUPPORTED: &str = "F32, Q4_1, Q8_0";

impl TensorType {
    /// The type with this number in a GGUF file, if it is served.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::F32),
            3 => Some(Self::Q4_1),
            8 => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// Bytes of one row of `cols` columns; `None` if `cols` does not fill whole blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (columns, bytes) = match self {
            Self::F32 => (1, 4),
            Self::Q4_1 => (BLOCK_COLS, 20),
            Self::Q8_0 => (BLOCK_COLS, 34),
        };
        if !cols.is_multiple_of(columns) {
            return None;
        }
        (cols / columns).checked_mul(bytes)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
        })
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
