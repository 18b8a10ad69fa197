//! A ledger of any length as an exported file, to see how an audit of it goes: the same bytes for the same plan.
//!
//! Blocks follow each other without a disk and without a clock, one in memory at a time.

use std::io::{self, Write};

use gridhour_contracts_sim::{
    block::{Proposal, propose},
    export::{block_frame, closing, opening},
    ledger::admit::Admitted,
    limits::BLOCK_TXS_MAX,
    state::State,
    tx::Tx,
};
use gridhour_protocol::{
    id::BlockHash,
    signed::Signed,
    units::{Height, Millis, Timestamp},
};
use thiserror::Error;

use super::{
    ledger::people::{People, verified_per_s},
    median,
};

/// When the ledger begins: in the past of any clock.
const START: Timestamp = Timestamp(1_700_000_000_000);
/// Ledger time between blocks.
const BLOCK_TIME: Millis = Millis(250);
/// Signatures that are checked alone.
const VERIFIED: usize = 20_000;

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Accounts with money.
    pub accounts: usize,
    /// Transfers in all; those that give the accounts their money count, and come first.
    pub transactions: u64,
    /// Transfers of a block, at most [`BLOCK_TXS_MAX`].
    pub block: usize,
    /// Blocks for which a transfer could be sent again: so long its name is kept.
    pub valid_blocks: u64,
    /// Decides who pays whom.
    pub seed: u64,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The last block.
    pub height: Height,
    /// Its hash.
    pub root: BlockHash,
    /// Transactions in all blocks.
    pub transactions: u64,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The file cannot be written.
    #[error("cannot write the ledger: {0}")]
    File(#[from] io::Error),
    /// The plan asks for what no ledger takes. The fault of whoever made it.
    #[error("a transfer of the plan is refused: {0}")]
    Refused(String),
}

/// Writes the ledger of `plan` to `out`; `told` hears how many transactions are written so far.
///
/// # Errors
/// [`WriteError`].
pub fn write(plan: &Plan, out: &mut dyn Write, told: &mut dyn FnMut(u64)) -> Result<Written, WriteError> {
    let mut people = People::of(plan.accounts, START, plan.seed, plan.valid_blocks);
    out.write_all(&opening(&people.network_file()))?;
    let state = State::new(people.genesis().clone()).map_err(WriteError::Refused)?;
    let mut ledger = Growing { state, out };
    let block = plan.block.clamp(1, BLOCK_TXS_MAX);
    for txs in people.funding().chunks(block) {
        ledger.grow(&people, txs.to_vec())?;
        told(ledger.transactions());
    }
    while ledger.transactions() < plan.transactions {
        let left = usize::try_from(plan.transactions - ledger.transactions()).unwrap_or(block);
        let txs = people.transfers(left.min(block), ledger.state.tip().height);
        ledger.grow(&people, txs)?;
        told(ledger.transactions());
    }
    ledger.end()
}

/// A ledger of which everything but the state is written already.
struct Growing<'o> {
    state: State,
    out: &'o mut dyn Write,
}

impl Growing<'_> {
    fn transactions(&self) -> u64 {
        self.state.tip().log.size()
    }

    fn grow(&mut self, people: &People, txs: Vec<Signed<Tx>>) -> Result<(), WriteError> {
        let time = self.state.tip().time.after(BLOCK_TIME).unwrap_or(self.state.tip().time);
        let txs = txs.into_iter().map(Admitted::checked_before).collect();
        let Proposal { block, batch, answers } = propose(&self.state, &people.operator(), time, txs);
        if let Some(reject) = answers.into_iter().find_map(Result::err) {
            return Err(WriteError::Refused(reject.to_string()));
        }
        self.out.write_all(&block_frame(&block))?;
        self.state.commit(&batch);
        Ok(())
    }

    fn end(self) -> Result<Written, WriteError> {
        let (height, root) = (self.state.tip().height, self.state.tip().hash);
        self.out.write_all(&closing(height))?;
        self.out.flush()?;
        Ok(Written { height, root, transactions: self.transactions() })
    }
}

/// Signatures of such transfers that all processors together check in a second: the limit of any audit. The median of
/// so many tries.
#[must_use]
pub fn signatures_per_s(plan: &Plan, repeat: usize) -> f64 {
    let transfers =
        People::of(plan.accounts, START, plan.seed, plan.valid_blocks).transfers(VERIFIED, Height(0));
    let mut tries: Vec<f64> = (0..repeat).map(|_| verified_per_s(&transfers)).collect();
    median(&mut tries)
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::audit::{Trust, verify_export};

    use super::*;

    const PLAN: Plan = Plan { accounts: 1_030, transactions: 47, block: 10, valid_blocks: 3, seed: 5 };

    fn written(plan: &Plan) -> (Vec<u8>, Written) {
        let mut bytes = Vec::new();
        let written = write(plan, &mut bytes, &mut |_| ()).expect("memory has room");
        (bytes, written)
    }

    #[test]
    fn a_ledger_is_as_long_as_planned_and_in_order() {
        let (bytes, written) = written(&PLAN);
        let report = verify_export(&bytes, Trust::SelfTrust);
        assert!(report.ok, "{:?}", report.findings);
        assert_eq!((report.height, report.root), (written.height, written.root));
        assert_eq!((report.transactions, report.transactions), (47, written.transactions));
    }

    #[test]
    fn a_plan_gives_the_same_bytes_whenever_it_is_carried_out() {
        assert_eq!(written(&PLAN), written(&PLAN));
        assert_ne!(written(&PLAN).0, written(&Plan { seed: 6, ..PLAN }).0);
    }

    #[test]
    fn a_full_disk_ends_the_writing() {
        let mut room = [0; 300];
        let full = write(&PLAN, &mut room.as_mut_slice(), &mut |_| ());
        assert!(matches!(full, Err(WriteError::File(_))), "{full:?}");
    }
}
