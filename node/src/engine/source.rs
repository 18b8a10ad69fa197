//! Where a model's tensors come from: a file, or a seed.

use std::borrow::Cow;

use gridhour_protocol::model::Digest;

use super::{coding::Kind, weights::WeightsError};
use crate::model::{config::is_tied, gguf::Gguf};

/// One tensor, as a model file encodes it.
#[derive(Clone, Debug)]
pub struct SourceTensor<'a> {
    /// Encoding of the rows.
    pub kind: Kind,
    /// Rows (outputs); 1 for a vector.
    pub rows: usize,
    /// Columns (inputs).
    pub cols: usize,
    /// The rows one after another.
    pub bytes: Cow<'a, [u8]>,
}

/// The tensors of a model, by the names that files give them.
pub trait TensorSource: Sync {
    /// One tensor.
    ///
    /// # Errors
    /// [`WeightsError`] if there is none of that name, or it cannot be had.
    fn tensor(&self, name: &str) -> Result<SourceTensor<'_>, WeightsError>;

    /// Whether logits come from the token embedding, there being no output matrix.
    fn is_tied(&self) -> bool;
}

impl TensorSource for Gguf {
    fn tensor(&self, name: &str) -> Result<SourceTensor<'_>, WeightsError> {
        let tensor = Self::tensor(self, name)?;
        let bytes = Cow::from(tensor.bytes);
        Ok(SourceTensor { kind: tensor.ty, rows: tensor.rows, cols: tensor.cols, bytes })
    }

    fn is_tied(&self) -> bool {
        is_tied(self)
    }
}

/// What a manifest says of a model beside its tensors and sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts {
    /// Digest of the tokenizer.
    pub(crate) tokenizer: Digest,
    /// Digest of the chat template.
    pub(crate) chat_template: Digest,
}
