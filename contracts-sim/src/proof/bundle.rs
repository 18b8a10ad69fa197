//! A proof as a file: what is handed to whoever is to be convinced.

use gridhour_protocol::wire::{self, Wire, WireError};
use serde::{Deserialize, Serialize};

use super::{ReceiptProof, RecordProof};

/// The first bytes of the file; the last of them is the version.
pub const BUNDLE_MAGIC: &[u8; 8] = b"GRIDPRF1";
/// Bytes of the longest file.
pub const BUNDLE_BYTES_MAX: usize = BUNDLE_MAGIC.len() + Bundle::BYTES_MAX;

/// Everything that a stranger with the network file needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bundle {
    /// What stood in the state at a checkpoint.
    Record(Box<RecordProof>),
    /// A receipt that was collected for.
    Receipt(Box<ReceiptProof>),
}

/// Why a file is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It begins otherwise.
    #[error("the file does not begin as a proof of this version")]
    Magic,
    /// What follows cannot be read.
    #[error("the proof cannot be read: {0}")]
    Wire(#[from] WireError),
}

impl Bundle {
    /// The file.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        [BUNDLE_MAGIC.as_slice(), &wire::encode(self)].concat()
    }

    /// What is in the file. Nothing is verified yet.
    ///
    /// # Errors
    /// If it is no proof at all.
    pub fn from_file(bytes: &[u8]) -> Result<Self, BundleError> {
        let rest = bytes.strip_prefix(BUNDLE_MAGIC.as_slice()).ok_or(BundleError::Magic)?;
        Ok(wire::decode(rest)?)
    }
}

impl Wire for Bundle {
    const BYTES_MAX: usize = 4 + larger(RecordProof::BYTES_MAX, ReceiptProof::BYTES_MAX);

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Record(proof) => proof.check_bounds(),
            Self::Receipt(proof) => proof.check_bounds(),
        }
    }
}

const fn larger(one: usize, other: usize) -> usize {
    if one < other { other } else { one }
}
