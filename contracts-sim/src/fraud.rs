//! Proof that an operator showed two histories: two checkpoints that it signed and that cannot both be true. A file that
//! anyone can check who knows the network.
//!
//! Some contradictions need nothing but the two texts. Where one log is longer, the proof also holds the root that the
//! longer one really had when it was as long as the shorter, and the RFC 6962 consistency proof that this is so.
//!
//! ```text
//! gridhour/fraud/v1
//! note <bytes>
//! <one signed checkpoint>note <bytes>
//! <another>prefix <root in base64>      only if one log is longer than the other
//! <hash in base64>                      any number of them
//! ```

use core::fmt::{self, Write};

use gridhour_protocol::{
    merkle::{
        Hash, PROOF_HASHES_MAX, TreeHead, shown_beginning,
        tiled::{TileReader, TiledError, TiledTree},
        verify_consistency,
    },
    note::{VerifierKey, decimal, hash_from_base64, to_base64},
};

use crate::checkpoint::{CHECKPOINT_NOTE_BYTES_MAX, Checkpoint, CheckpointError, SignedCheckpoint};

/// The first line of a proof.
const MAGIC: &str = "gridhour/fraud/v1\n";
/// Bytes of the longest proof.
pub const FRAUD_BYTES_MAX: usize = 2 * CHECKPOINT_NOTE_BYTES_MAX + 46 * (PROOF_HASHES_MAX + 1) + 128;

/// How two checkpoints contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conflict {
    /// Two blocks, or two logs, at one height.
    Height,
    /// Two roots of logs of one size.
    Size,
    /// One block at two heights, or with two logs.
    Block,
    /// The log is shorter after a later block.
    Shrunk,
    /// The longer log does not begin with the shorter.
    Rewritten,
}

impl Conflict {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Height => "two-blocks-of-one-height",
            Self::Size => "two-roots-of-one-size",
            Self::Block => "one-block-twice",
            Self::Shrunk => "shrunk-log",
            Self::Rewritten => "rewritten-log",
        }
    }

    /// What the texts alone contradict each other in. `None` says only that they do not show it.
    #[must_use]
    pub fn between(one: &Checkpoint, other: &Checkpoint) -> Option<Self> {
        if one.network != other.network || one == other {
            return None;
        }
        let (lower, higher) = if one.height <= other.height { (one, other) } else { (other, one) };
        if lower.height == higher.height {
            return Some(Self::Height);
        }
        if lower.hash == higher.hash {
            return Some(Self::Block);
        }
        if lower.log.size > higher.log.size {
            return Some(Self::Shrunk);
        }
        (lower.log.size == higher.log.size && lower.log.root != higher.log.root).then_some(Self::Size)
    }
}

/// What the longer log was when it was as long as the shorter, with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beginning {
    root: Hash,
    proof: Vec<Hash>,
}

/// Two signed checkpoints that contradict each other. There is no other way to have one than to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fraud {
    notes: [SignedCheckpoint; 2],
    beginning: Option<Beginning>,
    conflict: Conflict,
}

/// Why something is no proof of fraud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FraudError {
    /// Not the form of one.
    #[error("no proof of fraud: {0}")]
    Malformed(&'static str),
    /// One of the two is no checkpoint of this operator.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Both can be true.
    #[error("the two checkpoints do not contradict each other")]
    NoConflict,
}

/// Why two checkpoints could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError<E> {
    /// The tiles could not be read.
    #[error(transparent)]
    Tiles(#[from] TiledError<E>),
    /// The tiles are those of another log than the longer checkpoint's: they show nothing.
    #[error("the tiles give another root than the checkpoint of {} entries: ask whoever serves that log", .0.size)]
    OtherLog(TreeHead),
}

/// Compares two checkpoints of one operator; `tiles` are those of the longer log. Returns the proof if they contradict
/// each other; otherwise the shorter log is a beginning of the longer.
///
/// # Errors
/// If the tiles are needed and cannot be had, or are not the longer log's.
pub fn compare<R: TileReader>(
    one: &SignedCheckpoint,
    other: &SignedCheckpoint,
    operator: &VerifierKey,
    tiles: &R,
) -> Result<Option<Fraud>, CompareError<R::Error>> {
    if let Some(fraud) = Fraud::between(one, other, operator) {
        return Ok(Some(fraud));
    }
    let [shorter, longer] = by_size([one.checkpoint().log, other.checkpoint().log]);
    if shorter.size == 0 || shorter.size == longer.size {
        return Ok(None);
    }
    let tree = TiledTree::new(tiles, longer.size);
    let (beginning, proof) = (tree.head_of(shorter.size)?, tree.consistency_proof(shorter.size)?);
    if !verify_consistency(&beginning, &longer, &proof) {
        return Err(CompareError::OtherLog(longer));
    }
    let rewritten = beginning != shorter;
    let notes = [one.bare(operator), other.bare(operator)];
    let beginning = Some(Beginning { root: beginning.root, proof });
    Ok(rewritten.then_some(Fraud { notes, beginning, conflict: Conflict::Rewritten }))
}

