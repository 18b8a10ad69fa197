//! Queries, keys and values: what architectures do with them, and how positions turn them.

use gridhour_node::model::gguf::{Gguf, GgufError};
use rayon::prelude::*;

use super::{dequantise::dequantise, panels::Panels, rms_norm};

/// A matrix whose product is cut into heads, the biases of its rows, and the norm of each head.
#[derive(Debug)]
pub(super) struct Projection {
    matrix: Panels,
    bias: Option<Vec<f32>>,
    norm: Option<Vec<f32>>,
}

impl Projection {
    pub(super) fn load(file: &Gguf, layer: usize, part: &str) -> Result<Self, GgufError> {
        let name = |end: &str| format!("blk.{layer}.{part}{end}");
        let matrix = file.tensor(&name(".weight"))?;
        let vector = |end: &str| file.tensor(&name(end)).ok().map(|tensor| dequantise(&tensor));
        Ok(Self {
            matrix: Panels::pack(&dequantise(&matrix), matrix.rows, matrix.cols),
            bias: vector(".bias"),
            norm: vector("_norm.weight"),
        })
    }

    /// All heads of each row of `x`.
    pub(super) fn apply(&self, x: &[f32], eps: f32) -> Vec<f32> {
        let mut y = self.matrix.apply(x);
        if let Some(bias) = &self.bias {
            y.par_chunks_mut(bias.len()).for_each(|row| super::add(row, bias));
        }
        match &self.norm {
            Some(weights) => rms_norm(&y, weights, eps),
            None => y,
        }
    }
}

/// Which values of a head a position turns together, and how far.
#[derive(Debug)]
pub(super) struct Rotation {
    /// Radians a position, one a pair.
    frequencies: Vec<f64>,
    /// Whether value i is turned with value i + half; neighbours otherwise.
    by_halves: bool,
}

impl Rotation {
    pub(super) fn load(file: &Gguf, architecture: &str, head_dim: usize) -> Result<Self, GgufError> {
        let float = |end: &str| file.float(&format!("{architecture}.rope.{end}")).map(f64::from);
        let (base, linear) = (float("freq_base")?, float("scaling.factor").unwrap_or(1.0));
        let factors = file.tensor("rope_freqs.weight").ok().map(|tensor| dequantise(&tensor));
        let frequency = |pair: usize| {
            let factor = factors.as_ref().map_or(1.0, |factors| f64::from(factors[pair]));
            base.powf(-((2 * pair) as f64) / head_dim as f64) / factor / linear
        };
        let frequencies = (0..head_dim / 2).map(frequency).collect();
        Ok(Self { frequencies, by_halves: architecture != "llama" })
    }

    /// Turns the pairs of each head of each row by the row's position.
    pub(super) fn rotate(&self, rows: &mut [f32], heads: usize) {
        let half = self.frequencies.len();
        rows.par_chunks_mut(heads * 2 * half).enumerate().for_each(|(position, row)| {
            for head in row.chunks_exact_mut(2 * half) {
                for (i, frequency) in self.frequencies.iter().enumerate() {
                    let (first, second) = if self.by_halves { (i, i + half) } else { (2 * i, 2 * i + 1) };
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    let (a, b) = (f64::from(head[first]), f64::from(head[second]));
                    head[first] = (a * cos - b * sin) as f32;
                    head[second] = (a * sin + b * cos) as f32;
                }
            }
        });
    }
}
