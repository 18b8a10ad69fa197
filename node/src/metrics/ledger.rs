//! A ledger that is kept here, whoever orders it; the sequencer that orders; and the public log's witnesses.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use gridhour_contracts_sim::witnesses::Quorum;
use gridhour_protocol::units::Timestamp;

use super::{
    Source,
    sheet::{Sheet, Unit::Things},
};
use crate::{
    clock,
    consensus::{LedgerCounts, LedgerView, expiry::expired},
    limbo::OVERDUE_MS,
};

impl Source for LedgerView {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let late = Timestamp(clock::now().0.saturating_sub(OVERDUE_MS));
        let (tip, overdue) = self.read(|state| (state.tip().clone(), expired(state, late).len()));
        sheet.gauge("ledger_height", Things, "The last block that is durable here", tip.height.0)?;
        sheet.moment("ledger_tip_time", "Time of the last block, since the Unix epoch", tip.time)?;
        let help = "The block of the last checkpoint that a block names";
        sheet.gauge("ledger_checkpoint_height", Things, help, tip.checkpoint.height.0)?;
        sheet.credits("ledger_issued", "All that was brought in, less what was burned", tip.totals.issued)?;
        sheet.credits("ledger_balances", "All that accounts can spend", tip.totals.balances)?;
        sheet.credits("ledger_holds", "All that is held, for whatever", tip.totals.holds)?;
        sheet.credits("ledger_stakes", "All that is at stake", tip.totals.stakes)?;
        sheet.gauge("ledger_receipts", Things, "Receipts that were ever paid", tip.totals.receipts)?;
        let help = "Holds, stakes and slots that should have been released by their deadline and were not";
        sheet.gauge("ledger_overdue", Things, help, overdue as u64)?;
        kept(sheet, self.counts())
    }
}

fn kept(sheet: &mut Sheet<'_>, counts: &LedgerCounts) -> fmt::Result {
    sheet.counter("ledger_blocks", Things, "Blocks that became durable here", counts.blocks())?;
    let help = "Blocks that could not be written because the disk is full";
    sheet.counter("store_disk_full", Things, help, counts.without_room())?;
    sheet.times("store_block_write", "How long a block took to become durable", counts.writing())
}

/// The sequencer of a ledger node.
#[derive(Clone, Debug)]
pub struct Sequencing(pub LedgerCounts);

impl Source for Sequencing {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let counts = &self.0;
        let help = "Transactions and wishes for a block that wait for their answer";
        sheet.gauge("sequencer_waiting", Things, help, counts.in_line())?;
        let help = "Transactions that are in blocks made here";
        sheet.counter("sequencer_transactions", Things, help, counts.transactions())?;
        let help = "Transactions that a rule refused, by its name";
        sheet.counters("sequencer_refused", help, "rule", &counts.refusals())
    }
}

/// What became of the public log's checkpoints.
#[derive(Debug, Default)]
pub struct Publishing {
    height: AtomicU64,
    cosigned: AtomicU64,
    required: AtomicU64,
    troubles: AtomicU64,
}

impl Publishing {
    /// A checkpoint of `height` was published.
    pub fn published(&self, height: u64, quorum: &Quorum) {
        self.height.store(height, Relaxed);
        self.cosigned.store(quorum.cosigned.len() as u64, Relaxed);
        self.required.store(quorum.required as u64, Relaxed);
    }

    /// A witness began to give no cosignatures.
    pub fn trouble(&self) {
        self.troubles.fetch_add(1, Relaxed);
    }
}

/// Proofs that were found against the ledger's operator.
#[derive(Clone, Debug, Default)]
pub struct Histories(Arc<AtomicU64>);

impl Histories {
    /// The operator signed two.
    pub fn found(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Source for Histories {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let help = "Proofs that the ledger's operator signed two histories; trade no more if there is one";
        sheet.counter("ledger_fraud_proofs", Things, help, self.0.load(Relaxed))
    }
}

impl Source for Arc<Publishing> {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let height = self.height.load(Relaxed);
        sheet.gauge(
            "log_published_height",
            Things,
            "Block of the last checkpoint with cosignatures",
            height,
        )?;
        let help = "Witnesses that cosigned the last published checkpoint";
        sheet.gauge("log_cosigned", Things, help, self.cosigned.load(Relaxed))?;
        let help = "Witnesses that must cosign a checkpoint, by the network file";
        sheet.gauge("log_cosigned_required", Things, help, self.required.load(Relaxed))?;
        let help = "Times that a witness began to give no cosignatures";
        sheet.counter("log_witness_troubles", Things, help, self.troubles.load(Relaxed))
    }
}
