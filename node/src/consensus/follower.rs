//! Follows a ledger that another node orders: every block is checked with all signatures before it is kept.
//!
//! Whose fault a bad block is decides what happens. Bytes that the operator did not sign are the sender's: they are
//! dropped. A block as the operator signed it that breaks a rule, or a second one at a height, is the operator's: there
//! is no honest way on, and the blocks prove it to anyone.

use std::io;

use gridhour_contracts_sim::{
    block::{Block, CheckedBlock, Signatures, tx_root, verify},
    finding::{Finding, Rule},
    genesis::Genesis,
};
use gridhour_protocol::{
    id::{BlockHash, to_hex},
    units::{Height, Timestamp},
    wire,
};
use rayon::prelude::*;

use super::{LedgerView, keep::Keep};
use crate::store::{ledger_dir::Ledger, log_error::LogError, tiles::TileShelf};

/// Signed blocks that cannot both stand, or one that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{finding}")]
pub struct Breach {
    /// What is wrong.
    pub finding: Finding,
    /// Encoded blocks that show it, each signed by the operator; at most two.
    pub blocks: Vec<Vec<u8>>,
}

/// Why blocks were not kept. Those before the first bad one were.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The operator did not sign this: the sender's fault.
    #[error("no block of this ledger: {0}")]
    Forged(Finding),
    /// The block's time is further ahead of this node's clock than the network allows: one of the clocks is wrong, or time
    /// will tell.
    #[error("a block from the future ({0}); check the clock of this node, and the operator's")]
    Early(Finding),
    /// The operator signed what cannot be. Its fault; nothing more is to be kept.
    #[error(transparent)]
    Breach(Box<Breach>),
    /// This node's disk.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A copy of a ledger that grows by what others send.
pub struct Follower {
    keep: Keep,
    genesis: Genesis,
    clock: fn() -> Timestamp,
}

