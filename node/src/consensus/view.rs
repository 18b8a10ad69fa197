//! Reading the ledger while it goes on.

use std::sync::{Arc, PoisonError, RwLock};

use gridhour_contracts_sim::{
    block::{Batch, Block},
    proof::RecordProof,
    state::{State, StateKey},
};
use gridhour_protocol::{units::Height, wire};
use tokio::sync::watch;

use super::LedgerCounts;
use crate::store::{journal::JournalReader, log_error::LogError, restore::RestoreError};

/// The ledger after its last durable block. Cheap to clone.
#[derive(Clone)]
pub struct LedgerView {
    state: Arc<RwLock<State>>,
    journal: JournalReader,
    tip: watch::Receiver<Height>,
    counts: LedgerCounts,
}

impl LedgerView {
    pub(super) fn new(state: State, journal: JournalReader) -> (Self, watch::Sender<Height>) {
        let (sender, tip) = watch::channel(state.tip().height);
        (Self { state: Arc::new(RwLock::new(state)), journal, tip, counts: LedgerCounts::default() }, sender)
    }

    /// Looks at one consistent state. Keep it short: the next block waits.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn commit(&self, batch: &Batch) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).commit(batch);
    }

    /// Tells when the height changes.
    #[must_use]
    pub fn tip(&self) -> watch::Receiver<Height> {
        self.tip.clone()
    }

    /// What is counted while it goes on.
    #[must_use]
    pub fn counts(&self) -> &LedgerCounts {
        &self.counts
    }

    /// The blocks, for streaming.
    #[must_use]
    pub fn journal(&self) -> &JournalReader {
        &self.journal
    }

    /// The block at `height`. Blocks on the disk.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn block(&self, height: Height) -> Result<Block, RestoreError> {
        let block = self.journal.read(height.0)?;
        wire::decode(&block).map_err(|source| RestoreError::Block { height: height.0, source })
    }

    /// Proves a record as of the last checkpoint that a block names, under the last block's header. `None` before there is
    /// one, or while it is older than the state that was loaded. Blocks on the disk.
    ///
    /// # Errors
    /// If the last block cannot be read.
    pub fn prove(&self, key: StateKey) -> Result<Option<RecordProof>, RestoreError> {
        let (shown, tip, checkpoint) =
            self.read(|state| (state.show(&key), state.tip().height, state.tip().checkpoint.height));
        let Some(shown) = shown.filter(|_| checkpoint < tip) else { return Ok(None) };
        let block = self.block(tip)?;
        Ok(Some(RecordProof { key, value: shown.value, proof: shown.proof, header: block.header }))
    }

    /// Encoded blocks from `from` on: at most `count`, and as many as fit `bytes`. None beyond the tip. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn blocks(&self, from: Height, count: usize, bytes: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let mut found = Vec::new();
        let mut room = bytes;
        for block in self.journal.blocks(from.0).take(count) {
            let (_, block) = block?;
            let Some(left) = room.checked_sub(block.len()) else { break };
            room = left;
            found.push(block);
        }
        Ok(found)
    }
}
