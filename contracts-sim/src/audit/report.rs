//! What an audit rests on, and what it found.

use gridhour_protocol::{
    id::{BlockHash, NetworkId},
    layout::Layout,
    merkle::Hash,
    units::{Credits, Height},
};

use crate::{checkpoint::Checkpoint, finding::Finding, state::State};

/// What an audit rests on, beside the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The network's id, known from elsewhere.
    Genesis(NetworkId),
    /// A block that was seen before.
    Checkpoint(Checkpoint),
    /// Nothing: the ledger is consistent with itself, whoever wrote it.
    SelfTrust,
}

impl Trust {
    /// Its stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::Checkpoint(_) => "checkpoint",
            Self::SelfTrust => "self",
        }
    }

    /// The network that is asked for, if one is.
    pub(super) fn network(&self) -> Option<NetworkId> {
        match self {
            Self::Genesis(network) => Some(*network),
            Self::Checkpoint(checkpoint) => Some(checkpoint.network),
            Self::SelfTrust => None,
        }
    }

    /// Stands for all of it.
    pub(super) fn digest(&self) -> Hash {
        let mut out = Layout::new("gridhour/audit-trust/v1");
        match self {
            Self::Genesis(network) => out.u8(0).fixed(&network.0),
            Self::Checkpoint(checkpoint) => out.u8(1).bytes(checkpoint.to_string().as_bytes()),
            Self::SelfTrust => out.u8(2),
        };
        out.hash()
    }
}

/// How far an audit had got when it was interrupted. What stands before was checked then, and only compared now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The last block that was checked then.
    pub height: Height,
    /// Transactions that were checked then.
    pub transactions: u64,
}

impl Resumed {
    pub(super) fn at(state: &State) -> Self {
        Self { height: state.tip().height, transactions: state.tip().log.size() }
    }
}

/// What an audit found. The numbers are those of the last block that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether there is no finding.
    pub ok: bool,
    /// The last block.
    pub height: Height,
    /// Its hash, which fixes everything before it.
    pub root: BlockHash,
    /// Transactions applied.
    pub transactions: u64,
    /// Receipts that clients accepted, as far as providers have collected for them.
    pub receipts: u64,
    /// Credits in existence.
    pub issued: Credits,
    /// Sum of all balances.
    pub balances: Credits,
    /// Sum of all holds.
    pub holds: Credits,
    /// Sum of all that is at stake.
    pub stakes: Credits,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What the answer rests on.
    pub trust: Trust,
    /// Where an audit was taken up again that had been interrupted; `None` if all was checked in one go.
    pub resumed: Option<Resumed>,
}

impl Report {
    /// Transactions that were checked in this run.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.transactions - self.resumed.map_or(0, |resumed| resumed.transactions)
    }
}
