//! What a witness must not forget: the last checkpoint that it cosigned. It is durable before a cosignature leaves.
//!
//! ```text
//! cosigned          the checkpoint, as its operator signed it
//! cosigned.next     the one that takes its place, while it is being written
//! ```
//! The new file takes the old one's name in one step, so there is always a whole one. One that cannot be read is never
//! taken for none: a witness that forgot could sign a second history.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gridhour_contracts_sim::{
    checkpoint::{CHECKPOINT_NOTE_BYTES_MAX, CheckpointError, SignedCheckpoint},
    witness::{AddRefusal, WitnessRefusal, admit, consider},
};
use gridhour_protocol::{
    add_checkpoint::AddCheckpoint,
    merkle::tiled::TileReader,
    note::{NoteError, NoteSignature, VerifierKey},
    signed::SecretKey,
};

use super::disk::Disk;

const COSIGNED: &str = "cosigned";
const NEXT: &str = "cosigned.next";

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError<R> {
    /// It must not be given, or it is not known whether it may.
    #[error(transparent)]
    Refused(R),
    /// The name is none that a key may have.
    #[error("the witness's name: {0}")]
    Name(NoteError),
    /// What was cosigned last cannot be read or written.
    #[error("what was cosigned last cannot be read or written: {0}")]
    Disk(io::Error),
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

/// A witness of one ledger. It may be asked from many threads: one is answered at a time.
pub struct Witness {
    disk: Mutex<Arc<dyn Disk>>,
    operator: VerifierKey,
    cosigner: Cosigner,
}

/// The disk, for as long as one question takes: between the look at what was cosigned last and the new record nobody
/// else looks.
type Turn<'w> = MutexGuard<'w, Arc<dyn Disk>>;

impl Witness {
    /// A witness of the ledger whose checkpoints `operator` signs, which remembers on `disk`. One process at a time.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, operator: VerifierKey, cosigner: Cosigner) -> Self {
        Self { disk: Mutex::new(disk), operator, cosigner }
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
    ) -> Result<NoteSignature, WitnessError<WitnessRefusal<R::Error>>> {
        self.cosign_if(seconds, |last| {
            consider(last, new, &self.operator, tiles)?;
            Ok(new.bare(&self.operator))
        })
    }

    /// Cosigns the checkpoint of `request`, `seconds` after 1970, if it continues what was cosigned before, as the
    /// request must prove.
    ///
    /// # Errors
    /// If it must not be cosigned, or if that it was cannot be made durable.
    pub fn add(
        &self,
        request: &AddCheckpoint,
        seconds: u64,
    ) -> Result<NoteSignature, WitnessError<AddRefusal>> {
        self.cosign_if(seconds, |last| admit(last, request, &self.operator))
    }

    fn cosign_if<R>(
        &self,
        seconds: u64,
        judge: impl FnOnce(Option<&SignedCheckpoint>) -> Result<SignedCheckpoint, R>,
    ) -> Result<NoteSignature, WitnessError<R>> {
        let turn = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.last(&turn)?;
        let new = judge(last.as_ref()).map_err(WitnessError::Refused)?;
        let Cosigner { name, key } = &self.cosigner;
        let cosignature = new.note().cosignature(name, key, seconds).map_err(WitnessError::Name)?;
        // If it is the last one its name may still not be durable: that attempt may have ended before that.
        let kept = if last.as_ref() == Some(&new) { turn.sync_dir() } else { remember(&turn, &new) };
        kept.map_err(WitnessError::Disk)?;
        Ok(cosignature)
    }

    fn last<R>(&self, turn: &Turn<'_>) -> Result<Option<SignedCheckpoint>, WitnessError<R>> {
        let Some(note) = read(turn).map_err(WitnessError::Disk)? else { return Ok(None) };
        SignedCheckpoint::open(&note, &self.operator).map(Some).map_err(WitnessError::Damaged)
    }
}

/// The file's bytes, as far as a checkpoint may have; `None` if nothing was ever cosigned.
fn read(turn: &Turn<'_>) -> io::Result<Option<Vec<u8>>> {
    if !turn.list()?.iter().any(|name| name == COSIGNED) {
        return Ok(None);
    }
    let file = turn.open(COSIGNED)?;
    let len = usize::try_from(file.size()?).unwrap_or(usize::MAX).min(CHECKPOINT_NOTE_BYTES_MAX + 1);
    let mut note = vec![0; len];
    file.read_at(0, &mut note)?;
    Ok(Some(note))
}

fn remember(turn: &Turn<'_>, new: &SignedCheckpoint) -> io::Result<()> {
    let mut file = turn.open(NEXT)?;
    file.truncate(0)?;
    file.append(new.to_string().as_bytes())?;
    file.sync()?;
    turn.rename(NEXT, COSIGNED)?;
    turn.sync_dir()
}
