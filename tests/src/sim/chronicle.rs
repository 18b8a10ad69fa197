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

use super::durable::Durable;

/// Where the ledger node keeps the block of `height`.
#[must_use]
pub fn block_key(height: Height) -> Vec<u8> {
    [b"block".as_slice(), &height.0.to_be_bytes()].concat()
}

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

    /// Applies the blocks that are new, and returns their entries.
    ///
    /// # Errors
    /// If a durable block breaks a rule.
    pub fn follow(&mut self, durable: &Durable) -> Result<Vec<Entry>, Finding> {
        let mut entries = Vec::new();
        while let Some(bytes) = durable.get(&block_key(Height(self.blocks.len() as u64 + 1))) {
            let batch = verify_and_apply(&mut self.state, read_block(bytes), Signatures::CheckedBefore)?;
            entries.extend_from_slice(batch.entries());
            self.roots.push(self.state.root());
            self.blocks.push(bytes.to_vec());
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

/// The block that a durable record holds.
///
/// # Panics
/// If it holds none: no rule lets the ledger node write anything else there.
#[must_use]
pub fn read_block(bytes: &[u8]) -> Block {
    wire::decode(bytes).expect("the ledger node writes whole blocks")
}
