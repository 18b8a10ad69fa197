//! Blocks: what was applied, in order, under one signature of the operator.

use gridhour_protocol::{
    id::{BlockHash, NetworkId},
    layout::Layout,
    merkle::{self, Hash, TreeHead},
    signed::{PublicKey, Signable, Signed},
    units::{Height, Timestamp},
    wire::{Wire, at_most},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::{
    batch::Batch,
    propose::{Answer, Proposal, propose},
    replay::{LogReplay, Replay, Replayed},
    verify::{CheckedBlock, Signatures, check_clock, verify, verify_and_apply},
};
use crate::{
    ledger::{admit::tx_leaf, cost},
    limits::{BLOCK_COST_MAX, BLOCK_TXS_MAX, FRAME_BYTES_MAX, HEADER_BYTES_MAX},
    state::{StateRoot, Totals},
    tx::Tx,
};

mod batch;
mod propose;
mod replay;
mod verify;

/// Transactions that a thread hashes at a time; fewer are not worth handing over.
const TASK_TXS: usize = 64;

/// What the operator answers for: the transactions, and everything that follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The network.
    pub network: NetworkId,
    /// Who orders its transactions.
    pub operator: PublicKey,
    /// One more than that of the block before.
    pub height: Height,
    /// Hash of the header before; the network's id at height 1.
    pub previous: BlockHash,
    /// The ledger's time; never before that of the block before.
    pub time: Timestamp,
    /// RFC 6962 root over the transactions, signatures included.
    pub tx_root: Hash,
    /// The log of all entries up to and with this block.
    pub log: TreeHead,
    /// The last finished checkpoint of the state, taken before this block.
    pub checkpoint: StateRoot,
    /// Sums after this block.
    pub totals: Totals,
}

/// A header and its transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What the operator signed.
    pub header: Signed<Header>,
    /// The transactions, all of which were applied.
    pub txs: Vec<Signed<Tx>>,
}

impl Header {
    /// The header's hash: the identity of the block.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        BlockHash(self.layout().hash())
    }
}

impl Signable for Header {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/header/v2");
        out.fixed(&self.network.0).fixed(&self.operator.0).u64(self.height.0);
        out.fixed(&self.previous.0).u64(self.time.0).fixed(&self.tx_root);
        out.u64(self.log.size).fixed(&self.log.root);
        let StateRoot { height, time, root } = self.checkpoint;
        out.u64(height.0).u64(time.0).fixed(&root);
        let Totals { issued, balances, holds, stakes, receipts } = self.totals;
        out.u64(issued.0).u64(balances.0).u64(holds.0).u64(stakes.0).u64(receipts);
        out
    }

    fn signer(&self) -> PublicKey {
        self.operator
    }
}

impl Wire for Header {
    const BYTES_MAX: usize = HEADER_BYTES_MAX - 128;
}

impl Block {
    /// The block's height.
    #[must_use]
    pub fn height(&self) -> Height {
        self.header.body.height
    }

    /// The block's identity.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.header.body.hash()
    }
}

impl Wire for Block {
    const BYTES_MAX: usize = FRAME_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("transactions", self.txs.len(), BLOCK_TXS_MAX)?;
        if !cost::fits_block(self.txs.iter().map(|tx| &tx.body)) {
            return Err(format!("the transactions cost more than {BLOCK_COST_MAX} to check"));
        }
        self.txs.iter().try_for_each(Wire::check_bounds)
    }
}

/// RFC 6962 root over transactions: each leaf is the signed bytes and the signature.
#[must_use]
pub fn tx_root(txs: &[Signed<Tx>]) -> Hash {
    let leaf = |tx: &Signed<Tx>| tx_leaf(tx.body.layout(), &tx.signature);
    let leaves: Vec<Hash> = txs.par_iter().with_min_len(TASK_TXS).map(leaf).collect();
    merkle::root(&leaves)
}
