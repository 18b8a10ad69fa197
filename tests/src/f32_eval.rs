//! The forward pass of the architectures in 32-bit floats, written from the models' definitions: what the exact
//! engine is compared with. It shares no code with the engine; of the node it uses the file reader's
//! bytes only.

mod dequantise;
mod heads;
mod panels;

use std::{f32, ops::Range};

use gridhour_node::model::gguf::{Gguf, GgufError};
use rayon::prelude::*;

pub use self::dequantise::dequantise;
use self::{
    heads::{Projection, Rotation},
    panels::Panels,
};

/// Query positions that one task works on.
const CHUNK: usize = 64;

/// A model with its weights as floats: four bytes a weight.
#[derive(Debug)]
pub struct F32Model {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    width: usize,
    vocab: usize,
    rotation: Rotation,
    eps: f32,
    /// One row a token.
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    output: Panels,
}

#[derive(Debug)]
struct Layer {
    attn_norm: Vec<f32>,
    query: Projection,
    key: Projection,
    value: Projection,
    attn_output: Panels,
    ffn_norm: Vec<f32>,
    gate: Panels,
    up: Panels,
    down: Panels,
}

/// Natural logarithms of probabilities, one row a position.
#[derive(Clone, Debug)]
pub struct LogProbs {
    vocab: usize,
    values: Vec<f32>,
}

impl LogProbs {
    /// Rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.vocab
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Log-probabilities of all tokens after the window's position that row `row` stands for.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab..(row + 1) * self.vocab]
    }
}

