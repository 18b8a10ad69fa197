//! Everyone else's side: a block is believed only after its signatures, and everything its header says, were checked.
//! Restart, audit and replicas walk this one path.

use gridhour_protocol::{
    id::to_hex,
    merkle::{self, Hash, TreeHead},
    signed::{PublicKey, Signed},
    units::{Millis, Timestamp},
};
use rayon::prelude::*;

use crate::{
    block::{
        Batch, Block, Header, TASK_TXS,
        batch::{Work, is_overdue, next_height},
    },
    finding::{Finding, Rule},
    genesis::Genesis,
    ledger::{admit::Admitted, reject::Reject},
    state::{State, Totals, pending::Pending},
};

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// All of them.
    Check,
    /// None, nor anything else that hangs on a block's own bytes alone: for blocks that this node itself checked, and read
    /// back from its own journal, whose hashes cover those bytes.
    CheckedBefore,
}

/// A block whose signatures are good. What it says about the state is still to be checked.
#[derive(Clone, Debug)]
pub struct CheckedBlock {
    header: Signed<Header>,
    txs: Vec<Admitted>,
    /// The root over the transactions; nothing of a block that was checked before.
    tx_root: Option<Hash>,
}

impl CheckedBlock {
    /// Checks the operator's signature and everything in the transactions that needs no state, on all cores.
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn check(block: Block, operator: &PublicKey, signatures: Signatures) -> Result<Self, Finding> {
        let Block { header, txs } = block;
        if signatures == Signatures::CheckedBefore {
            let txs = txs.into_par_iter().with_min_len(TASK_TXS).map(Admitted::checked_before).collect();
            return Ok(Self { header, txs, tx_root: None });
        }
        let height = header.body.height;
        Finding::unless_equal(height, Rule::Operator, *operator, header.body.operator)?;
        let header = header.verify().map_err(|error| {
            Finding::new(height, Rule::Signature, "the operator's signature of the header", error)
        })?;
        let checked: Vec<_> = txs.into_par_iter().map(Admitted::check).collect();
        let txs = checked
            .into_iter()
            .enumerate()
            .map(|(index, tx)| tx.map_err(|reject| refused(&header, index, reject)))
            .collect::<Result<Vec<Admitted>, _>>()?;
        let leaves: Vec<Hash> = txs.iter().map(Admitted::leaf).collect();
        Ok(Self { header: header.into_signed(), txs, tx_root: Some(merkle::root(&leaves)) })
    }

    /// The header, as its operator signed it.
    #[must_use]
    pub fn header(&self) -> &Signed<Header> {
        &self.header
    }
}

fn refused(header: &Header, index: usize, reject: Reject) -> Finding {
    let found = format!("transaction {index} is refused: {} ({reject})", reject.name());
    Finding::new(header.height, Rule::Transaction, "transactions that the rules accept", found)
}

/// Checks a block against the state that it builds on, and says what it does.
///
/// # Errors
/// With the first rule that is broken; the state is as it was in any case.
pub fn verify(state: &State, block: &CheckedBlock) -> Result<Batch, Finding> {
    let header = &block.header.body;
    let done = work(state, block, state.tip().log.size())?.close();
    check_log(header, &done.log_head())?;
    check_totals(header, &done.totals())?;
    Ok(done.finish(header))
}

/// The block's transactions at work, the first of them for that leaf of the log. What the header says of their outcome is
/// still to be checked.
pub(super) fn work<'s>(state: &'s State, block: &CheckedBlock, first_leaf: u64) -> Result<Work<'s>, Finding> {
    let header = &block.header.body;
    check_place(state, header)?;
    if let Some(tx_root) = &block.tx_root {
        check_hash(header, Rule::TxRoot, tx_root, &header.tx_root)?;
    }
    check_checkpoint(state, header)?;
    let mut work = Work::start_at(state, header.time, first_leaf);
    work.reserve(block.txs.len());
    for (index, tx) in block.txs.iter().enumerate() {
        work.apply(tx).map_err(|reject| refused(header, index, reject))?;
    }
    Ok(work)
}

