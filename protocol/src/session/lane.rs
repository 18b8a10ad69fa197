//! One lane of a session as one side knows it: what was paid, what was answered for, and whether the lane is free.
//!
//! Both sides keep one and persist it whole, before the message that rests on it. After a crash the last one written is
//! the truth: the provider's holds the last voucher that it persisted, the buyer's the last that it may have sent.

use serde::{Deserialize, Serialize};

use super::{terms::Terms, voucher::Voucher};
use crate::{
    id::{ReceiptId, SessionId},
    limits::LANES_MAX,
    merkle::{Frontier, leaf_hash},
    receipt::Receipt,
    signed::{Signed, Verified},
    units::{Credits, GpuNs},
    wire::Wire,
};

/// State of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneLedger {
    /// The session.
    pub session: SessionId,
    /// Which lane of it.
    pub lane: u16,
    /// Reference time of all settled jobs.
    pub reference: GpuNs,
    /// Tree over the ids of the receipts of all settled jobs.
    pub receipts: Frontier,
    /// The last settled receipt; zeros before the first.
    pub last_receipt: ReceiptId,
    /// The voucher with the highest sequence: what the provider collects.
    pub newest: Option<Signed<Voucher>>,
    /// The largest amount that any voucher of this lane promised. It may be more than the newest says, because the last
    /// voucher of a job is exact; who owes must reckon with the larger.
    pub committed: Credits,
    /// Whether a job was paid for that is not settled yet.
    pub unsettled: bool,
    /// A receipt that the provider signed and the client has not acknowledged yet. Only the provider has one.
    pub pending: Option<Signed<Receipt>>,
}

impl LaneLedger {
    /// A lane without jobs.
    #[must_use]
    pub fn new(session: SessionId, lane: u16) -> Self {
        Self {
            session,
            lane,
            reference: GpuNs(0),
            receipts: Frontier::new(),
            last_receipt: ReceiptId([0; 32]),
            newest: None,
            committed: Credits::ZERO,
            unsettled: false,
            pending: None,
        }
    }

    /// Number of the lane's next job, from 0: the receipts so far.
    #[must_use]
    pub fn next_index(&self) -> u32 {
        u32::try_from(self.receipts.size()).unwrap_or(u32::MAX)
    }

    /// The lowest sequence that the next voucher may have. `None` when there are no more.
    #[must_use]
    pub fn next_sequence(&self) -> Option<u32> {
        self.newest.as_ref().map_or(Some(0), |voucher| voucher.body.sequence.checked_add(1))
    }

    /// What the lane owes in all once the next job has `output` tokens after a prompt of `prompt`. `None` on overflow.
    #[must_use]
    pub fn amount_with(&self, terms: &Terms, prompt: u32, output: u32) -> Option<Credits> {
        let job = terms.job_time(prompt, output)?;
        terms.amount(self.reference.checked_add(job)?)
    }

    /// Remembers a voucher that was sent or accepted for a job that runs.
    pub fn note_voucher(&mut self, voucher: Signed<Voucher>) {
        self.committed = self.committed.max(voucher.body.amount);
        self.newest = Some(voucher);
        self.unsettled = true;
    }

    /// Undoes [`LaneLedger::note_voucher`] for a job that the provider refused to start. The voucher stays the newest,
    /// so that its sequence is never used again, and its amount stays committed.
    pub fn note_refusal(&mut self) {
        self.unsettled = false;
    }

    /// The lane after `receipt`, not yet paid. `None` if the counters are full.
    #[must_use]
    pub fn with_receipt(&self, receipt: &Signed<Receipt>) -> Option<Self> {
        let mut next = self.clone();
        // The count of receipts in a voucher has 32 bits.
        self.next_index().checked_add(1)?;
        next.receipts.push(leaf_hash(&receipt.id().0));
        next.reference = next.reference.checked_add(receipt.body.reference)?;
        next.last_receipt = receipt.id();
        next.pending = None;
        Some(next)
    }

    /// Remembers the voucher that settles the lane's last job: the lane is free.
    pub fn settle(&mut self, voucher: Signed<Voucher>) {
        self.note_voucher(voucher);
        self.unsettled = false;
    }

    /// Whether `voucher` belongs to this lane, is new, and commits to the lane's receipts.
    ///
    /// # Errors
    /// With what is wrong, in a fixed order. It does not look at the amount.
    pub fn check_voucher(&self, terms: &Terms, voucher: &Verified<Voucher>) -> Result<(), VoucherError> {
        if voucher.session != self.session || voucher.lane != self.lane || voucher.client != terms.client {
            return Err(VoucherError::OtherSession);
        }
        let least = self.next_sequence().ok_or(VoucherError::Reused { sequence: voucher.sequence })?;
        if voucher.sequence < least {
            return Err(VoucherError::Reused { sequence: voucher.sequence });
        }
        if voucher.receipts != self.next_index() || voucher.receipts_root != self.receipts.root() {
            return Err(VoucherError::OtherReceipts { claimed: voucher.receipts, known: self.next_index() });
        }
        Ok(())
    }
}

/// Why a voucher does not fit its lane. The client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// It is for another session or lane, or of another client.
    #[error("voucher is for another session or lane, or of another client")]
    OtherSession,
    /// Its sequence was used before.
    #[error("voucher sequence {sequence} was used before")]
    Reused {
        /// The sequence.
        sequence: u32,
    },
    /// It commits to other receipts than those that both sides know.
    #[error("voucher commits to {claimed} receipts, the lane has {known}, or their root differs")]
    OtherReceipts {
        /// Receipts that it counts.
        claimed: u32,
        /// Receipts of the lane.
        known: u32,
    },
}

impl Wire for LaneLedger {
    const BYTES_MAX: usize = 4096;

    fn check_bounds(&self) -> Result<(), String> {
        if usize::from(self.lane) >= LANES_MAX {
            return Err(format!("lane {} is not below {LANES_MAX}", self.lane));
        }
        if self.receipts.is_sane() && self.receipts.size() <= u64::from(u32::MAX) {
            Ok(())
        } else {
            Err("the tree of receipts does not fit their number".into())
        }
    }
}
