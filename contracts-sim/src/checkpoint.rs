//! A ledger in three numbers: whoever keeps a checkpoint can tell later whether history was changed.

use gridhour_protocol::{
    id::{BlockHash, NetworkId},
    layout::Layout,
    signed::{PublicKey, Signable, Verified},
    units::Height,
    wire::Wire,
};
use serde::{Deserialize, Serialize};

use crate::state::State;

/// The operator's word that the block at `height` is `hash`, and with it everything before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The network.
    pub network: NetworkId,
    /// Who orders its transactions.
    pub operator: PublicKey,
    /// The block.
    pub height: Height,
    /// Hash of its header; the network's id at height 0.
    pub hash: BlockHash,
}

impl Checkpoint {
    /// The last block of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let tip = state.tip();
        Self {
            network: state.network(),
            operator: state.genesis().operator,
            height: tip.height,
            hash: tip.hash,
        }
    }
}

/// Whether two signed checkpoints prove that their operator showed two histories: both together are evidence for
/// anyone.
#[must_use]
pub fn is_equivocation(one: &Verified<Checkpoint>, other: &Verified<Checkpoint>) -> bool {
    let same_place = one.network == other.network && one.height == other.height;
    same_place && one.operator == other.operator && one.hash != other.hash
}

impl Signable for Checkpoint {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/checkpoint/v1");
        out.fixed(&self.network.0).fixed(&self.operator.0).u64(self.height.0).fixed(&self.hash.0);
        out
    }

    fn signer(&self) -> PublicKey {
        self.operator
    }
}

impl Wire for Checkpoint {
    const BYTES_MAX: usize = 128;
}
