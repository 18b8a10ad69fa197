//! Weights to the bytes of a tensor type.

mod super_block;

use gridhour_node::model::gguf::{BLOCK_COLS, TensorType};

use self::super_block::{q4_k, q6_k};

/// The bytes of whole rows, or of a vector of F32.
///
/// # Panics
/// If a block type is asked for and the weights do not fill whole blocks.
pub fn encode_rows(ty: TensorType, weights: &[f32]) -> Vec<u8> {
    match ty {
        TensorType::F32 => weights.iter().flat_map(|weight| weight.to_le_bytes()).collect(),
        TensorType::F16 => weights.iter().flat_map(|weight| half(*weight)).collect(),
        TensorType::Bf16 => weights.iter().flat_map(|weight| upper_half(*weight)).collect(),
        TensorType::Q4_0 => by_block(weights, q4_0),
        TensorType::Q4_1 => by_block(weights, q4_1),
        TensorType::Q5_0 => by_block(weights, q5_0),
        TensorType::Q5_1 => by_block(weights, q5_1),
        TensorType::Q8_0 => by_block(weights, q8_0),
        TensorType::Q4K => by_block(weights, q4_k),
        TensorType::Q6K => by_block(weights, q6_k),
    }
}

fn by_block<const N: usize>(weights: &[f32], encode: fn(&[f32; N]) -> Vec<u8>) -> Vec<u8> {
    let (blocks, rest) = weights.as_chunks();
    assert!(rest.is_empty(), "rows are whole blocks");
    blocks.iter().flat_map(encode).collect()
}

type Block = [f32; BLOCK_COLS];

fn q4_0(block: &Block) -> Vec<u8> {
    let step = signed_step(block, 8.0);
    let codes = block.map(|weight| code(weight / step + 8.0, 15));
    [&half(step)[..], &nibbles(&codes)].concat()
}

fn q4_1(block: &Block) -> Vec<u8> {
    let (least, step) = range(block, 15.0);
    let codes = block.map(|weight| code((weight - least) / step, 15));
    [&half(step)[..], &half(least), &nibbles(&codes)].concat()
}

fn q5_0(block: &Block) -> Vec<u8> {
    let step = signed_step(block, 16.0);
    let codes = block.map(|weight| code(weight / step + 16.0, 31));
    [&half(step)[..], &fifth_bits(&codes), &nibbles(&codes)].concat()
}

fn q5_1(block: &Block) -> Vec<u8> {
    let (least, step) = range(block, 31.0);
    let codes = block.map(|weight| code((weight - least) / step, 31));
    [&half(step)[..], &half(least), &fifth_bits(&codes), &nibbles(&codes)].concat()
}

fn q8_0(block: &Block) -> Vec<u8> {
    let step = block.iter().map(|weight| weight.abs()).fold(0.0, f32::max) / 127.0;
    let code = |weight: &f32| ((weight / step).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
    let mut bytes = half(step).to_vec();
    bytes.extend(block.iter().map(code));
    bytes
}

/// The step with which the weight of the largest magnitude has the code `-most`: negative where it is positive.
fn signed_step(block: &[f32], most: f32) -> f32 {
    let largest = block.iter().copied().fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a });
    largest / -most
}

/// The least weight, and the step that reaches the largest in `steps`.
fn range(block: &[f32], steps: f32) -> (f32, f32) {
    let least = block.iter().copied().fold(f32::INFINITY, f32::min);
    let most = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (least, (most - least) / steps)
}

fn code(value: f32, most: u8) -> u8 {
    value.round().clamp(0.0, most.into()) as u8
}

/// The low four bits of 32 codes: the first sixteen in the low halves.
fn nibbles(codes: &[u8; BLOCK_COLS]) -> Vec<u8> {
    let (low, high) = codes.split_at(BLOCK_COLS / 2);
    low.iter().zip(high).map(|(low, high)| low & 15 | (high & 15) << 4).collect()
}

fn fifth_bits(codes: &[u8; BLOCK_COLS]) -> [u8; 4] {
    let bits = codes.iter().zip(0..).map(|(code, at)| u32::from(code >> 4) << at);
    bits.sum::<u32>().to_le_bytes()
}

fn half(value: f32) -> [u8; 2] {
    half_bits(value).to_le_bytes()
}

/// The upper half of a single float, toward zero.
fn upper_half(value: f32) -> [u8; 2] {
    let [.., low, high] = value.to_le_bytes();
    [low, high]
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
