//! One block at work: the only path from transactions to state, whoever walks it.

use gridhour_protocol::{
    id::BlockHash,
    merkle::{self, Frontier, Hash, TreeHead},
    units::{Height, Timestamp},
};
use rayon::prelude::*;

use crate::{
    block::Header,
    ledger::{self, Env, admit::Admitted, entry::Entry, reject::Reject},
    limits::{CHECKPOINT_BLOCKS, CHECKPOINT_LAG_BLOCKS, CHECKPOINT_MS},
    state::{Changes, State, Tip, Totals, changes::Overlay},
};

/// Entries of a subtree of the log that is hashed at once: few, so that few of a block are left over.
const SUBTREE: usize = 16;
/// Subtrees that a thread hashes at a time; fewer are not worth handing over.
const TASK_SUBTREES: usize = 4;

/// Transactions being applied on top of a state that stays as it is.
pub(super) struct Work<'s> {
    overlay: Overlay<'s>,
    env: Env,
    first_leaf: u64,
    entries: Vec<Entry>,
}

/// All of a block's transactions, applied.
pub(super) struct Done<'s> {
    overlay: Overlay<'s>,
    log: Frontier,
    entries: Vec<Entry>,
}

impl<'s> Work<'s> {
    pub(super) fn start(state: &'s State, time: Timestamp) -> Self {
        Self::start_at(state, time, state.tip().log.size())
    }

    /// Starts on a state whose log is behind: the block's first entry is that leaf of it.
    pub(super) fn start_at(state: &'s State, time: Timestamp, first_leaf: u64) -> Self {
        let height = next_height(state.tip());
        let overlay = Overlay::start(state, height, time);
        Self { overlay, env: Env { height, time }, first_leaf, entries: Vec::new() }
    }

    /// Makes room for so many transactions.
    pub(super) fn reserve(&mut self, txs: usize) {
        self.overlay.reserve(txs);
        self.entries.reserve(txs);
    }

    pub(super) fn apply(&mut self, tx: &Admitted) -> Result<&Entry, Reject> {
        let leaf = self.first_leaf + self.entries.len() as u64;
        let entry = ledger::apply(&mut self.overlay, &self.env, leaf, tx)?;
        self.entries.push(entry);
        Ok(self.entries.last().expect("just pushed"))
    }

    pub(super) fn totals(&self) -> Totals {
        self.overlay.totals()
    }

    /// What the transactions change, and what is still to be entered in the log.
    pub(super) fn into_parts(self) -> (Changes, Vec<Entry>) {
        (self.overlay.into_changes(), self.entries)
    }

    /// Enters everything in the log.
    pub(super) fn close(self) -> Done<'s> {
        let Self { overlay, entries, .. } = self;
        let mut log = overlay.base().tip().log.clone();
        enter(&mut log, &entries);
        Done { overlay, log, entries }
    }
}

impl Done<'_> {
    pub(super) fn log_head(&self) -> TreeHead {
        TreeHead { size: self.log.size(), root: self.log.root() }
    }

    pub(super) fn totals(&self) -> Totals {
        self.overlay.totals()
    }

    /// What the block with this header does to the state below.
    pub(super) fn finish(self, header: &Header) -> Batch {
        let tip = tip_after(header, self.log, self.overlay.totals());
        Batch { previous: header.previous, changes: self.overlay.into_changes(), tip, entries: self.entries }
    }
}

pub(super) fn tip_after(header: &Header, log: Frontier, totals: Totals) -> Tip {
    let Header { height, time, checkpoint, .. } = *header;
    Tip { height, hash: header.hash(), time, log, totals, checkpoint }
}

/// Appends the entries. They, and the subtrees that they fill, are hashed on all cores: applying is the work of one.
pub(super) fn enter(log: &mut Frontier, entries: &[Entry]) {
    // What is missing to the next multiple of a subtree's leaves.
    let partial = (log.size().wrapping_neg() % SUBTREE as u64) as usize;
    let (first, rest) = entries.split_at(partial.min(entries.len()));
    let (whole, last) = rest.as_chunks::<SUBTREE>();
    let root = |entries: &[Entry; SUBTREE]| merkle::root(&entries.each_ref().map(Entry::leaf_hash));
    let roots: Vec<Hash> = whole.par_iter().with_min_len(TASK_SUBTREES).map(root).collect();
    log.extend(first.iter().map(Entry::leaf_hash));
    roots.into_iter().for_each(|root| log.push_subtree(root, SUBTREE.ilog2()));
    log.extend(last.iter().map(Entry::leaf_hash));
}

pub(super) fn next_height(tip: &Tip) -> Height {
    Height(tip.height.0.checked_add(1).expect("no ledger reaches 2^64 blocks"))
}

/// What one good block does to the state that it was made for. Make the block durable, then commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    previous: BlockHash,
    changes: Changes,
    tip: Tip,
    entries: Vec<Entry>,
}

impl Batch {
    /// What changes; [`Changes::records`] are for a store.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The block's leaves of the log, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl State {
    /// Takes a block in. Begins a checkpoint after every [`CHECKPOINT_BLOCKS`]th, and after one whose time is
    /// [`CHECKPOINT_MS`] or more behind that of the last, unless one is pending. Afterwards [`State::cursor`] names the
    /// block.
    ///
    /// # Panics
    /// If the batch was made for another state: the caller mixed two ledgers or skipped a block.
    pub fn commit(&mut self, batch: &Batch) {
        assert_eq!(self.tip().hash, batch.previous, "a batch is committed to the state it was made for");
        self.go_on(&batch.changes, batch.tip.clone());
    }

    /// Takes in what the next block changes.
    pub(super) fn go_on(&mut self, changes: &Changes, tip: Tip) {
        if tip.checkpoint.height != self.tip().checkpoint.height {
            self.end_checkpoint();
        }
        self.absorb(changes, tip);
        if self.pending().is_none() && is_checkpoint_due(self.tip()) {
            self.begin_checkpoint();
        }
    }
}

fn is_checkpoint_due(tip: &Tip) -> bool {
    let passed = tip.time.since(tip.checkpoint.time);
    tip.height.0.is_multiple_of(CHECKPOINT_BLOCKS) || passed.0 >= CHECKPOINT_MS
}

/// Whether the block at `height` has to name the checkpoint that was begun after the block at `pending`.
pub(super) fn is_overdue(pending: Height, height: Height) -> bool {
    height.0 - pending.0 >= CHECKPOINT_LAG_BLOCKS
}
