//! The rotary angles of every position that a model can have.

use gridhour_protocol::exact::tables::{EXP2, RopeFrequencies, RopePair};
use rayon::prelude::*;

const CONTEXT: &str = "gridhour model tables v1";

/// Cosines and sines, position after position.
#[derive(Debug)]
pub(crate) struct RopeTable {
    pairs: Vec<RopePair>,
    per_position: usize,
}

impl RopeTable {
    /// The table of `positions` positions for heads of `head_dim` numbers.
    pub(crate) fn new(frequencies: &RopeFrequencies, head_dim: usize, positions: u32) -> Self {
        let pairs =
            (0..positions).into_par_iter().flat_map_iter(|position| frequencies.row(position)).collect();
        Self { pairs, per_position: head_dim / 2 }
    }

    /// The turns of one position, one a pair of a head.
    pub(crate) fn row(&self, position: usize) -> &[RopePair] {
        &self.pairs[position * self.per_position..(position + 1) * self.per_position]
    }

    /// The turns of the first `positions` positions, each a cosine and a sine.
    pub(crate) fn words(&self, positions: usize) -> impl Iterator<Item = u32> {
        let pairs = &self.pairs[..positions * self.per_position];
        pairs.iter().flat_map(|pair| [pair.cos as u32, pair.sin as u32])
    }

    /// Digest of the tables that the model's results depend on, for the manifest: the exponential table, then
    /// per position and pair its cosine and sine, each a little-endian `i32`.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for entry in EXP2 {
            hasher.update(&entry.to_le_bytes());
        }
        for part in self.pairs.chunks(1024) {
            let bytes: Vec<u8> =
                part.iter().flat_map(|pair| [pair.cos, pair.sin]).flat_map(i32::to_le_bytes).collect();
            hasher.update(&bytes);
        }
        *hasher.finalize().as_bytes()
    }
}
