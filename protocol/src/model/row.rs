//! One weight row as the arithmetic sees it, and its digest.

use super::tree::Digest;

const ROW_CONTEXT: &str = "gridhour weight row v1";

/// How a row's weights are coded (NUMERICS, section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RowType {
    /// Two-limb codes of 32-bit floats.
    F32,
    /// Two-limb codes of 16-bit floats.
    F16,
    /// 4-bit codes, less 8, with block scales.
    Q4_0,
    /// 4-bit codes with block scales and minima.
    Q4_1,
    /// 5-bit codes, less 16, with block scales.
    Q5_0,
    /// 5-bit codes with block scales and minima.
    Q5_1,
    /// 8-bit codes with block scales.
    Q8_0,
    /// 4-bit codes with block scales and minima, in super-blocks.
    Q4K,
    /// 6-bit codes, less 32, with a scale every 16 columns, in super-blocks.
    Q6K,
    /// Two-limb codes of the upper halves of 32-bit floats.
    Bf16,
}

impl RowType {
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

    /// The number that encodings use: that of the GGUF format.
    pub fn code(self) -> u8 {
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

    /// The type with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.code() == code)
    }

    /// Columns that share one scale.
    pub fn block(self) -> usize {
        if self == Self::Q6K { 16 } else { 32 }
    }

    /// Whether blocks have a minimum beside their scale.
    pub fn has_minima(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4K)
    }
}

/// The codes of a row, in column order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowCodes<'a> {
    /// Of the floats: two-limb codes, one a column.
    Words(&'a [i16]),
    /// Of the 4-bit types: byte j of a row is column 2j in the low half, column 2j + 1 in the high half, each as
    /// the file has it, from 0 to 15.
    Nibbles(&'a [u8]),
    /// Of the others: one code a column.
    Bytes(&'a [i8]),
}

impl RowCodes<'_> {
    /// Whether codes of this form are those of `ty`.
    fn are_of(&self, ty: RowType) -> bool {
        match ty {
            RowType::F32 | RowType::F16 | RowType::Bf16 => matches!(self, Self::Words(_)),
            RowType::Q4_0 | RowType::Q4_1 | RowType::Q4K => matches!(self, Self::Nibbles(_)),
            RowType::Q5_0 | RowType::Q5_1 | RowType::Q8_0 | RowType::Q6K => matches!(self, Self::Bytes(_)),
        }
    }

    /// Columns of the row.
    pub fn cols(&self) -> usize {
        match self {
            Self::Words(codes) => codes.len(),
            Self::Nibbles(codes) => codes.len() * 2,
            Self::Bytes(codes) => codes.len(),
        }
    }
}

/// One row of a matrix: codes, block scales and their exponents (NUMERICS, section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeightRow<'a> {
    /// How it is coded.
    pub ty: RowType,
    /// Exponent of the scales.
    pub kd: i16,
    /// Exponent of the minima; 0 for types without minima.
    pub km: i16,
    /// One scale per block, before parts too small to be seen are set to zero.
    pub scales: &'a [i16],
    /// One minimum per block, likewise; empty for types without minima.
    pub mins: &'a [i16],
    /// The codes.
    pub codes: RowCodes<'a>,
}

impl WeightRow<'_> {
    /// Whether this is a row of `cols` columns of type `ty`, with as many scales and minima as that takes: what
    /// its leaf alone does not show.
    pub fn has_shape(&self, ty: RowType, cols: usize) -> bool {
        let blocks = cols.div_ceil(ty.block());
        let minima = if ty.has_minima() { blocks } else { 0 };
        self.ty == ty
            && self.codes.are_of(ty)
            && (self.codes.cols(), self.scales.len(), self.mins.len()) == (cols, blocks, minima)
    }

    /// The row's leaf in its tensor's tree: blake3 in derivation mode over, little-endian and without gaps,
    /// type (u8), columns (u32), kd (i16), km (i16), scales (i16 each), minima (i16 each), codes.
    pub fn leaf(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(ROW_CONTEXT);
        let cols = u32::try_from(self.codes.cols()).unwrap_or(u32::MAX);
        hasher.update(&[self.ty.code()]).update(&cols.to_le_bytes());
        hasher.update(&self.kd.to_le_bytes()).update(&self.km.to_le_bytes());
        update_i16(&mut hasher, self.scales);
        update_i16(&mut hasher, self.mins);
        match self.codes {
            RowCodes::Words(codes) => update_i16(&mut hasher, codes),
            RowCodes::Nibbles(codes) => drop(hasher.update(codes)),
            RowCodes::Bytes(codes) => codes.chunks(CHUNK).for_each(|part| {
                let bytes: Vec<u8> = part.iter().map(|code| code.cast_unsigned()).collect();
                hasher.update(&bytes);
            }),
        }
        *hasher.finalize().as_bytes()
    }
}