impl F32Model {
    /// Dequantises all weights of `file`.
    ///
    /// # Errors
    /// [`GgufError`] if a tensor or a number is missing.
    pub fn load(file: &Gguf) -> Result<Self, GgufError> {
        let architecture = file.text("general.architecture")?;
        let number = |key: &str| file.uint(&format!("{architecture}.{key}")).map(|number| number as usize);
        let floats = |name: &str| file.tensor(name).map(|tensor| dequantise(&tensor));
        let matrix = |name: &str| file.tensor(name).map(|t| Panels::pack(&dequantise(&t), t.rows, t.cols));
        let (width, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let layer = |layer: usize| -> Result<Layer, GgufError> {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            Ok(Layer {
                attn_norm: floats(&name("attn_norm"))?,
                query: Projection::load(file, layer, "attn_q")?,
                key: Projection::load(file, layer, "attn_k")?,
                value: Projection::load(file, layer, "attn_v")?,
                attn_output: matrix(&name("attn_output"))?,
                ffn_norm: floats(&name("ffn_norm"))?,
                gate: matrix(&name("ffn_gate"))?,
                up: matrix(&name("ffn_up"))?,
                down: matrix(&name("ffn_down"))?,
            })
        };
        let head_dim = number("attention.key_length").unwrap_or(width / heads);
        let layers = (0..number("block_count")?).map(layer).collect::<Result<_, _>>()?;
        Ok(Self {
            heads,
            kv_heads: number("attention.head_count_kv")?,
            head_dim,
            width,
            vocab: file.tensor("token_embd.weight")?.rows,
            rotation: Rotation::load(file, architecture, head_dim)?,
            eps: file.float(&format!("{architecture}.attention.layer_norm_rms_epsilon"))?,
            embedding: floats("token_embd.weight")?,
            layers,
            output_norm: floats("output_norm.weight")?,
            output: matrix("output.weight").or_else(|_| matrix("token_embd.weight"))?,
        })
    }

    /// What the model expects after each of the `positions` of a window of tokens that starts at position 0.
    ///
    /// # Panics
    /// If a token is outside the vocabulary or a position outside the window.
    pub fn log_probs(&self, tokens: &[u32], positions: Range<usize>) -> LogProbs {
        let mut x: Vec<f32> =
            tokens.iter().flat_map(|token| self.embedding_row(*token as usize)).copied().collect();
        for layer in &self.layers {
            self.attention(layer, &mut x);
            self.feed_forward(layer, &mut x);
        }
        let rows = &x[positions.start * self.width..positions.end * self.width];
        let mut values = self.output.apply(&self.norm(rows, &self.output_norm));
        values.par_chunks_mut(self.vocab).for_each(log_softmax);
        LogProbs { vocab: self.vocab, values }
    }

    fn embedding_row(&self, token: usize) -> &[f32] {
        &self.embedding[token * self.width..(token + 1) * self.width]
    }

    fn norm(&self, x: &[f32], weights: &[f32]) -> Vec<f32> {
        rms_norm(x, weights, self.eps)
    }

    fn feed_forward(&self, layer: &Layer, x: &mut [f32]) {
        let input = self.norm(x, &layer.ffn_norm);
        let mut gated = layer.gate.apply(&input);
        let up = layer.up.apply(&input);
        gated.par_iter_mut().zip(up).for_each(|(gate, up)| *gate *= up / (1.0 + (-*gate).exp()));
        add(x, &layer.down.apply(&gated));
    }

    fn attention(&self, layer: &Layer, x: &mut [f32]) {
        let input = self.norm(x, &layer.attn_norm);
        let mut query = layer.query.apply(&input, self.eps);
        let mut key = layer.key.apply(&input, self.eps);
        let value = layer.value.apply(&input, self.eps);
        self.rotation.rotate(&mut query, self.heads);
        self.rotation.rotate(&mut key, self.kv_heads);
        let positions = x.len() / self.width;
        let mut joined = vec![0.0; positions * self.heads * self.head_dim];
        for kv_head in 0..self.kv_heads {
            let keys = Panels::pack(&self.head(&key, kv_head, self.kv_heads), positions, self.head_dim);
            let values = Panels::pack_transposed(&self.head(&value, kv_head, self.kv_heads), positions);
            let shared = self.heads / self.kv_heads;
            for head in kv_head * shared..(kv_head + 1) * shared {
                self.attend(&query, head, &keys, &values, &mut joined);
            }
        }
        add(x, &layer.attn_output.apply(&joined));
    }

    /// The columns of one head, position after position.
    fn head(&self, rows: &[f32], head: usize, heads: usize) -> Vec<f32> {
        let columns = head * self.head_dim..(head + 1) * self.head_dim;
        rows.chunks_exact(heads * self.head_dim).flat_map(|row| &row[columns.clone()]).copied().collect()
    }

    /// One head's result for every position, into its columns of `joined`.
    fn attend(&self, query: &[f32], head: usize, keys: &Panels, values: &Panels, joined: &mut [f32]) {
        let width = self.heads * self.head_dim;
        let columns = head * self.head_dim..(head + 1) * self.head_dim;
        let scale = (self.head_dim as f32).sqrt().recip();
        let tasks = joined.par_chunks_mut(CHUNK * width).zip(query.par_chunks(CHUNK * width)).enumerate();
        tasks.for_each(|(chunk, (joined, query))| {
            let first = chunk * CHUNK;
            let rows = query.len() / width;
            let queries: Vec<f32> =
                query.chunks_exact(width).flat_map(|row| &row[columns.clone()]).map(|q| q * scale).collect();
            // Keys after the chunk's last position are seen by none of its rows.
            let seen = first + rows;
            let mut weights = keys.first_rows(&queries, seen);
            for (row, weights) in weights.chunks_exact_mut(seen).enumerate() {
                softmax_until(weights, first + row + 1);
            }
            let results = values.first_columns(&weights, seen);
            for (row, result) in joined.chunks_exact_mut(width).zip(results.chunks_exact(self.head_dim)) {
                row[columns.clone()].copy_from_slice(result);
            }
        });
    }
}

/// Root-mean-square norm of each run of as many values as there are weights, times the weights.
fn rms_norm(x: &[f32], weights: &[f32], eps: f32) -> Vec<f32> {
    let norm_row = |row: &[f32]| {
        let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / row.len() as f64;
        let scale = (mean + f64::from(eps)).sqrt().recip() as f32;
        row.iter().zip(weights).map(move |(v, weight)| v * scale * weight).collect::<Vec<_>>()
    };
    x.par_chunks(weights.len()).flat_map_iter(norm_row).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// Softmax over the first `count` values; the others become zero.
fn softmax_until(values: &mut [f32], count: usize) {
    let (seen, hidden) = values.split_at_mut(count);
    let most = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    seen.iter_mut().for_each(|value| *value = (*value - most).exp());
    let sum: f64 = seen.iter().map(|value| f64::from(*value)).sum();
    seen.iter_mut().for_each(|value| *value /= sum as f32);
    hidden.fill(0.0);
}

fn log_softmax(values: &mut [f32]) {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = values.iter().map(|value| f64::from(value - most).exp()).sum();
    let log = f64::from(most) + sum.ln();
    values.iter_mut().for_each(|value| *value = (f64::from(*value) - log) as f32);
}
