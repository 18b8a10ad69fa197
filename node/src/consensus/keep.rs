//! What everyone who holds a ledger does with a block that is known to be good: durable first, visible then, indexed
//! behind. Whoever orders and whoever follows share it.

use std::{io, time::Instant};

use gridhour_contracts_sim::{block::Batch, checkpoint::Checkpoint, state::State};
use gridhour_protocol::units::Height;
use tokio::sync::watch;

use super::LedgerView;
use crate::store::{
    journal::Journal,
    ledger_dir::Ledger,
    lock::DirLock,
    log_error::LogError,
    state_writer::StateWriter,
    tiles::{TileShelf, TileWriter},
};

/// An opened ledger at work. Dropping it checkpoints the state, and lets go of the directory last.
pub(super) struct Keep {
    view: LedgerView,
    tip: watch::Sender<Height>,
    journal: Journal,
    writer: StateWriter,
    tiles: Option<TileWriter>,
    _lock: Option<DirLock>,
}

impl Keep {
    /// # Errors
    /// If the system has no thread to give.
    pub(super) fn start(ledger: Ledger) -> io::Result<Self> {
        let (view, tip) = LedgerView::new(ledger.state, ledger.journal.reader());
        let writer = StateWriter::start(ledger.store)?;
        let tiles = ledger.tiles.map(TileWriter::start).transpose()?;
        Ok(Self { view, tip, journal: ledger.journal, writer, tiles, _lock: ledger.lock })
    }

    pub(super) fn view(&self) -> &LedgerView {
        &self.view
    }

    /// Makes the encoded block durable, then shows what it does. On an error nothing is shown.
    ///
    /// # Errors
    /// As [`Journal::sync`]: after [`LogError::DiskFull`] the block is not there and the next one may be tried, after any
    /// other only a restart finds out what is durable.
    pub(super) fn block(&mut self, block: &[u8], height: Height, batch: &Batch) -> Result<(), LogError> {
        let begun = Instant::now();
        let written = self.journal.append(block).and_then(|_| self.journal.sync());
        match &written {
            Ok(()) => self.view.counts().block(begun.elapsed()),
            Err(LogError::DiskFull { .. }) => self.view.counts().no_room(),
            Err(_) => {}
        }
        written?;
        self.view.commit(batch);
        self.tip.send_replace(height);
        // On a thread aside, so that no block waits for it, nor signatures for its hashes.
        self.view.read(State::hash_checkpoint_aside);
        Ok(())
    }

    /// A reader of the public log; none if the ledger was opened without one.
    pub(super) fn shelf(&self) -> Option<TileShelf> {
        self.tiles.as_ref().map(TileWriter::shelf)
    }

    /// Hands what the last block did to the state store and to the public log; waits if they are far behind.
    pub(super) fn index(&mut self, batch: Batch) {
        self.writer.write(batch.changes().records(), self.view.read(State::cursor));
        if let Some(tiles) = &mut self.tiles {
            tiles.write(batch, self.view.read(Checkpoint::of));
        }
    }
}
