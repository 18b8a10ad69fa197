//! The weights of the standard model: each tensor a function of the seed and its name, made alone.
//!
//! A tensor's bytes are the output stream of BLAKE3 in its key derivation mode, over seed and name, with the
//! exponents of its floats put right: a matrix is rows of Q8_0 blocks (a half-precision step and 32 bytes), a
//! norm is single floats. A step lies between `2^k` and `2^(k+1)`, where k follows from the columns such that
//! a product is about as large as what goes in; so the residual stream neither fades nor overflows, every
//! layer adds its share, and logits spread by two or three nats. A norm's weights lie between 0.5 and 2.

use super::shape::StandardShape;

const CONTEXT: &str = "gridhour standard tensor v1";
/// Weights of a block.
const BLOCK: usize = 32;
/// Bytes of a block: its step and its codes.
const BLOCK_BYTES: usize = BLOCK + 2;
/// Bits of a half-precision fraction.
const FRACTION_BITS: u32 = 10;
/// Exponent bias of half precision; also the least normal exponent is 1 less this.
const BIAS: u32 = 15;

/// What the numbers of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorForm {
    /// Q8_0 blocks.
    Matrix,
    /// Single floats.
    Norm,
}

/// A tensor of the standard model.
#[derive(Clone, Debug)]
pub struct StandardTensor {
    form: TensorForm,
    rows: usize,
    cols: usize,
    /// `-k` of the steps.
    fineness: u32,
    stream: blake3::OutputReader,
}

impl StandardTensor {
    /// The tensor that a file of this model would hold under `name`; `None` if the model has none of that
    /// name.
    #[must_use]
    pub fn named(shape: &StandardShape, seed: &[u8; 32], name: &str) -> Option<Self> {
        let (form, rows, cols) = sizes(shape, name)?;
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(seed).update(name.as_bytes());
        // The embedding also gives the logits, which are to spread twice as far.
        let fineness = fineness(cols) - u32::from(name == "token_embd.weight");
        Some(Self { form, rows, cols, fineness, stream: hasher.finalize_xof() })
    }

    /// What its numbers are.
    #[must_use]
    pub fn form(&self) -> TensorForm {
        self.form
    }

    /// Rows (outputs); 1 for a norm.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns (inputs).
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of a row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        match self.form {
            TensorForm::Matrix => self.cols / BLOCK * BLOCK_BYTES,
            TensorForm::Norm => self.cols * 4,
        }
    }

    /// Writes the rows from `first` on, as many as `out` holds, whole ones.
    pub fn fill(&self, first: usize, out: &mut [u8]) {
        let mut stream = self.stream.clone();
        stream.set_position((first * self.row_bytes()) as u64);
        stream.fill(out);
        match self.form {
            TensorForm::Matrix => out.as_chunks_mut().0.iter_mut().for_each(|block| self.step(block)),
            TensorForm::Norm => out.as_chunks_mut().0.iter_mut().for_each(norm_weight),
        }
    }

    /// Gives the step of a block its exponent, and no sign.
    fn step(&self, block: &mut [u8; BLOCK_BYTES]) {
        let drawn = u32::from(u16::from_le_bytes([block[0], block[1]]));
        let step = drawn & ((1 << FRACTION_BITS) - 1) | (BIAS - self.fineness) << FRACTION_BITS;
        block[..2].copy_from_slice(&(step as u16).to_le_bytes());
    }
}

/// A single float from 0.5 to 2: the drawn bits are the fraction and the lowest bit of the exponent.
fn norm_weight(weight: &mut [u8; 4]) {
    let drawn = u32::from_le_bytes(*weight) & ((1 << 24) - 1);
    *weight = (drawn + 0x3f00_0000).to_le_bytes();
}

/// `-k`: codes are 74 in the mean square and steps 1.5 times their power of two, 2^7 together, so that
/// `2^k * 2^7 * sqrt(cols)` is about 1. The exponent stays one of normal numbers.
fn fineness(cols: usize) -> u32 {
    (7 + cols.ilog2() / 2).min(BIAS - 1)
}

