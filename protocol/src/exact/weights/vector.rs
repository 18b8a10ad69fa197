//! A vector of weights: those of a norm, or the biases of a matrix.

use super::CodedRow;

/// One coded F32 row as plain integers: the real weights are `values[i] * 2^-k`, magnitudes of `values` below
/// 2^26.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorWeights {
    /// `W_i` of the page.
    pub values: Vec<i32>,
    /// Their exponent.
    pub k: i32,
}

impl VectorWeights {
    /// The weights of one coded F32 row.
    pub fn from_row(row: &CodedRow) -> Self {
        let weight = |(i, &c): (usize, &i16)| i32::from(c) * i32::from(row.scales[i / row.block]);
        Self { values: row.codes.iter().enumerate().map(weight).collect(), k: row.kd }
    }

    /// The weights of one head of `head_dim`.
    ///
    /// # Panics
    /// If there is no such head.
    pub fn head(&self, head: usize, head_dim: usize) -> Self {
        Self { values: self.values[head * head_dim..(head + 1) * head_dim].to_vec(), k: self.k }
    }
}