fn check_hash(header: &Header, rule: Rule, expected: &Hash, found: &Hash) -> Result<(), Finding> {
    Finding::unless_equal(header.height, rule, to_hex(expected), to_hex(found))
}

/// Whether the header names the log that follows from the transactions.
pub(super) fn check_log(header: &Header, log: &TreeHead) -> Result<(), Finding> {
    Finding::unless_equal(header.height, Rule::LogRoot, log.size, header.log.size)?;
    check_hash(header, Rule::LogRoot, &log.root, &header.log.root)
}

/// Whether no credit was lost or made, and the header's sums are those that follow from the transactions.
pub(super) fn check_totals(header: &Header, totals: &Totals) -> Result<(), Finding> {
    if !totals.are_conserved() {
        let Totals { balances, holds, stakes, .. } = totals;
        let found = format!("balances {balances}, holds {holds} and stakes {stakes}");
        return Err(Finding::new(header.height, Rule::Conservation, totals.issued, found));
    }
    if *totals != header.totals {
        let [expected, found] = [totals, &header.totals].map(|totals| format!("{totals:?}"));
        return Err(Finding::new(header.height, Rule::Totals, expected, found));
    }
    Ok(())
}

/// Whether the header follows the last block.
fn check_place(state: &State, header: &Header) -> Result<(), Finding> {
    let tip = state.tip();
    let expected = next_height(tip);
    Finding::unless_equal(expected, Rule::Height, expected.0, header.height.0)?;
    Finding::unless_equal(expected, Rule::Network, state.network(), header.network)?;
    Finding::unless_equal(expected, Rule::Operator, state.genesis().operator, header.operator)?;
    Finding::unless_equal(expected, Rule::Previous, tip.hash, header.previous)?;
    if header.time < tip.time {
        let earliest = format!("at least {} ms", tip.time.0);
        return Err(Finding::new(expected, Rule::Time, earliest, header.time.0));
    }
    Ok(())
}

/// Whether the header names the last checkpoint: the one that is pending, or the one before while that may be unfinished.
fn check_checkpoint(state: &State, header: &Header) -> Result<(), Finding> {
    let (tip, found) = (state.tip(), header.checkpoint);
    let names =
        |pending: &&Pending| found.height == pending.height() || is_overdue(pending.height(), header.height);
    let due = state.pending().filter(names).map_or(tip.checkpoint, |pending| pending.due(&found));
    Finding::unless_equal(header.height, Rule::StateRoot, due.height.0, found.height.0)?;
    Finding::unless_equal(header.height, Rule::StateRoot, due.time.0, found.time.0)?;
    Finding::unless_equal(header.height, Rule::StateRoot, to_hex(&due.root), to_hex(&found.root))
}

/// [`CheckedBlock::check`], [`verify`] and [`State::commit`].
///
/// # Errors
/// With the first rule that is broken; the state is then as it was.
pub fn verify_and_apply(state: &mut State, block: Block, signatures: Signatures) -> Result<Batch, Finding> {
    let operator = state.genesis().operator;
    let batch = verify(state, &CheckedBlock::check(block, &operator, signatures)?)?;
    state.commit(&batch);
    Ok(batch)
}

/// Whether the time of a block that was just made fits the clock of whoever receives it. Who replays old blocks can
/// only ask that none is from the future.
///
/// # Errors
/// If the time is further from `now` than the genesis allows.
pub fn check_clock(genesis: &Genesis, header: &Header, now: Timestamp) -> Result<(), Finding> {
    let Millis(skew) = genesis.clock_skew;
    if header.time.0.abs_diff(now.0) <= skew {
        return Ok(());
    }
    let expected = format!("within {skew} ms of {} ms", now.0);
    Err(Finding::new(header.height, Rule::Time, expected, header.time.0))
}