/// Values hashed at a time: one buffer of a page or two, whatever the row's length.
const CHUNK: usize = 4_096;

fn update_i16(hasher: &mut blake3::Hasher, values: &[i16]) {
    for part in values.chunks(CHUNK) {
        let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: WeightRow<'static> = WeightRow {
        ty: RowType::Q4_1,
        kd: 9,
        km: -3,
        scales: &[100, -7],
        mins: &[5, 6],
        codes: RowCodes::Nibbles(&[0x21; 32]),
    };

    #[test]
    fn leaf_bytes_are_as_documented() {
        let mut bytes = vec![3, 64, 0, 0, 0, 9, 0, 0xfd, 0xff, 100, 0, 0xf9, 0xff, 5, 0, 6, 0];
        bytes.extend([0x21; 32]);
        assert_eq!(BASE.leaf(), blake3::derive_key("gridhour weight row v1", &bytes));
    }

    #[test]
    fn every_field_reaches_the_leaf() {
        let rows = [
            BASE,
            WeightRow { ty: RowType::Q4K, ..BASE },
            WeightRow { kd: 8, ..BASE },
            WeightRow { km: 3, ..BASE },
            WeightRow { scales: &[100, -6], ..BASE },
            WeightRow { mins: &[4, 6], ..BASE },
            WeightRow { codes: RowCodes::Nibbles(&[0x12; 32]), ..BASE },
            WeightRow { codes: RowCodes::Bytes(&[0x21; 32]), ..BASE },
            WeightRow { codes: RowCodes::Words(&[0x2121; 16]), ..BASE },
        ];
        let mut leaves = rows.map(|row| row.leaf()).to_vec();
        leaves.sort_unstable();
        leaves.dedup();
        assert_eq!(leaves.len(), rows.len());
    }

    #[test]
    fn every_type_has_one_number() {
        assert!(RowType::ALL.is_sorted_by(|a, b| a.code() < b.code()));
        assert!((0..=u8::MAX).all(|code| RowType::from_code(code).is_none_or(|ty| ty.code() == code)));
    }

    /// The last row has the bytes, and so the leaf, of the first.
    #[test]
    fn rows_of_another_shape_are_told_apart_from_those_of_the_same_leaf() {
        assert!(BASE.has_shape(RowType::Q4_1, 64));
        let shifted = WeightRow { scales: &[100, -7, 5, 6], mins: &[], ..BASE };
        assert_eq!(shifted.leaf(), BASE.leaf());
        let others = [
            WeightRow { ty: RowType::Q4K, ..BASE },
            WeightRow { codes: RowCodes::Bytes(&[0x21; 64]), ..BASE },
            WeightRow { codes: RowCodes::Nibbles(&[0x21; 16]), ..BASE },
            WeightRow { mins: &[], ..BASE },
            shifted,
        ];
        assert!(others.iter().all(|row| !row.has_shape(RowType::Q4_1, 64)));
        let q6_k = WeightRow {
            ty: RowType::Q6K,
            scales: &[1; 16],
            mins: &[],
            codes: RowCodes::Bytes(&[0; 256]),
            ..BASE
        };
        assert!(q6_k.has_shape(RowType::Q6K, 256));
    }
}
