//! One weight row as the arithmetic sees it, and its digest.

use super::tree::Digest;

const ROW_CONTEXT: &str = "gridhour weight row v1";

/// How a row's weights are coded (NUMERICS, section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RowType {
    /// Two-limb codes of 32-bit floats.
    F32,
    /// 4-bit codes with block scales and minima.
    Q4_1,
    /// 8-bit codes with block scales.
    Q8_0,
}

impl RowType {
    /// The number that encodings use: that of the GGUF format.
    pub fn code(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::Q4_1 => 3,
            Self::Q8_0 => 8,
        }
    }

    /// The type with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::F32, Self::Q4_1, Self::Q8_0].into_iter().find(|ty| ty.code() == code)
    }
}

/// The codes of a row, in column order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowCodes<'a> {
    /// Two-limb codes, one a column.
    F32(&'a [i16]),
    /// Byte j of a row is column 2j in the low half, column 2j + 1 in the high half.
    Q4_1(&'a [u8]),
    /// One code a column.
    Q8_0(&'a [i8]),
}

impl RowCodes<'_> {
    /// The type that has such codes.
    pub fn ty(&self) -> RowType {
        match self {
            Self::F32(_) => RowType::F32,
            Self::Q4_1(_) => RowType::Q4_1,
            Self::Q8_0(_) => RowType::Q8_0,
        }
    }

    /// Columns of the row.
    pub fn cols(&self) -> usize {
        match self {
            Self::F32(codes) => codes.len(),
            Self::Q4_1(codes) => codes.len() * 2,
            Self::Q8_0(codes) => codes.len(),
        }
    }
}

/// One row of a matrix: codes, block scales and their exponents (NUMERICS, section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeightRow<'a> {
    /// Exponent of the scales.
    pub kd: i16,
    /// Exponent of the minima; 0 for types without minima.
    pub km: i16,
    /// One scale per block of 32 columns, before parts too small to be seen are set to zero.
    pub scales: &'a [i16],
    /// One minimum per block, likewise; empty for types without minima.
    pub mins: &'a [i16],
    /// The codes.
    pub codes: RowCodes<'a>,
}

impl WeightRow<'_> {
    /// The row's leaf in its tensor's tree: blake3 in derivation mode over, little-endian and without gaps,
    /// type (u8), columns (u32), kd (i16), km (i16), scales (i16 each), minima (i16 each), codes.
    pub fn leaf(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(ROW_CONTEXT);
        let cols = u32::try_from(self.codes.cols()).unwrap_or(u32::MAX);
        hasher.update(&[self.codes.ty().code()]).update(&cols.to_le_bytes());
        hasher.update(&self.kd.to_le_bytes()).update(&self.km.to_le_bytes());
        update_i16(&mut hasher, self.scales);
        update_i16(&mut hasher, self.mins);
        match self.codes {
            RowCodes::F32(codes) => update_i16(&mut hasher, codes),
            RowCodes::Q4_1(codes) => drop(hasher.update(codes)),
            RowCodes::Q8_0(codes) => codes.chunks(CHUNK).for_each(|part| {
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

    const BASE: WeightRow<'static> =
        WeightRow { kd: 9, km: -3, scales: &[100, -7], mins: &[5, 6], codes: RowCodes::Q4_1(&[0x21; 32]) };

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
            WeightRow { kd: 8, ..BASE },
            WeightRow { km: 3, ..BASE },
            WeightRow { scales: &[100, -6], ..BASE },
            WeightRow { mins: &[4, 6], ..BASE },
            WeightRow { codes: RowCodes::Q4_1(&[0x12; 32]), ..BASE },
            WeightRow { codes: RowCodes::Q8_0(&[0x21; 32]), ..BASE },
            WeightRow { codes: RowCodes::F32(&[0x2121; 16]), ..BASE },
        ];
        let mut leaves = rows.map(|row| row.leaf()).to_vec();
        leaves.sort_unstable();
        leaves.dedup();
        assert_eq!(leaves.len(), rows.len());
    }
}