/// Form, rows and columns of a tensor, named as in a file.
fn sizes(shape: &StandardShape, name: &str) -> Option<(TensorForm, usize, usize)> {
    let config = shape.config();
    let (width, ffn) = (config.width as usize, config.ffn as usize);
    let matrix = |rows, cols| Some((TensorForm::Matrix, rows, cols));
    let norm = Some((TensorForm::Norm, 1, width));
    match name {
        "token_embd.weight" => return matrix(config.vocab as usize, width),
        "output_norm.weight" => return norm,
        _ => {}
    }
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    if layer.parse::<u32>().ok().filter(|index| index.to_string() == layer)? >= config.layers {
        return None;
    }
    match part {
        "attn_norm.weight" | "ffn_norm.weight" => norm,
        "attn_q.weight" => matrix(config.query_width(), width),
        "attn_k.weight" | "attn_v.weight" => matrix(config.kv_width(), width),
        "attn_output.weight" => matrix(width, config.query_width()),
        "ffn_gate.weight" | "ffn_up.weight" => matrix(ffn, width),
        "ffn_down.weight" => matrix(width, ffn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calibration::shape::MEMORY_MIN, id::to_hex};

    fn shape() -> StandardShape {
        StandardShape::of(MEMORY_MIN).expect("the least")
    }

    fn bytes(seed: u8, name: &str) -> Vec<u8> {
        let tensor = StandardTensor::named(&shape(), &[seed; 32], name).expect("it is there");
        let mut bytes = vec![0; tensor.rows() * tensor.row_bytes()];
        tensor.fill(0, &mut bytes);
        bytes
    }

    #[test]
    fn seed_and_name_decide_every_tensor() {
        let one = bytes(1, "blk.0.attn_q.weight");
        assert_eq!(one, bytes(1, "blk.0.attn_q.weight"));
        assert_ne!(one, bytes(2, "blk.0.attn_q.weight"));
        assert_ne!(one, bytes(1, "blk.1.attn_q.weight"));
        // A change here is a change of the format: receipts made before it can no longer be checked.
        let found = ["token_embd.weight", "blk.3.ffn_down.weight", "output_norm.weight"]
            .map(|name| to_hex(blake3::hash(&bytes(7, name)).as_bytes())[..16].to_owned());
        assert_eq!(found, ["b3d6d303713bccc9", "9e521d02eeaf94c9", "686cfa9da3f3a205"]);
    }

    #[test]
    fn rows_can_be_made_alone() {
        let tensor = StandardTensor::named(&shape(), &[3; 32], "blk.2.ffn_up.weight").expect("it is there");
        let all = bytes(3, "blk.2.ffn_up.weight");
        let mut part = vec![0; 5 * tensor.row_bytes()];
        tensor.fill(11, &mut part);
        assert_eq!(part, all[11 * tensor.row_bytes()..16 * tensor.row_bytes()]);
    }

    #[test]
    fn steps_and_norms_are_within_their_powers_of_two() {
        let exponents = |name| {
            let bytes = bytes(5, name);
            let steps = bytes.as_chunks::<BLOCK_BYTES>().0.iter();
            let mut found: Vec<u8> = steps.map(|block| block[1] >> 2).collect();
            found.dedup();
            found
        };
        // 128 columns: 2^-10; the embedding 2^-9.
        assert_eq!((exponents("blk.0.attn_v.weight"), exponents("token_embd.weight")), (vec![5], vec![6]));
        assert_eq!((fineness(1 << 14), fineness(1 << 17)), (14, 14));
        let norm = bytes(5, "blk.0.ffn_norm.weight");
        let words = norm.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        assert!(words.clone().all(|word| (0x3f00_0000..0x4000_0000).contains(&word)));
        assert!(
            words.clone().any(|word| word >= 0x3f80_0000) && words.clone().any(|word| word < 0x3f80_0000)
        );
    }

    #[test]
    fn other_names_are_no_tensors() {
        for name in
            ["", "blk.0", "blk.15.attn_q.weight", "blk.00.attn_q.weight", "blk.0.attn_q.bias", "output"]
        {
            assert!(StandardTensor::named(&shape(), &[0; 32], name).is_none(), "{name}");
        }
        assert!(StandardTensor::named(&shape(), &[0; 32], "blk.14.attn_q.weight").is_some());
    }
}
