//! What a witness may cosign: checkpoints of one ledger that only grows. Pure; what it remembers is its caller's to keep.
//!
//! A cosignature (c2sp.org/tlog-cosignature) says: at this time, the longest log that I have seen of this origin has this
//! root. So a witness never signs two checkpoints of which the one is not a continuation of the other, whoever asks, in
//! whatever order. [`consider`] is for a witness that fetches what it cosigns, [`admit`] for one that is sent it
//! (c2sp.org/tlog-witness).

use gridhour_protocol::{
    add_checkpoint::AddCheckpoint,
    merkle::{tiled::TileReader, verify_consistency},
    note::{NoteError, VerifierKey},
    units::Height,
};

use crate::{
    checkpoint::{CheckpointError, SignedCheckpoint},
    fraud::{CompareError, Conflict, Fraud, compare},
};

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal<E> {
    /// It has cosigned a later one.
    #[error("a checkpoint of height {} was cosigned before, this one is of height {}", last.0, found.0)]
    Older {
        /// The last one.
        last: Height,
        /// The one at hand.
        found: Height,
    },
    /// The operator has signed two histories.
    #[error("the operator has signed two histories ({})", .0.conflict().name())]
    Fraud(Box<Fraud>),
    /// It cannot be told.
    #[error(transparent)]
    Unknown(#[from] CompareError<E>),
}

/// Whether `new` may be cosigned by a witness that cosigned `last` before, if it ever did. `tiles` are those of the log
/// of `new`.
///
/// # Errors
/// If it may not, or if the tiles do not show that it may.
pub fn consider<R: TileReader>(
    last: Option<&SignedCheckpoint>,
    new: &SignedCheckpoint,
    operator: &VerifierKey,
    tiles: &R,
) -> Result<(), WitnessRefusal<R::Error>> {
    let Some(last) = last else { return Ok(()) };
    // A contradiction is worth more than a refusal, so it is looked for first.
    if let Some(fraud) = Fraud::between(last, new, operator) {
        return Err(WitnessRefusal::Fraud(Box::new(fraud)));
    }
    let [before, found] = [last, new].map(|signed| signed.checkpoint().height);
    if found < before {
        return Err(WitnessRefusal::Older { last: before, found });
    }
    match compare(last, new, operator, tiles)? {
        Some(fraud) => Err(WitnessRefusal::Fraud(Box::new(fraud))),
        None => Ok(()),
    }
}

/// Why a request for a cosignature is refused, in the order in which it is checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddRefusal {
    /// A checkpoint of another log.
    #[error("this witness does not know the log {0:?}")]
    UnknownLog(String),
    /// Not signed by the log's key.
    #[error(transparent)]
    Unsigned(NoteError),
    /// Signed, but no checkpoint of a ledger.
    #[error(transparent)]
    Malformed(CheckpointError),
    /// The log is shorter than what it should continue.
    #[error("a log of {new} entries cannot continue one of {old}")]
    Backwards {
        /// Entries of what was cosigned, as the request says.
        old: u64,
        /// Entries of the new checkpoint.
        new: u64,
    },
    /// The operator has signed two histories, and here is the proof.
    #[error("the operator has signed two histories ({})", .0.conflict().name())]
    Fraud(Box<Fraud>),
    /// Another checkpoint was cosigned last than the one that the request begins at.
    #[error("what was cosigned last has {last} entries, not {old}")]
    OtherSize {
        /// Entries of what was cosigned last; 0 if nothing was.
        last: u64,
        /// Entries that the request says.
        old: u64,
    },
    /// A later block's checkpoint, with the same log, was cosigned.
    #[error("a checkpoint of height {} was cosigned before, this one is of height {}", last.0, found.0)]
    Older {
        /// The last one.
        last: Height,
        /// The one at hand.
        found: Height,
        /// Entries of both logs.
        size: u64,
    },
    /// The proof does not show that the log continues what was cosigned last.
    #[error("the proof does not show that the log continues what was cosigned last")]
    Unproven,
}

