//! What a witness must not forget: the last checkpoint that it cosigned. It is durable before a cosignature leaves.
//!
//! ```text
//! cosigned          the checkpoint, as its operator signed it
//! cosigned.next     the one that takes its place, while it is being written
//! ```
//! The new file takes the old one's name in one step, so there is always a whole one. One that cannot be read is never
//! taken for none: a witness that forgot could sign a second history.

use std::{io, sync::Arc};

use gridhour_contracts_sim::{
    checkpoint::{CHECKPOINT_NOTE_BYTES_MAX, CheckpointError, SignedCheckpoint},
    witness::{WitnessRefusal, consider},
};
use gridhour_protocol::{
    merkle::tiled::TileReader,
    note::{NoteError, NoteSignature, VerifierKey},
    signed::SecretKey,
};

use super::disk::Disk;

const COSIGNED: &str = "cosigned";
const NEXT: &str = "cosigned.next";

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError<E> {
    /// It must not be given, or it is not known whether it may.
    #[error(transparent)]
    Refused(#[from] WitnessRefusal<E>),
    /// The name is none that a key may have.
    #[error(transparent)]
    Name(#[from] NoteError),
    /// What was cosigned last cannot be read or written.
    #[error("what was cosigned last cannot be read or written: {0}")]
    Disk(#[from] io::Error),
    /// What was cosigned last is damaged.
    #[error(
        "what was cosigned last is damaged ({0}); without it a second history could be cosigned: restore the file"
    )]
    Damaged(CheckpointError),
}

/// Who cosigns.
#[derive(Clone, Debug)]
pub struct Cosigner {
    /// The name of the key, such as `witness.example.com/w1`.
    pub name: String,
    /// The key. It belongs to no other witness: what is signed does not hold the name.
    pub key: SecretKey,
}

/// A witness of one ledger.
pub struct Witness {
    disk: Arc<dyn Disk>,
    operator: VerifierKey,
    cosigner: Cosigner,
}

impl Witness {
    /// A witness of the ledger whose checkpoints `operator` signs, which remembers on `disk`. One process at a time.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, operator: VerifierKey, cosigner: Cosigner) -> Self {
        Self { disk, operator, cosigner }
    }

    /// Cosigns `new`, `seconds` after 1970, if it continues what was cosigned before; `tiles` are those of its log.
    ///
    /// # Errors
    /// If it must not be cosigned, or if that it was cannot be made durable.
    pub fn cosign<R: TileReader>(
        &self,
        new: &SignedCheckpoint,
        tiles: &R,
        seconds: u64,
    ) -> Result<NoteSignature, WitnessError<R::Error>> {
        let last = self.last()?;
        consider(last.as_ref(), new, &self.operator, tiles)?;
        let cosignature = new.note().cosignature(&self.cosigner.name, &self.cosigner.key, seconds)?;
        let new = new.bare(&self.operator);
        if last.as_ref() == Some(&new) {
            // It can be read, but the name may not be durable: the last attempt may have ended before that.
            self.disk.sync_dir()?;
        } else {
            self.remember(&new)?;
        }
        Ok(cosignature)
    }

    fn last<E>(&self) -> Result<Option<SignedCheckpoint>, WitnessError<E>> {
        if !self.disk.list()?.iter().any(|name| name == COSIGNED) {
            return Ok(None);
        }
        let file = self.disk.open(COSIGNED)?;
        let len = usize::try_from(file.size()?).unwrap_or(usize::MAX).min(CHECKPOINT_NOTE_BYTES_MAX + 1);
        let mut note = vec![0; len];
        file.read_at(0, &mut note)?;
        SignedCheckpoint::open(&note, &self.operator).map(Some).map_err(WitnessError::Damaged)
    }

    fn remember(&self, new: &SignedCheckpoint) -> io::Result<()> {
        let mut file = self.disk.open(NEXT)?;
        file.truncate(0)?;
        file.append(new.to_string().as_bytes())?;
        file.sync()?;
        self.disk.rename(NEXT, COSIGNED)?;
        self.disk.sync_dir()
    }
}
