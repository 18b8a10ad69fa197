//! One receipt, from the provider's signature to the operator's.

use gridhour_protocol::{
    id::ReceiptId,
    merkle::{Hash, PROOF_HASHES_MAX, leaf_hash, verify_inclusion},
    receipt::Receipt,
    signed::Signed,
    units::Height,
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::{Anchor, EntryProof, ProofError};
use crate::{block::Header, ledger::entry::Lane};

/// A receipt that its client accepted and its provider collected for, as the ledger says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptProof {
    /// The receipt.
    pub receipt: Signed<Receipt>,
    /// RFC 6962 inclusion proof among the receipts of its lane, from the leaf up.
    pub path: Vec<Hash>,
    /// The entry that states the lane.
    pub entry: EntryProof,
}

/// A receipt, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenReceipt {
    /// Its id.
    pub id: ReceiptId,
    /// What its provider signed.
    pub receipt: Receipt,
    /// The lane as the ledger states it: it was paid for this many receipts, this one among them.
    pub lane: Lane,
    /// The block that collected.
    pub at: Height,
    /// A header whose log has the entry.
    pub header: Header,
}

impl ReceiptProof {
    /// What is proven to whoever trusts `anchor` for headers.
    ///
    /// # Errors
    /// If nothing is.
    pub fn verify(&self, anchor: &Anchor) -> Result<ProvenReceipt, ProofError> {
        let id = self.receipt.id();
        let receipt = self.receipt.clone().verify().map_err(|_| ProofError::Signature("receipt"))?;
        let receipt = receipt.into_signed().body;
        let entry = &self.entry.entry;
        if entry.event.session() != Some(receipt.session) {
            return Err(ProofError::Contradiction("receipt and entry are of different sessions"));
        }
        let lane = entry.event.lanes().iter().find(|lane| lane.lane == receipt.lane);
        let lane = *lane.ok_or(ProofError::Contradiction("the entry does not state the receipt's lane"))?;
        let (leaf, index) = (leaf_hash(&id.0), u64::from(receipt.index));
        if !verify_inclusion(&leaf, index, lane.receipts.into(), &self.path, &lane.receipts_root) {
            return Err(ProofError::Contradiction("the receipt is not among those of its lane"));
        }
        let header = self.entry.verify(anchor)?;
        Ok(ProvenReceipt { id, receipt, lane, at: entry.height, header })
    }
}

impl Wire for ReceiptProof {
    const BYTES_MAX: usize =
        <Signed<Receipt> as Wire>::BYTES_MAX + 32 * PROOF_HASHES_MAX + 8 + EntryProof::BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        self.receipt.check_bounds()?;
        at_most("path", self.path.len(), PROOF_HASHES_MAX)?;
        self.entry.check_bounds()
    }
}
