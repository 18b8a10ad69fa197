//! What a witness may cosign: checkpoints of one ledger that only grows. Pure; what it remembers is its caller's to keep.
//!
//! A cosignature (c2sp.org/tlog-cosignature) says: at this time, the longest log that I have seen of this origin has this
//! root. So a witness never signs two checkpoints of which the one is not a continuation of the other, whoever asks, in
//! whatever order.

use gridhour_protocol::{merkle::tiled::TileReader, note::VerifierKey, units::Height};

use crate::{
    checkpoint::SignedCheckpoint,
    fraud::{CompareError, Fraud, compare},
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
