//! Tensor bytes to floats, from the formats' definitions.

use gridhour_node::model::gguf::{Tensor, TensorType};

/// All weights of a tensor, row after row.
pub fn dequantise(tensor: &Tensor<'_>) -> Vec<f32> {
    let bytes = tensor.bytes;
    match tensor.ty {
        TensorType::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        TensorType::F16 => bytes.as_chunks().0.iter().map(|bytes| half(*bytes)).collect(),
        TensorType::Bf16 => {
            bytes.as_chunks().0.iter().map(|[low, high]| f32::from_le_bytes([0, 0, *low, *high])).collect()
        }
        TensorType::Q4_0 => bytes.as_chunks().0.iter().flat_map(q4_0).collect(),
        TensorType::Q4_1 => bytes.as_chunks().0.iter().flat_map(q4_1).collect(),
        TensorType::Q5_0 => bytes.as_chunks().0.iter().flat_map(q5_0).collect(),
        TensorType::Q5_1 => bytes.as_chunks().0.iter().flat_map(q5_1).collect(),
        TensorType::Q8_0 => bytes.as_chunks().0.iter().flat_map(q8_0).collect(),
        TensorType::Q4K => bytes.as_chunks().0.iter().flat_map(q4_k).collect(),
        TensorType::Q6K => bytes.as_chunks().0.iter().flat_map(q6_k).collect(),
    }
}

/// Code less 8, times step.
fn q4_0(block: &[u8; 18]) -> [f32; 32] {
    let step = half([block[0], block[1]]);
    std::array::from_fn(|column| (nibble(&block[2..], column) - 8.0) * step)
}

/// Code less 16, times step; the codes' fifth bits stand before the others.
fn q5_0(block: &[u8; 22]) -> [f32; 32] {
    let step = half([block[0], block[1]]);
    std::array::from_fn(|column| (nibble(&block[6..], column) + fifth(&block[2..6], column) - 16.0) * step)
}

/// Code times step plus least value.
fn q5_1(block: &[u8; 24]) -> [f32; 32] {
    let (step, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    std::array::from_fn(|column| (nibble(&block[8..], column) + fifth(&block[4..8], column)) * step + least)
}

/// Columns 0..16 in the low halves, 16..32 in the high halves.
fn nibble(bytes: &[u8], column: usize) -> f32 {
    let byte = bytes[column % 16];
    f32::from(if column < 16 { byte & 15 } else { byte >> 4 })
}

fn fifth(bytes: &[u8], column: usize) -> f32 {
    if bytes[column / 8] >> (column % 8) & 1 == 1 { 16.0 } else { 0.0 }
}

/// Eight blocks of 32: code times scale and unit, less minimum times its unit. Scales and minima have six bits:
/// the first four in bytes 4 to 7 and 8 to 11, the last four in the halves of bytes 12 to 15 and the two bits
/// that the others leave.
fn q4_k(bytes: &[u8; 144]) -> [f32; 256] {
    let (unit, least_unit) = (half([bytes[0], bytes[1]]), half([bytes[2], bytes[3]]));
    let number = |from: usize, block: usize| match block {
        0..4 => bytes[from + block] & 63,
        _ if from == 4 => bytes[8 + block] & 15 | bytes[block] >> 6 << 4,
        _ => bytes[8 + block] >> 4 | bytes[4 + block] >> 6 << 4,
    };
    std::array::from_fn(|column| {
        let block = column / 32;
        let code = bytes[16 + column / 64 * 32 + column % 32] >> (4 * (block % 2)) & 15;
        let (scale, least) = (number(4, block), number(8, block));
        f32::from(code) * (unit * f32::from(scale)) - least_unit * f32::from(least)
    })
}

/// Sixteen blocks of 16: code less 32, times signed scale and unit. In each half of 128 columns, 64 bytes hold
/// low halves (columns 0..64, then 64..128 in the high halves) and 32 bytes hold four columns' upper two bits.
fn q6_k(bytes: &[u8; 210]) -> [f32; 256] {
    let unit = half([bytes[208], bytes[209]]);
    std::array::from_fn(|column| {
        let (part, within) = (column / 128, column % 128);
        let low = bytes[64 * part + within % 64] >> (within / 64 * 4) & 15;
        let high = bytes[128 + 32 * part + within % 32] >> (within / 32 * 2) & 3;
        let scale = bytes[192 + column / 16].cast_signed();
        (f32::from(low | high << 4) - 32.0) * (unit * f32::from(scale))
    })
}

/// Code times step plus least value; columns 0..16 in the low halves, 16..32 in the high halves.
fn q4_1(block: &[u8; 20]) -> [f32; 32] {
    let step = half([block[0], block[1]]);
    let least = half([block[2], block[3]]);
    std::array::from_fn(|column| {
        let byte = block[4 + column % 16];
        let code = if column < 16 { byte & 15 } else { byte >> 4 };
        f32::from(code) * step + least
    })
}

/// Signed code times step.
fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let step = half([block[0], block[1]]);
    std::array::from_fn(|column| f32::from(block[2 + column].cast_signed()) * step)
}