impl AddRefusal {
    /// The status of the answer, as c2sp.org/tlog-witness has it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Backwards { .. } => 400,
            Self::Unsigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::OtherSize { .. } | Self::Older { .. } => 409,
            Self::Fraud(fraud) if fraud.conflict() != Conflict::Rewritten => 409,
            Self::Fraud(_) | Self::Unproven => 422,
        }
    }

    /// Entries of what was cosigned last, where the refusal is about that; an answer of status 409 says it.
    #[must_use]
    pub fn last_size(&self) -> Option<u64> {
        match self {
            Self::OtherSize { last, .. } => Some(*last),
            Self::Older { size, .. } => Some(*size),
            Self::Fraud(fraud) => Some(fraud.checkpoints()[0].log.size),
            Self::UnknownLog(_)
            | Self::Unsigned(_)
            | Self::Malformed(_)
            | Self::Backwards { .. }
            | Self::Unproven => None,
        }
    }
}

/// Whether the checkpoint of `request` may be cosigned by a witness that cosigned `last` before, if it ever
/// did, and the checkpoint. Lines of others under it are ignored.
///
/// # Errors
/// The first reason why it may not, in the order of [`AddRefusal`].
pub fn admit(
    last: Option<&SignedCheckpoint>,
    request: &AddCheckpoint,
    operator: &VerifierKey,
) -> Result<SignedCheckpoint, AddRefusal> {
    let new = open(request, operator)?;
    let size = new.checkpoint().log.size;
    if request.old > size {
        return Err(AddRefusal::Backwards { old: request.old, new: size });
    }
    // A contradiction is worth more than a refusal, so it is looked for first.
    if let Some(fraud) = last.and_then(|last| Fraud::between(last, &new, operator)) {
        return Err(AddRefusal::Fraud(Box::new(fraud)));
    }
    let last_size = last.map_or(0, |last| last.checkpoint().log.size);
    if request.old != last_size {
        return Err(AddRefusal::OtherSize { last: last_size, old: request.old });
    }
    check_growth(last, &new, request, operator)?;
    Ok(new)
}

/// The checkpoint with the operator's line alone. Bad lines, which anyone can add, hide no good one.
fn open(request: &AddCheckpoint, operator: &VerifierKey) -> Result<SignedCheckpoint, AddRefusal> {
    let AddCheckpoint { note, .. } = request;
    let origin = note.text().lines().next().unwrap_or_default();
    if origin != operator.name() {
        return Err(AddRefusal::UnknownLog(origin.to_owned()));
    }
    let unsigned = || AddRefusal::Unsigned(NoteError::Unsigned(operator.name().to_owned()));
    let (line, _) = note.good_line(operator).ok_or_else(unsigned)?;
    let bare = note.with_lines(vec![line.clone()]).to_string();
    SignedCheckpoint::open(bare.as_bytes(), operator).map_err(AddRefusal::Malformed)
}

/// That `new` is of the log of `last`, grown or not. The two do not contradict each other by their texts.
fn check_growth(
    last: Option<&SignedCheckpoint>,
    new: &SignedCheckpoint,
    request: &AddCheckpoint,
    operator: &VerifierKey,
) -> Result<(), AddRefusal> {
    let Some(last) = last else {
        return if request.proof.is_empty() { Ok(()) } else { Err(AddRefusal::Unproven) };
    };
    let [before, found] = [last, new].map(|signed| signed.checkpoint());
    let continues = match (before.log.size, request.proof.as_slice()) {
        (0, proof) => proof.is_empty(),
        (_, proof) => verify_consistency(&before.log, &found.log, proof),
    };
    if !continues {
        let fraud = Fraud::shown_by(&request.proof, last, new, operator);
        return Err(fraud.map_or(AddRefusal::Unproven, |fraud| AddRefusal::Fraud(Box::new(fraud))));
    }
    if found.height < before.height {
        let size = before.log.size;
        return Err(AddRefusal::Older { last: before.height, found: found.height, size });
    }
    Ok(())
}
