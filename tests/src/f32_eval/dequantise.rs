//! Tensor bytes to floats, from the formats' definitions.

use gridhour_node::model::gguf::{Tensor, TensorType};

/// All weights of a tensor, row after row.
pub(super) fn dequantise(tensor: &Tensor<'_>) -> Vec<f32> {
    match tensor.ty {
        TensorType::F32 => {
            tensor.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        TensorType::Q4_1 => tensor.bytes.as_chunks().0.iter().flat_map(q4_1).collect(),
        TensorType::Q8_0 => tensor.bytes.as_chunks().0.iter().flat_map(q8_0).collect(),
    }
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
    }
}
