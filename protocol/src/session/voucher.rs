//! Vouchers: cumulative promises of payment that never touch the ledger until the provider collects.
//!
//! Voucher 0 of a job travels with the prompt and pays for the prefill and the first chunk; each further one releases
//! one chunk more. The last one of a job is exact: it pays for what the receipt says, and commits to that receipt.

use serde::{Deserialize, Serialize};

use crate::{
    id::SessionId,
    layout::Layout,
    limits::{LANES_MAX, VOUCHER_BYTES_MAX},
    signed::{PublicKey, Signable},
    units::Credits,
    wire::Wire,
};

/// A promise to pay up to `amount` in all for one lane of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The session, and by its id all its terms.
    pub session: SessionId,
    /// Who pays.
    pub client: PublicKey,
    /// The lane: each concurrent job has its own.
    pub lane: u16,
    /// Rises with each voucher of the lane.
    pub sequence: u32,
    /// What the provider may collect in all on this lane. Not necessarily rising: the last voucher of a job is exact,
    /// while the one before paid for a whole chunk.
    pub amount: Credits,
    /// Receipts of this lane that the client has seen and accepted.
    pub receipts: u32,
    /// RFC 6962 root over those receipts; of the empty tree if there are none.
    pub receipts_root: [u8; 32],
}

impl Signable for Voucher {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/voucher/v1");
        out.fixed(&self.session.0).fixed(&self.client.0).u16(self.lane).u32(self.sequence);
        out.u64(self.amount.0).u32(self.receipts).fixed(&self.receipts_root);
        out
    }

    fn signer(&self) -> PublicKey {
        self.client
    }
}

impl Wire for Voucher {
    const BYTES_MAX: usize = VOUCHER_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        if usize::from(self.lane) < LANES_MAX {
            Ok(())
        } else {
            Err(format!("lane {} is not below {LANES_MAX}", self.lane))
        }
    }
}
