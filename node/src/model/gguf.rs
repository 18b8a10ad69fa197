//! Reader of GGUF model files, versions 2 and 3, little-endian.
//!
//! A file is hostile until read, each part of a model alone: every count and length is bounded before anything is allocated for it, every
//! tensor must lie in the file and fill it without overlaps, and whatever is wrong is refused by the name of
//! the tensor or metadata key at fault. Nothing here panics, whatever the bytes.

mod cursor;
mod error;
mod header;
mod parts;
mod types;
mod value;

use std::{collections::BTreeMap, ops::Range, path::Path};

use gridhour_protocol::model;

pub use self::{
    error::{GgufError, PartFault, TensorFault},
    types::{BLOCK_COLS, SUPER_COLS, TensorType},
    value::Value,
};
use super::map::FileBytes;

/// Metadata keys read from one file at most.
pub const KEYS_MAX: u64 = 4_096;
/// Bytes of all metadata of one file at most.
pub const METADATA_MAX: u64 = 1 << 28;
/// Tensors read from one file at most.
pub const TENSORS_MAX: u64 = model::TENSORS_MAX as u64;
/// Bytes of one metadata string at most; chat templates are the longest.
pub const STRING_MAX: u64 = 1 << 20;
/// Bytes of a metadata key or a tensor's name at most.
pub const NAME_MAX: u64 = model::TENSOR_NAME_MAX as u64;
/// Elements of one metadata array at most; vocabularies and merges are the longest.
pub const ARRAY_MAX: u64 = 1 << 20;
/// Largest dimension of a tensor.
pub const DIM_MAX: u64 = model::TENSOR_DIM_MAX as u64;
/// Largest alignment of the data section, bytes.
pub const ALIGNMENT_MAX: u64 = 1 << 16;

/// Files of one model at most.
pub const PARTS_MAX: u64 = 1_024;

/// An open model whose description has been checked in full: one file, or several parts.
#[derive(Debug)]
pub struct Gguf {
    files: Vec<FileBytes>,
    meta: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorPlace>,
}

/// Where a tensor lies, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
struct TensorPlace {
    ty: TensorType,
    rows: usize,
    cols: usize,
    /// Which of the model's files.
    part: usize,
    /// Bytes of the file.
    range: Range<usize>,
}

/// One tensor of an open file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Encoding of the rows.
    pub ty: TensorType,
    /// Rows (outputs); 1 for a vector.
    pub rows: usize,
    /// Columns (inputs) of each row.
    pub cols: usize,
    /// The rows one after another, `rows * ty.row_bytes(cols)` bytes, of no particular alignment.
    pub bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// The bytes of row `row`.
    ///
    /// # Panics
    /// If `row >= self.rows`.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let each = self.bytes.len() / self.rows;
        &self.bytes[row * each..(row + 1) * each]
    }
}

impl Gguf {
    /// Maps and checks the file at `path`; of a model in parts, any of them, the others lying beside it under the
    /// names that the format gives them (`NAME-00001-of-00003.gguf`).
    ///
    /// # Errors
    /// [`GgufError`] naming the tensor, the key or the part of the file that is at fault.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let opened = parts::read(path)?;
        match parts::parts_of(path, &opened)? {
            Some(parts) => parts::assemble(&parts),
            None => Ok(Self::of(opened)),
        }
    }

    /// Checks a file held in memory.
    ///
    /// # Errors
    /// As [`Gguf::open`], without the file system's; one part of a model is refused, as the others are not there.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        let file = parts::parse(FileBytes::Owned(bytes))?;
        parts::refuse_part(&file)?;
        Ok(Self::of(file))
    }

    fn of(file: parts::File) -> Self {
        Self { files: vec![file.bytes], meta: file.header.meta, tensors: file.header.tensors }
    }

    /// Bytes of the model's files together.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.len()).sum()
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`GgufError::MissingTensor`] if the file has none of that name.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, GgufError> {
        match self.tensors.get_key_value(name) {
            Some((name, place)) => Ok(self.view(name, place)),
            None => Err(GgufError::MissingTensor { name: name.to_owned() }),
        }
    }

    /// All tensors, in the order of their names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|(name, place)| self.view(name, place))
    }

    fn view<'a>(&'a self, name: &'a str, place: &TensorPlace) -> Tensor<'a> {
        let bytes = &self.files[place.part][place.range.clone()];
        Tensor { name, ty: place.ty, rows: place.rows, cols: place.cols, bytes }
    }

    /// The metadata value of `key`.
    pub fn meta(&self, key: &str) -> Option<&Value> {
        self.meta.get(key)
    }

    /// All metadata, in the order of the keys.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.meta
    }

    /// The value of `key` as `read` sees it, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::Key`] if the key is there with another type; `expected` names the one asked for.
    pub fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let wrong = || GgufError::Key { key: key.to_owned(), reason: format!("is not {expected}") };
        self.meta(key).map(|value| read(value).ok_or_else(wrong)).transpose()
    }

    /// The value of `key` as `read` sees it.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], or [`GgufError::Key`] if its type is another.
    pub fn required<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, GgufError> {
        self.optional(key, expected, read)?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
    }

    /// The string under `key`.
    ///
    /// # Errors
    /// As [`Gguf::required`].
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        self.required(key, "a string", Value::as_text)
    }

    /// The unsigned integer under `key`.
    ///
    /// # Errors
    /// As [`Gguf::required`].
    pub fn uint(&self, key: &str) -> Result<u64, GgufError> {
        self.required(key, "an unsigned integer", Value::as_u64)
    }

    /// The 32-bit float under `key`.
    ///
    /// # Errors
    /// As [`Gguf::required`].
    pub fn float(&self, key: &str) -> Result<f32, GgufError> {
        self.required(key, "a 32-bit float", Value::as_f32)
    }
}
