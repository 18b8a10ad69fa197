//! What a model is, to everyone: the tree whose root is its [`ModelId`].
//!
//! ```text
//! ModelId = root over the top leaves
//!   leaf 0     facts: numerics version, hyperparameters, digests of tables, tokenizer and chat template
//!   leaf 1..   one entry per tensor, by name: type, shape, exponent, and the root over its rows
//!                a row's leaf: its codes, block scales and exponents
//! ```
//! The top leaves' content is a [`Manifest`]: small enough to send, and enough to recompute the id from. One
//! weight row is opened alone, against the id, with a [`RowProof`].

mod bytes;
mod manifest;
mod proof;
mod row;
mod spelling;
mod tokenizer;
mod tree;

pub use crate::id::ModelId;

pub use self::{
    bytes::MalformedBytes,
    manifest::{Facts, Manifest, ManifestError, TensorEntry, chat_template_digest},
    proof::{RowProof, RowProofError},
    row::{RowCodes, RowType, WeightRow},
    tokenizer::{TokenKind, TokenizerAsset, TokenizerFamily},
    tree::{Digest, TreeBuilder, inclusion_path, root_from_path},
};

/// Tensors of one model at most.
pub const TENSORS_MAX: usize = 8_192;
/// Bytes of a tensor's name at most.
pub const TENSOR_NAME_MAX: usize = 256;
/// Rows, and columns, of one tensor at most.
pub const TENSOR_DIM_MAX: u32 = 1 << 24;
/// Bytes of an encoded [`Manifest`] at most.
pub const MANIFEST_BYTES_MAX: usize = 1 << 22;
/// Bytes of an encoded [`TokenizerAsset`] at most.
pub const TOKENIZER_BYTES_MAX: usize = 1 << 25;
/// Tokens of a vocabulary, and merges of it, at most.
pub const VOCABULARY_MAX: usize = 1 << 20;
/// Bytes of one token's text, or of one merge, at most.
pub const TOKEN_TEXT_MAX: usize = 1 << 12;
/// Bytes of a chat template at most.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;
