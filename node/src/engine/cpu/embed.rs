//! A token's row of the embedding matrix, as the residual stream.

use super::{
    super::{
        coding::BLOCK,
        fixed::{round_shift, sat32},
        matrix::{Matrix, PANEL, PanelCodes, pair_index},
    },
    residual::FRACTION_BITS,
};

/// Writes row `token` of `matrix` to `stream` in Q14.
///
/// # Panics
/// If the matrix has no such row, or rows of another length.
pub fn embed(matrix: &Matrix, token: usize, stream: &mut [i32]) {
    let (panel, row) = (matrix.panel(token / PANEL), token % PANEL);
    let exponents = matrix.row_exponents(token);
    let (blocks, rest) = stream.as_chunks_mut::<BLOCK>();
    let each = panel.scales_each();
    assert!(
        rest.is_empty() && blocks.len() * each == panel.scales.len(),
        "the stream is as wide as the matrix"
    );
    for (at, block) in blocks.iter_mut().enumerate() {
        let minimum = panel.minima.get(at).map_or(0, |minima| i64::from(minima[row]));
        let minimum = to_stream(minimum, exponents.minimum);
        for (col, x) in block.iter_mut().enumerate() {
            let scale = i64::from(panel.scales[at * each + col / panel.coding.block][row]);
            let code = i64::from(panel.codes.get(at, row, col) - panel.coding.offset);
            *x = sat32(to_stream(scale * code, exponents.scale) + minimum);
        }
    }
}

/// `v * 2^-k` in Q14, for `v` below `2^26`. A left shift beyond 32 saturates, so it is cut there; parts that
/// are added to another come from half precision, whose shifts end at 24.
fn to_stream(v: i64, k: i32) -> i64 {
    match k - FRACTION_BITS {
        shift @ 0..=62 => round_shift(v, shift as u32),
        63.. => 0,
        shift => v << shift.unsigned_abs().min(32),
    }
}

impl PanelCodes<'_> {
    /// The code at a block, a row of the panel and a column of the block; a nibble as it is kept.
    pub(crate) fn get(&self, block: usize, row: usize, col: usize) -> i16 {
        match self {
            Self::Nibbles(blocks) => {
                let (vector, within) = (col / 8, col % 8);
                let word = blocks[block][16 * vector + 2 * row + within % 2];
                (word >> (4 * (within / 2)) & 15) as i16
            }
            Self::Bytes(blocks) => i16::from(blocks[block][pair_index(row, col)]),
            Self::Words(blocks) => blocks[block][pair_index(row, col)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_far_out_round_to_zero_or_grow() {
        assert_eq!(to_stream(3, 15), 2);
        assert_eq!(to_stream(-3, 15), -1);
        assert_eq!(to_stream(i64::from(u16::MAX), 77), 0);
        assert_eq!(to_stream(5, 12), 20);
        assert_eq!(sat32(to_stream(1, -300)), i32::MAX);
    }
}
