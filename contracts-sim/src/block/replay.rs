//! A node's own blocks once more, with the log behind the state.
//!
//! To apply is the work of one core: each transaction builds on those before it. A quarter of a block's work are the
//! hashes of its entries, and no transaction looks at those. So a replay has two halves, and whoever drives it has them
//! on two cores: [`Replay`] applies blocks, and [`LogReplay`] enters in the log what those before them left.

use gridhour_protocol::merkle::{Frontier, TreeHead};

use super::{
    CheckedBlock, Header,
    batch::{enter, tip_after},
    verify::{check_log, check_totals, work},
};
use crate::{
    finding::Finding,
    ledger::entry::Entry,
    state::{Changes, State},
};

/// The half that applies. Everything that a block says is checked but its log.
#[derive(Debug)]
pub struct Replay {
    /// Without its log, which the other half has.
    state: State,
    /// Leaves that the log will have.
    leaves: u64,
}

/// The half that enters in the log what was applied.
#[derive(Debug)]
pub struct LogReplay(Frontier);

/// What one block did.
#[derive(Debug)]
pub struct Replayed {
    header: Header,
    changes: Changes,
    entries: Vec<Entry>,
}

impl Replayed {
    /// What it changed; [`Changes::records`] are for a store.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Its leaves of the log, in order. They are those that its header means once [`LogReplay::enter`] has said so.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Replay {
    /// Starts behind the last block of `state`.
    #[must_use]
    pub fn start(mut state: State) -> (Self, LogReplay) {
        let log = state.take_log();
        (Self { leaves: log.size(), state }, LogReplay(log))
    }

    /// Applies the next block.
    ///
    /// # Errors
    /// With the first rule that is broken, of those that do not concern the log. The state is then as it was.
    pub fn apply(&mut self, block: &CheckedBlock) -> Result<Replayed, Finding> {
        let header = block.header().body.clone();
        let work = work(&self.state, block, self.leaves)?;
        let totals = work.totals();
        check_totals(&header, &totals)?;
        let (changes, entries) = work.into_parts();
        self.leaves += entries.len() as u64;
        self.state.go_on(&changes, tip_after(&header, Frontier::new(), totals));
        self.state.hash_checkpoint_aside();
        Ok(Replayed { header, changes, entries })
    }

    /// The state after the last block that was applied.
    ///
    /// # Panics
    /// If not all that was applied was entered in `log`: the caller lost a block on the way.
    #[must_use]
    pub fn end(mut self, log: LogReplay) -> State {
        assert_eq!(log.0.size(), self.leaves, "every block that was applied is entered in the log");
        self.state.put_log(log.0);
        self.state
    }
}

impl LogReplay {
    /// Enters what the next block left.
    ///
    /// # Errors
    /// If its header names another log.
    pub fn enter(&mut self, block: &Replayed) -> Result<(), Finding> {
        enter(&mut self.0, &block.entries);
        check_log(&block.header, &TreeHead { size: self.0.size(), root: self.0.root() })
    }
}
