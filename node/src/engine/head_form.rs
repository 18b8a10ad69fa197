//! What an architecture does with the heads of a product before they are turned.

use super::{norm_weights::HeadNorm, row_weights::RowWeights};

/// What happens to each head of queries, keys or values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeadForm {
    /// Nothing.
    Plain,
    /// Biases are added, one a row of the matrix.
    Biased(RowWeights),
    /// Each head is normed, all with the same weights.
    Normed(HeadNorm),
}
