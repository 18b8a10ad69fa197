//! What can be wrong with a model file. Every message names the file's part that is at fault.

use std::{io, path::PathBuf};

use gridhour_protocol::exact::llama::ConfigError;
use thiserror::Error;

use super::types::{SUPPORTED, TensorType};

/// A model file that cannot be used, and why.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The file cannot be opened or mapped.
    #[error("cannot read the model file {path}: {source}")]
    Io {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first four bytes are not `GGUF`.
    #[error("this is not a GGUF file: it does not start with the letters GGUF")]
    NotGguf,
    /// A file written for big-endian machines.
    #[error("this GGUF file is big-endian; only little-endian files are read")]
    BigEndian,
    /// A version of the format that is not read.
    #[error("this is GGUF version {found}; versions 2 and 3 are read")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The file ends inside a structure.
    #[error("the model file is cut short: it ends inside {what}; download it again")]
    Truncated {
        /// The structure that was being read.
        what: String,
    },
    /// A count or length above what is read.
    #[error("the model file claims {found} for {what}; at most {max} is read")]
    TooMany {
        /// What is counted.
        what: String,
        /// The claimed number.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Metadata that is malformed.
    #[error("metadata key {key:?} {reason}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong, a clause that follows the key's name.
        reason: String,
    },
    /// Sizes for which the arithmetic is not defined.
    #[error("the model cannot be served: {0}")]
    Sizes(#[from] ConfigError),
    /// Metadata that is needed and absent.
    #[error("the model file has no metadata key {key:?}, which is needed")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A tensor that is needed and absent.
    #[error("the model file has no tensor {name:?}, which its architecture needs")]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// A part of a model in several files that cannot be used.
    #[error("{path}, a part of the model: {source}")]
    Part {
        /// The part.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<GgufError>,
    },
    /// A part that is not the one that its place asks for.
    #[error("{path} {reason}")]
    Place {
        /// The part.
        path: PathBuf,
        /// What is wrong, a clause that follows the path.
        reason: PartFault,
    },
    /// One part of a model without the others.
    #[error("this is part {number} of {count} of a model; open it by its path, with the others beside it")]
    Alone {
        /// The part, counted from 1.
        number: u64,
        /// Parts of the model.
        count: u64,
    },
    /// A tensor in an encoding that is not served.
    #[error("tensor {name:?} has type {found}; supported are {SUPPORTED}")]
    UnsupportedType {
        /// The tensor's name.
        name: String,
        /// Its type, by the name that users know.
        found: String,
    },
    /// A tensor whose claimed shape or place cannot be true.
    #[error("tensor {name:?} {reason}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong, a clause that follows the tensor's name.
        reason: TensorFault,
    },
}

/// How a part of a model does not fit the others.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PartFault {
    /// The file is not called what its place asks for, so that the others cannot be found.
    #[error("is a part of a model, so its name must end in {end:?}, as that of the others beside it")]
    Name {
        /// How the name must end.
        end: String,
    },
    /// It says that it is another part, or one of another number of parts.
    #[error("says that it is part {} of {}, not part {} of {}; the parts are mixed up, fetch them again",
            found.0, found.1, expected.0, expected.1)]
    Place {
        /// Its number, counted from 1, and how many it says that there are.
        found: (u64, u64),
        /// The number and the count that its name and the opened part ask for.
        expected: (u64, u64),
    },
    /// Parts that differ in how many tensors they have together.
    #[error(
        "speaks of {found} tensors where the parts should have {expected}; one of them is of another model"
    )]
    Tensors {
        /// Tensors found, or spoken of.
        found: u64,
        /// Tensors that the opened part says there are.
        expected: u64,
    },
}

/// How a tensor's description contradicts itself or the file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TensorFault {
    /// Not a vector or a matrix.
    #[error("has {0} dimensions; 1 or 2 are read")]
    Dimensions(u32),
    /// A dimension of zero, or above the bound.
    #[error("has a dimension of {0}; 1 to {max} are read", max = super::DIM_MAX)]
    Size(u64),
    /// A row that does not fill whole blocks.
    #[error("has rows of {cols} columns, which is not a whole number of {ty} blocks of {each}", each = ty.group_cols())]
    Blocks {
        /// Columns of a row.
        cols: usize,
        /// The tensor's type.
        ty: TensorType,
    },
    /// Data that does not start on the file's alignment.
    #[error("starts at offset {offset}, which is not a multiple of the file's alignment {alignment}")]
    Alignment {
        /// Offset in the data section, bytes.
        offset: u64,
        /// The file's alignment, bytes.
        alignment: u64,
    },
    /// Data that reaches past the end of the file.
    #[error("takes {bytes} bytes from offset {offset}, past the end of the file's {available} bytes of data")]
    PastEnd {
        /// Offset in the data section, bytes.
        offset: u64,
        /// The tensor's size, bytes.
        bytes: u64,
        /// Size of the data section, bytes.
        available: u64,
    },
    /// Two tensors claim the same bytes.
    #[error("overlaps tensor {0:?}")]
    Overlap(String),
    /// The name appears twice.
    #[error("is described twice")]
    Duplicate,
    /// A shape other than the architecture asks for.
    #[error("has shape {found_rows} x {found_cols}; its architecture and metadata ask for {rows} x {cols}")]
    Shape {
        /// Rows in the file.
        found_rows: usize,
        /// Columns in the file.
        found_cols: usize,
        /// Rows expected.
        rows: usize,
        /// Columns expected.
        cols: usize,
    },
    /// A type that the format allows but not in this place.
    #[error("has type {found}; in this place only {expected} is supported")]
    Type {
        /// Type in the file.
        found: TensorType,
        /// Type expected.
        expected: TensorType,
    },
    /// No part of the architecture.
    #[error("is not part of the architecture, so leaving it out would change the model")]
    Unknown,
}
