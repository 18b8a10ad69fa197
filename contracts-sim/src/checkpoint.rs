//! A ledger in a few lines: whoever keeps a checkpoint can tell later whether history was changed.
//!
//! ```text
//! gridhour/<network id>        origin, and the name of the operator's key
//! 5                            entries of the log
//! <base64>                     its RFC 6962 root
//! height 7                     the block after which the log is so
//! block <hash>                 its header's hash, which fixes everything before it
//!
//! — gridhour/<network id> <base64>
//! ```
//! The form is c2sp.org/tlog-checkpoint, so any witness of logs can cosign it. That text advises against lines after
//! the third, because monitors of a log cannot check them; auditors of a ledger do: a replay gives both. They are there
//! because the log alone does not fix the ledger: blocks without transactions leave it as it was.

use core::fmt;

use gridhour_protocol::{
    id::{BlockHash, NetworkId, from_hex32},
    merkle::{TreeHead, empty_root},
    note::{KeyKind, Note, NoteError, NoteSignature, VerifierKey, decimal, hash_from_base64, to_base64},
    signed::{PublicKey, SecretKey},
    units::Height,
};

use crate::{block::Header, limits::COUNT_MAX, state::State};

/// What stands before the network's id in an origin.
const ORIGIN: &str = "gridhour/";
/// Bytes of the longest checkpoint without signatures.
pub const CHECKPOINT_TEXT_BYTES_MAX: usize = 256;
/// Bytes of a checkpoint that the operator alone signed.
pub const CHECKPOINT_NOTE_BYTES_MAX: usize = 512;

/// The ledger after the block at `height`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The network.
    pub network: NetworkId,
    /// The log of all entries.
    pub log: TreeHead,
    /// The block.
    pub height: Height,
    /// Hash of its header; the network's id at height 0.
    pub hash: BlockHash,
}

/// Why a text is no checkpoint of this ledger. Always the fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not the lines of a checkpoint in their one spelling.
    #[error("no checkpoint of a ledger: {0}")]
    Malformed(&'static str),
    /// A checkpoint of another network.
    #[error("a checkpoint of another network, {0}")]
    Network(NetworkId),
    /// Not signed as it must be.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Checkpoint {
    /// The last block of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let tip = state.tip();
        let log = TreeHead { size: tip.log.size(), root: tip.log.root() };
        Self { network: state.network(), log, height: tip.height, hash: tip.hash }
    }

    /// The block with this header.
    #[must_use]
    pub fn of_header(header: &Header) -> Self {
        Self { network: header.network, log: header.log, height: header.height, hash: header.hash() }
    }

    /// Parses the lines, which [`Checkpoint`]'s `Display` prints again byte by byte.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        if text.len() > CHECKPOINT_TEXT_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let network = line().strip_prefix(ORIGIN).and_then(|id| from_hex32(id).ok());
        let size = decimal(line()).filter(|size| *size <= COUNT_MAX);
        let root = hash_from_base64(line());
        let height = line().strip_prefix("height ").and_then(decimal).filter(|height| *height <= COUNT_MAX);
        let hash = line().strip_prefix("block ").and_then(|hash| from_hex32(hash).ok());
        let checkpoint = Self {
            network: NetworkId(network.ok_or(malformed("the first line is gridhour/ and a network's id"))?),
            log: TreeHead {
                size: size.ok_or(malformed("the second line is the log's size"))?,
                root: root.ok_or(malformed("the third line is the log's root in base64"))?,
            },
            height: Height(height.ok_or(malformed("the fourth line is `height` and a number"))?),
            hash: BlockHash(hash.ok_or(malformed("the fifth line is `block` and a hash"))?),
        };
        if checkpoint.to_string() != text {
            return Err(malformed("there is more, or it is spelled otherwise"));
        }
        checkpoint.check()
    }

    /// What is so in every ledger, whatever is on it.
    fn check(self) -> Result<Self, CheckpointError> {
        if self.log.size == 0 && self.log.root != empty_root() {
            return Err(CheckpointError::Malformed("the root is not that of an empty log"));
        }
        if self.height == Height(0) && (self.log.size, self.hash.0) != (0, self.network.0) {
            return Err(CheckpointError::Malformed("a ledger begins empty, with its network's id as hash"));
        }
        Ok(self)
    }

    /// The checkpoint as its operator signs it.
    ///
    /// # Panics
    /// Never: a checkpoint's lines and its origin are what a note and a name may be.
    #[must_use]
    pub fn sign(&self, operator: &SecretKey) -> SignedCheckpoint {
        let note = Note::signed(self.to_string(), &origin(&self.network), operator)
            .expect("a checkpoint is the text of a note");
        SignedCheckpoint { checkpoint: *self, note }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, log, height, hash } = self;
        writeln!(f, "{}\n{}\n{}", origin(network), log.size, to_base64(&log.root))?;
        writeln!(f, "height {}\nblock {hash}", height.0)
    }
}

/// The first line of a network's checkpoints: the id that whoever names the network knows, wherever it is served.
#[must_use]
pub fn origin(network: &NetworkId) -> String {
    format!("{ORIGIN}{network}")
}

/// The key that signs a network's checkpoints.
///
/// # Errors
/// If the operator's key is weak; no genesis names such a one.
pub fn operator_key(network: &NetworkId, operator: PublicKey) -> Result<VerifierKey, NoteError> {
    VerifierKey::new(&origin(network), KeyKind::Log, operator)
}

/// A checkpoint and the note that it was read from, signed by the operator. There is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Parses a signed checkpoint, and checks that `operator` signed it. Lines of others are kept, not believed.
    ///
    /// # Errors
    /// If it is malformed, of another network, or not the operator's.
    pub fn open(note: &[u8], operator: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if origin(&checkpoint.network) != operator.name() {
            return Err(CheckpointError::Network(checkpoint.network));
        }
        note.verify(operator)?;
        Ok(Self { checkpoint, note })
    }

    /// What it says.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note, with every line under it.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The same with the operator's line alone: what is kept and passed on, as anyone may have written the others.
    #[must_use]
    pub fn bare(&self, operator: &VerifierKey) -> Self {
        Self { checkpoint: self.checkpoint, note: self.note.only(operator) }
    }

    /// The same with other lines under the operator's.
    pub(crate) fn with_lines(&self, operator: &VerifierKey, lines: Vec<NoteSignature>) -> Self {
        let own = self.note.only(operator);
        let note = own.with_lines(own.signatures().iter().cloned().chain(lines).collect());
        Self { checkpoint: self.checkpoint, note }
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}