fn by_size([one, other]: [TreeHead; 2]) -> [TreeHead; 2] {
    if one.size <= other.size { [one, other] } else { [other, one] }
}

impl Fraud {
    /// The proof, if the texts of two checkpoints of `operator` contradict each other; see [`compare`] for logs.
    #[must_use]
    pub fn between(one: &SignedCheckpoint, other: &SignedCheckpoint, operator: &VerifierKey) -> Option<Self> {
        let conflict = Conflict::between(one.checkpoint(), other.checkpoint())?;
        Some(Self { notes: [one.bare(operator), other.bare(operator)], beginning: None, conflict })
    }

    /// The proof, if `hashes`, which should show that the log of `longer` continues that of `shorter`, show that it
    /// continues another one. Where the shorter log is a complete subtree they cannot: its root is not among them.
    #[must_use]
    pub fn shown_by(
        hashes: &[Hash],
        shorter: &SignedCheckpoint,
        longer: &SignedCheckpoint,
        operator: &VerifierKey,
    ) -> Option<Self> {
        let [old, new] = [shorter, longer].map(|signed| signed.checkpoint().log);
        let real = shown_beginning(&old, &new, hashes).filter(|real| *real != old)?;
        let notes = [shorter.bare(operator), longer.bare(operator)];
        let beginning = Some(Beginning { root: real.root, proof: hashes.to_vec() });
        Some(Self { notes, beginning, conflict: Conflict::Rewritten })
    }

    /// Parses a proof and checks it: both checkpoints are signed by `operator`, and contradict each other.
    ///
    /// # Errors
    /// If it is malformed, or no proof.
    pub fn open(bytes: &[u8], operator: &VerifierKey) -> Result<Self, FraudError> {
        if bytes.len() > FRAUD_BYTES_MAX {
            return Err(FraudError::Malformed("it is too long"));
        }
        let text = str::from_utf8(bytes).map_err(|_| FraudError::Malformed("not UTF-8"))?;
        let rest = text.strip_prefix(MAGIC).ok_or(FraudError::Malformed("it begins otherwise"))?;
        let (one, rest) = take_note(rest)?;
        let (other, rest) = take_note(rest)?;
        let open = |note: &str| SignedCheckpoint::open(note.as_bytes(), operator);
        let notes = [open(one)?, open(other)?];
        let beginning = (!rest.is_empty()).then(|| take_beginning(rest)).transpose()?;
        let conflict = check(&notes, beginning.as_ref()).ok_or(FraudError::NoConflict)?;
        let fraud = Self { notes, beginning, conflict };
        if fraud.to_string() == text {
            Ok(fraud)
        } else {
            Err(FraudError::Malformed("it is spelled otherwise"))
        }
    }

    /// What the two contradict each other in.
    #[must_use]
    pub fn conflict(&self) -> Conflict {
        self.conflict
    }

    /// The two notes.
    #[must_use]
    pub fn notes(&self) -> &[SignedCheckpoint; 2] {
        &self.notes
    }

    /// The two checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> [&Checkpoint; 2] {
        self.notes.each_ref().map(SignedCheckpoint::checkpoint)
    }
}

impl fmt::Display for Fraud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MAGIC)?;
        for note in &self.notes {
            let note = note.to_string();
            write!(f, "note {}\n{note}", note.len())?;
        }
        let Some(Beginning { root, proof }) = &self.beginning else { return Ok(()) };
        writeln!(f, "prefix {}", to_base64(root))?;
        proof.iter().try_for_each(|hash| f.write_str(&to_base64(hash)).and_then(|()| f.write_char('\n')))
    }
}

fn check(notes: &[SignedCheckpoint; 2], beginning: Option<&Beginning>) -> Option<Conflict> {
    let [one, other] = notes.each_ref().map(SignedCheckpoint::checkpoint);
    let Some(Beginning { root, proof }) = beginning else {
        return Conflict::between(one, other);
    };
    let [shorter, longer] = by_size([one.log, other.log]);
    let real = TreeHead { root: *root, ..shorter };
    (real != shorter && verify_consistency(&real, &longer, proof)).then_some(Conflict::Rewritten)
}

/// The note at the beginning, and what follows it.
fn take_note(text: &str) -> Result<(&str, &str), FraudError> {
    let malformed = FraudError::Malformed("a note stands behind its length");
    let (line, rest) = text.split_once('\n').ok_or(malformed.clone())?;
    let len = line.strip_prefix("note ").and_then(decimal).and_then(|len| usize::try_from(len).ok());
    len.and_then(|len| rest.split_at_checked(len)).ok_or(malformed)
}

fn take_beginning(text: &str) -> Result<Beginning, FraudError> {
    let malformed = FraudError::Malformed("a root and hashes in base64 stand behind the notes");
    let mut lines = text.lines();
    let root = lines.next().and_then(|line| line.strip_prefix("prefix ")).and_then(hash_from_base64);
    let proof: Option<Vec<Hash>> = lines.map(hash_from_base64).collect();
    root.zip(proof).map(|(root, proof)| Beginning { root, proof }).ok_or(malformed)
}
