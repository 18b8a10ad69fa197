//! Finding an entry while a history goes by, and proving it at the end: nothing of the log is kept but the frontier.

use gridhour_protocol::{
    id::SessionId,
    merkle::{Frontier, Tracker},
    receipt::Receipt,
    signed::Signed,
};

use super::EntryProof;
use crate::{
    block::Header,
    ledger::entry::{Entry, Lane},
};

/// What is looked for: the first entry that states this lane with more receipts than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The session.
    pub session: SessionId,
    /// The lane.
    pub lane: u16,
    /// Receipts before the one that is looked for.
    pub receipts: u32,
}

impl Sought {
    /// The entry that `receipt` was collected with.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        Self { session: receipt.session, lane: receipt.lane, receipts: receipt.index }
    }

    fn is(&self, entry: &Entry) -> bool {
        let states = |lane: &Lane| lane.lane == self.lane && lane.receipts > self.receipts;
        entry.event.session() == Some(self.session) && entry.event.lanes().iter().any(states)
    }
}

/// Reads a log from its beginning.
#[derive(Clone, Debug)]
pub struct Seeker {
    sought: Sought,
    before: Frontier,
    found: Option<(Entry, Tracker)>,
    header: Option<Signed<Header>>,
}

impl Seeker {
    /// Nothing read yet.
    #[must_use]
    pub fn new(sought: Sought) -> Self {
        Self { sought, before: Frontier::new(), found: None, header: None }
    }

    /// Reads the next block: its header, and the entries that its transactions left.
    pub fn read(&mut self, header: &Signed<Header>, entries: &[Entry]) {
        for entry in entries {
            match &mut self.found {
                Some((_, tracker)) => tracker.push(entry.leaf_hash()),
                None if self.sought.is(entry) => {
                    let before = std::mem::take(&mut self.before);
                    self.found = Some((entry.clone(), Tracker::start(before, entry.leaf_hash())));
                }
                None => self.before.push(entry.leaf_hash()),
            }
        }
        self.header = Some(header.clone());
    }

    /// The entry under the header that was read last; `None` if no block has it.
    #[must_use]
    pub fn proof(&self) -> Option<EntryProof> {
        let (entry, tracker) = self.found.as_ref()?;
        let header = self.header.clone()?;
        Some(EntryProof { entry: entry.clone(), index: tracker.index(), path: tracker.proof(), header })
    }
}