/// A 16-bit float: 1 sign, 5 exponent and 10 mantissa bits.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bytes);
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let mantissa = f32::from(bits & 0x3ff);
    match i32::from(bits >> 10 & 31) {
        0 => sign * mantissa * (-24f32).exp2(),
        31 if mantissa == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        exponent => sign * (1024.0 + mantissa) * ((exponent - 25) as f32).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_known_values() {
        let cases = [
            (0x3c00u16, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (1, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
        ];
        cases.iter().for_each(|(bits, value)| assert_eq!(half(bits.to_le_bytes()), *value));
        assert_eq!(half(0xfc00u16.to_le_bytes()), f32::NEG_INFINITY);
        assert!(half(0x7c01u16.to_le_bytes()).is_nan());
    }

    #[test]
    fn blocks_hold_their_columns_in_order() {
        let mut block = [0; 20];
        block[..4].copy_from_slice(&[0, 0x3c, 0, 0xc0]);
        block[4..].copy_from_slice(&std::array::from_fn::<u8, 16, _>(|j| j as u8 | (15 - j as u8) << 4));
        let weights = q4_1(&block);
        assert_eq!(weights[..3], [-2.0, -1.0, 0.0]);
        assert_eq!(weights[15..18], [13.0, 13.0, 12.0]);
        let mut block = [0; 34];
        block[..4].copy_from_slice(&[0, 0x38, 254, 3]);
        assert_eq!(q8_0(&block)[..3], [-1.0, 1.5, 0.0]);
        let mut block = [0; 18];
        block[..4].copy_from_slice(&[0, 0x3c, 0x09, 0xf8]);
        let weights = q4_0(&block);
        assert_eq!((weights[0], weights[1], weights[16], weights[17]), (1.0, 0.0, -8.0, 7.0));
        let mut block = [0; 22];
        block[..7].copy_from_slice(&[0, 0x3c, 0x01, 0, 0x01, 0, 0x21]);
        let weights = q5_0(&block);
        assert_eq!((weights[0], weights[1], weights[16]), (1.0, -16.0, 2.0));
    }

    /// Numbers worked out by hand from the description of the format.
    #[test]
    fn super_blocks_hold_their_columns_in_order() {
        let mut bytes = [0; 144];
        bytes[..4].copy_from_slice(&[0, 0x3c, 0, 0x38]); // units 1 and 0.5
        bytes[4] = 3 | 2 << 6; // scale of block 0; upper bits of block 4's
        bytes[8] = 4 | 1 << 6; // minimum of block 0; upper bits of block 4's
        bytes[12] = 5 | 6 << 4; // lower bits of block 4's scale and minimum
        bytes[16] = 7 | 9 << 4; // columns 0 and 32
        bytes[16 + 64] = 2; // column 128, of block 4
        let weights = q4_k(&bytes);
        assert_eq!((weights[0], weights[1], weights[32]), (7.0 * 3.0 - 2.0, -2.0, 0.0));
        assert_eq!((weights[128], weights[129]), (2.0 * 37.0 - 11.0, -11.0));
        let mut bytes = [0; 210];
        bytes[208..].copy_from_slice(&[0, 0x3c]);
        bytes[192..208].copy_from_slice(&std::array::from_fn::<u8, 16, _>(|i| i as u8 + 1));
        (bytes[0], bytes[128]) = (5 | 6 << 4, 0b1110_0100);
        let weights = q6_k(&bytes);
        assert_eq!(
            (weights[0], weights[32], weights[64], weights[96]),
            (-27.0, -16.0 * 3.0, 6.0 * 5.0, 16.0 * 7.0)
        );
        bytes[207] = 0xff;
        assert_eq!(q6_k(&bytes)[255], 32.0);
    }
}
