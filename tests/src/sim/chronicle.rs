//! The ledger as anyone may rebuild it from its blocks: what checkers read, whatever the ledger node itself
//! believes.

use gridhour_contracts_sim::{
    block::{Block, Signatures, verify_and_apply},
    finding::Finding,
    genesis::Genesis,
    ledger::entry::Entry,
    state::State,
};
use gridhour_protocol::{merkle::Hash, units::Height, wire};

/// A replica that follows the durable blocks.
#[derive(Clone, Debug)]
pub struct Chronicle {
    state: State,
    roots: Vec<Hash>,
    blocks: Vec<Vec<u8>>,
}

impl Chronicle {
    /// The beginning.
    ///
    /// # Panics
    /// If the genesis breaks its own rules: the scenario is wrong.
    #[must_use]
    pub fn new(genesis: Genesis) -> Self {
        let state = State::new(genesis).expect("the scenario's genesis is sound");
        Self { roots: vec![state.root()], state, blocks: Vec::new() }
    }

    /// Applies those of all durable blocks, from height 1, that are new, and returns their entries.
    ///
    /// # Errors
    /// If a durable block breaks a rule.
    pub fn follow(&mut self, durable: &[Vec<u8>]) -> Result<Vec<Entry>, Finding> {
        let mut entries = Vec::new();
        for bytes in &durable[self.blocks.len()..] {
            let batch = verify_and_apply(&mut self.state, read_block(bytes), Signatures::CheckedBefore)?;
            entries.extend_from_slice(batch.entries());
            self.roots.push(self.state.root());
            self.blocks.push(bytes.clone());
        }
        Ok(entries)
    }

    /// The state after the last durable block.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state's root after the block of `height`, if that is durable.
    #[must_use]
    pub fn root_at(&self, height: Height) -> Option<&Hash> {
        self.roots.get(usize::try_from(height.0).ok()?)
    }

    /// The blocks' bytes, from height 1.
    #[must_use]
    pub fn blocks(&self) -> &[Vec<u8>] {
        &self.blocks
    }
}

/// The block that a frame of the ledger node's journal holds.
///
/// # Panics
/// If it holds none: no rule lets the ledger node write anything else there.
#[must_use]
pub fn read_block(bytes: &[u8]) -> Block {
    wire::decode(bytes).expect("the ledger node writes whole blocks")
}
