//! What can be shown to a stranger who holds the network file and nothing else: no node, no clock, no ledger.
//!
//! ```text
//!  record of the state ── state root ──┐
//!                                      ├── block header ── operator's signature ── network file
//!  receipt ── lane ── entry ── log ────┘
//! ```
//! What a header says is its operator's word. That the operator kept the rules of the ledger is another matter, which an
//! [audit](crate::audit) shows to whoever has all blocks; and that there is one history only, which nobody can show.

mod bundle;
mod history;
mod receipt;

use gridhour_protocol::{
    id::NetworkId,
    merkle::{Hash, PROOF_HASHES_MAX, verify_inclusion},
    signed::{PublicKey, Signed},
    units::{Height, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

pub use self::{
    bundle::{BUNDLE_BYTES_MAX, BUNDLE_MAGIC, Bundle, BundleError},
    history::{Seeker, Sought},
    receipt::{ProvenReceipt, ReceiptProof},
};
use crate::{
    block::Header,
    genesis::Genesis,
    ledger::entry::Entry,
    limits::HEADER_BYTES_MAX,
    state::{StateKey, StateRoot, StateValue, tree},
};

/// Whose word counts: the network, and who signs its blocks. A [`Genesis`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The network.
    pub network: NetworkId,
    /// Who orders its transactions.
    pub operator: PublicKey,
}

impl From<&Genesis> for Anchor {
    fn from(genesis: &Genesis) -> Self {
        Self { network: genesis.id(), operator: genesis.operator }
    }
}

/// Why something that was offered as a proof is none. The fault of whoever offered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The header is another network's, or another operator's.
    #[error("the block header is of another network or operator")]
    Foreign,
    /// Not signed by whom it names.
    #[error("the {0} is not signed by whom it names")]
    Signature(&'static str),
    /// What is said does not belong together.
    #[error("the proof contradicts itself: {0}")]
    Contradiction(&'static str),
    /// It leads to another root.
    #[error("the proof does not lead to the {0} in the block header")]
    Root(&'static str),
}

impl Anchor {
    /// The header, if it is this network's operator who signed it.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, header: &Signed<Header>) -> Result<Header, ProofError> {
        let body = &header.body;
        if (body.network, body.operator) != (self.network, self.operator) {
            return Err(ProofError::Foreign);
        }
        let verified = header.clone().verify().map_err(|_| ProofError::Signature("block header"))?;
        Ok(verified.into_signed().body)
    }
}

/// What stood in the state at a checkpoint, or that nothing did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordProof {
    /// Which record.
    pub key: StateKey,
    /// The record; `None` where there is none.
    pub value: Option<StateValue>,
    /// Why to believe it under the root of the checkpoint.
    pub proof: tree::Proof,
    /// A header that names the checkpoint: the newer, the more it says of how old the checkpoint is.
    pub header: Signed<Header>,
}

/// A record of the state, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenRecord {
    /// Which record.
    pub key: StateKey,
    /// The record; `None` where there was none.
    pub value: Option<StateValue>,
    /// The block after which this was so. What later blocks did to it is not shown.
    pub at: Height,
    /// The time of that block, by the ledger.
    pub time: Timestamp,
    /// The header that names the checkpoint.
    pub header: Header,
}

impl RecordProof {
    /// What is proven about `asked` to whoever trusts `anchor` for headers.
    ///
    /// # Errors
    /// If nothing is.
    pub fn verify(&self, anchor: &Anchor, asked: &StateKey) -> Result<ProvenRecord, ProofError> {
        if self.key != *asked {
            return Err(ProofError::Contradiction("it is about another record than was asked for"));
        }
        let header = anchor.check(&self.header)?;
        if self.value.as_ref().is_some_and(|value| !value.fits(&self.key)) {
            return Err(ProofError::Contradiction("the value is not one of the key"));
        }
        let value = self.value.as_ref().map(StateValue::hash);
        if self.proof.root(&self.key.path(), value.as_ref()) != Some(header.checkpoint.root) {
            return Err(ProofError::Root("state root"));
        }
        let StateRoot { height, time, .. } = header.checkpoint;
        Ok(ProvenRecord { key: self.key, value: self.value.clone(), at: height, time, header })
    }
}

impl Wire for RecordProof {
    const BYTES_MAX: usize = 64 + StateValue::BYTES_MAX + tree::Proof::BYTES_MAX + HEADER_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        self.value.as_ref().map_or(Ok(()), Wire::check_bounds)?;
        self.proof.check_bounds()
    }
}

/// An entry of the log: the answer of the ledger to one transaction, at a place that never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryProof {
    /// The entry.
    pub entry: Entry,
    /// Its place in the log.
    pub index: u64,
    /// RFC 6962 inclusion proof, from the leaf up.
    pub path: Vec<Hash>,
    /// A header whose log has the entry.
    pub header: Signed<Header>,
}

impl EntryProof {
    /// The header of the log that has the entry, for whoever trusts `anchor` for headers.
    ///
    /// # Errors
    /// If it is not proven that the log has it.
    pub fn verify(&self, anchor: &Anchor) -> Result<Header, ProofError> {
        let header = anchor.check(&self.header)?;
        if self.entry.height > header.height {
            return Err(ProofError::Contradiction("the entry is of a block after the header"));
        }
        let (leaf, log) = (self.entry.leaf_hash(), header.log);
        match verify_inclusion(&leaf, self.index, log.size, &self.path, &log.root) {
            true => Ok(header),
            false => Err(ProofError::Root("log root")),
        }
    }
}

impl Wire for EntryProof {
    const BYTES_MAX: usize = Entry::BYTES_MAX + 32 * PROOF_HASHES_MAX + 64 + HEADER_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        self.entry.check_bounds()?;
        at_most("path", self.path.len(), PROOF_HASHES_MAX)
    }
}
