//! What a ledger that is kept here counts while it goes on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use gridhour_contracts_sim::ledger::reject::Reject;

use crate::metrics::times::Times;

/// Counts since the start. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct LedgerCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    blocks: AtomicU64,
    no_room: AtomicU64,
    writing: Times,
    applied: AtomicU64,
    /// By the rule's name, of which there are as many as there are rules.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    waiting: AtomicU64,
}

/// Someone waits for an answer of the sequencer, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(LedgerCounts);

impl LedgerCounts {
    /// A block became durable, in this time.
    pub(super) fn block(&self, writing: Duration) {
        self.0.blocks.fetch_add(1, Relaxed);
        self.0.writing.add(writing);
    }

    /// A block could not be written for want of room.
    pub(super) fn no_room(&self) {
        self.0.no_room.fetch_add(1, Relaxed);
    }

    /// A transaction is in a durable block.
    pub(super) fn applied(&self) {
        self.0.applied.fetch_add(1, Relaxed);
    }

    /// A rule said no.
    pub(super) fn refused(&self, reject: &Reject) {
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reject.name()).or_default() += 1;
    }

    /// Someone waits.
    pub(super) fn wait(&self) -> Waiting {
        self.0.waiting.fetch_add(1, Relaxed);
        Waiting(self.clone())
    }

    /// Blocks that became durable.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.0.blocks.load(Relaxed)
    }

    /// Blocks that could not be written for want of room; each was tried again, or its senders were told.
    #[must_use]
    pub fn without_room(&self) -> u64 {
        self.0.no_room.load(Relaxed)
    }

    /// How long blocks took to become durable.
    #[must_use]
    pub fn writing(&self) -> &Times {
        &self.0.writing
    }

    /// Transactions that are in blocks made here.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.0.applied.load(Relaxed)
    }

    /// Transactions that were refused, by the rule's name.
    #[must_use]
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// Transactions, and wishes for a block, that wait for their answer now.
    #[must_use]
    pub fn in_line(&self) -> u64 {
        self.0.waiting.load(Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_waits_no_more_and_refusals_go_by_their_rule() {
        let counts = LedgerCounts::default();
        let (first, second) = (counts.wait(), counts.clone().wait());
        assert_eq!(counts.in_line(), 2);
        drop(first);
        drop(second);
        counts.refused(&Reject::Malformed);
        counts.refused(&Reject::Duplicate);
        counts.refused(&Reject::Malformed);
        assert_eq!(counts.in_line(), 0);
        let refusals = counts.refusals();
        assert_eq!(refusals.len(), 2);
        assert!(refusals.contains(&(Reject::Malformed.name(), 2)), "{refusals:?}");
    }
}