impl Follower {
    /// Goes on from an opened ledger. No block is kept whose time `clock` has not nearly reached.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(ledger: Ledger, clock: fn() -> Timestamp) -> io::Result<Self> {
        let genesis = ledger.state.genesis().clone();
        Ok(Self { keep: Keep::start(ledger)?, genesis, clock })
    }

    /// What is kept so far.
    #[must_use]
    pub fn view(&self) -> &LedgerView {
        self.keep.view()
    }

    /// The public log of what is kept; none if the ledger was opened without one.
    #[must_use]
    pub fn public_log(&self) -> Option<TileShelf> {
        self.keep.shelf()
    }

    /// Height of the last block.
    #[must_use]
    pub fn height(&self) -> Height {
        self.view().read(|state| state.tip().height)
    }

    /// Keeps encoded blocks that follow the last one, in order. Signatures of all of them are checked at once, on all
    /// cores; each block is durable before readers see it. Blocks on the disk.
    ///
    /// # Errors
    /// With the first block that is not kept; those behind it are not looked at.
    pub fn take(&mut self, blocks: &[Vec<u8>]) -> Result<(), FollowError> {
        let first = self.height().0.saturating_add(1);
        let genesis = &self.genesis;
        let checked: Vec<Result<(CheckedBlock, Timestamp), Finding>> = blocks
            .par_iter()
            .enumerate()
            .map(|(i, bytes)| check(genesis, Height(first.saturating_add(i as u64)), bytes))
            .collect();
        for (bytes, checked) in blocks.iter().zip(checked) {
            self.take_one(bytes, checked)?;
        }
        Ok(())
    }

    fn take_one(
        &mut self,
        bytes: &[u8],
        checked: Result<(CheckedBlock, Timestamp), Finding>,
    ) -> Result<(), FollowError> {
        let height = Height(self.height().0.saturating_add(1));
        let verified = checked.and_then(|(block, time)| {
            let batch = self.view().read(|state| verify(state, &block))?;
            Ok((batch, time))
        });
        let (batch, time) = verified.map_err(|finding| self.blame(height, finding, bytes))?;
        self.check_time(height, time)?;
        self.keep.block(bytes, height, &batch)?;
        self.keep.index(batch);
        Ok(())
    }

    /// Old blocks are as welcome as new ones, so only the future is refused.
    fn check_time(&self, height: Height, time: Timestamp) -> Result<(), FollowError> {
        let latest = (self.clock)().0.saturating_add(self.genesis.clock_skew.0);
        if time.0 <= latest {
            return Ok(());
        }
        Err(FollowError::Early(Finding::new(height, Rule::Time, format!("at most {latest} ms"), time.0)))
    }

    /// Whose fault it is that the next block is not kept.
    fn blame(&self, height: Height, finding: Finding, bytes: &[u8]) -> FollowError {
        if let Err(forged) = authentic(&self.genesis, height, bytes) {
            return FollowError::Forged(forged);
        }
        let mut blocks = vec![bytes.to_vec()];
        if finding.rule == Rule::Previous {
            // Ours, which the operator signed for the height before, makes the pair.
            blocks.extend(self.view().journal().read(height.0 - 1).ok());
        }
        FollowError::Breach(Box::new(Breach { finding, blocks }))
    }

    /// Whether the block at `height` has this hash here. `None` if there is none, the genesis apart.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn agrees(&self, height: Height, hash: BlockHash) -> Result<Option<bool>, LogError> {
        if height == Height(0) {
            return Ok(Some(hash == BlockHash(self.genesis.id().0)));
        }
        match self.view().journal().read(height.0) {
            Ok(bytes) => Ok(wire::decode::<Block>(&bytes).ok().map(|block| block.hash() == hash)),
            Err(LogError::NoFrame { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Holds a block that someone else has at `height` against the one that is here.
    ///
    /// # Errors
    /// [`FollowError::Breach`] with both, if the operator signed another one; [`FollowError::Forged`].
    pub fn compare(&self, height: Height, bytes: &[u8]) -> Result<(), FollowError> {
        let theirs = authentic(&self.genesis, height, bytes).map_err(FollowError::Forged)?;
        let ours = self.view().journal().read(height.0)?;
        let own = authentic(&self.genesis, height, &ours).map_err(FollowError::Forged)?;
        let same = Finding::unless_equal(height, Rule::Fork, own.hash(), theirs.hash());
        same.map_err(|finding| {
            FollowError::Breach(Box::new(Breach { finding, blocks: vec![ours, bytes.to_vec()] }))
        })
    }
}

fn check(genesis: &Genesis, height: Height, bytes: &[u8]) -> Result<(CheckedBlock, Timestamp), Finding> {
    let block = decode(height, bytes)?;
    let time = block.header.body.time;
    Ok((CheckedBlock::check(block, &genesis.operator, Signatures::Check)?, time))
}

fn decode(height: Height, bytes: &[u8]) -> Result<Block, Finding> {
    wire::decode(bytes).map_err(|error| Finding::new(height, Rule::Encoding, "an encoded block", error))
}

/// The block as the operator signed it for `height`: nobody on the way has changed a byte that counts.
///
/// # Errors
/// With what was changed, or who signed instead.
pub fn authentic(genesis: &Genesis, height: Height, bytes: &[u8]) -> Result<Block, Finding> {
    let block = decode(height, bytes)?;
    let header = &block.header.body;
    Finding::unless_equal(height, Rule::Height, height.0, header.height.0)?;
    Finding::unless_equal(height, Rule::Network, genesis.id(), header.network)?;
    Finding::unless_equal(height, Rule::Operator, genesis.operator, header.operator)?;
    let signed = block.header.clone().verify();
    signed.map_err(|error| {
        Finding::new(height, Rule::Signature, "the operator's signature of the header", error)
    })?;
    Finding::unless_equal(height, Rule::TxRoot, to_hex(&tx_root(&block.txs)), to_hex(&header.tx_root))?;
    Ok(block)
}
