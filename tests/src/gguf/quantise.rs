//! Weights to the bytes of a tensor type.

use gridhour_node::model::gguf::{BLOCK_COLS, TensorType};

/// The bytes of whole rows, or of a vector of F32.
///
/// # Panics
/// If a block type is asked for and the weights do not fill whole blocks.
pub(super) fn encode_rows(ty: TensorType, weights: &[f32]) -> Vec<u8> {
    if ty == TensorType::F32 {
        return weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    }
    let (blocks, rest) = weights.as_chunks::<BLOCK_COLS>();
    assert!(rest.is_empty(), "rows are whole blocks");
    let encode = if ty == TensorType::Q4_1 { q4_1 } else { q8_0 };
    blocks.iter().flat_map(encode).collect()
}

fn q4_1(block: &[f32; BLOCK_COLS]) -> Vec<u8> {
    let least = block.iter().copied().fold(f32::INFINITY, f32::min);
    let most = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = (most - least) / 15.0;
    let code = |weight: f32| ((weight - least) / step).round().clamp(0.0, 15.0) as u8;
    let mut bytes = [half_bits(step).to_le_bytes(), half_bits(least).to_le_bytes()].concat();
    let (low, high) = block.split_at(BLOCK_COLS / 2);
    bytes.extend(low.iter().zip(high).map(|(low, high)| code(*low) | code(*high) << 4));
    bytes
}

fn q8_0(block: &[f32; BLOCK_COLS]) -> Vec<u8> {
    let step = block.iter().map(|weight| weight.abs()).fold(0.0, f32::max) / 127.0;
    let code = |weight: &f32| ((weight / step).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
    let mut bytes = half_bits(step).to_le_bytes().to_vec();
    bytes.extend(block.iter().map(code));
    bytes
}

/// The bits of a 16-bit float near `value`, toward zero; below the normal range, zero; above it, the largest.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    let mantissa = (bits >> 13) as u16 & 0x3ff;
    match exponent {
        ..=0 => sign,
        1..=30 => sign | (exponent as u16) << 10 | mantissa,
        _ => sign | 0x7bff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_known_bits() {
        let cases =
            [(1.0, 0x3c00), (-2.5, 0xc100), (65504.0, 0x7bff), (0.0, 0), (0.1, 0x2e66), (1e9, 0x7bff)];
        cases.iter().for_each(|(value, bits)| assert_eq!(half_bits(*value), *bits, "{value}"));
    }
}
