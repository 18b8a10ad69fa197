//! The public log on disk, ready to be served as tiles (c2sp.org/tlog-tiles).
//!
//! ```text
//! entries                 length u16 big-endian | entry, one behind the other
//! bundles                 u64 little-endian: where each bundle of 256 entries starts in `entries`
//! hashes-0 .. hashes-7    the rows of hashes, 32 bytes each
//! ```
//! A tile, full or partial, is a run of bytes of one file, and everything follows from `entries`. Nothing here is ever
//! synced: the files follow the journal, are checked from the first byte to the last when they are opened, and are
//! built again by a replay if they are not what the state says. What is in memory does not grow with the log.

use std::{io, sync::Arc};

use gridhour_contracts_sim::{checkpoint::Checkpoint, ledger::entry::Entry, state::State};
use gridhour_protocol::merkle::TreeHead;
use tokio::sync::watch;

use self::{
    check::check,
    growth::{Added, Growth, PARTS},
};
pub use self::{
    growth::ENTRY_BYTES_MAX,
    shelf::{ShelfError, TileShelf},
    writer::TileWriter,
};
use super::{
    disk::{BlockFile, Disk},
    journal::JournalReader,
    restore::{RestoreError, replay},
};

mod check;
mod growth;
mod shelf;
mod writer;

/// Why the public log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum TilesError {
    /// The disk refused.
    #[error("the public log's files cannot be written: {0}")]
    Disk(#[from] io::Error),
    /// The journal cannot be replayed, or gives another ledger.
    #[error("the public log cannot be built: {0}")]
    Replay(#[from] RestoreError),
}

/// The files of the log, in the order of [`PARTS`].
type Files = Vec<Box<dyn BlockFile>>;

/// The writer. There is one for a directory; [`TileLog::shelf`] gives any number of readers.
pub struct TileLog {
    disk: Arc<dyn Disk>,
    files: Files,
    growth: Growth,
    published: watch::Sender<Checkpoint>,
    built: bool,
}

impl TileLog {
    /// Opens the log of the ledger that is at `state`. Files that are not exactly its log are written anew from the
    /// journal.
    ///
    /// # Errors
    /// If the disk refuses or the journal cannot be replayed.
    pub fn open(disk: Arc<dyn Disk>, state: &State, journal: &JournalReader) -> Result<Self, TilesError> {
        let files: Files = PARTS.iter().map(|name| disk.open(name)).collect::<Result<_, _>>()?;
        let checkpoint = Checkpoint::of(state);
        let (published, _) = watch::channel(checkpoint);
        let found = check(&files, &checkpoint.log)?;
        let built = found.is_none();
        let mut log = Self { disk, files, growth: found.unwrap_or_default(), published, built };
        if built {
            log.build(state, journal)?;
        }
        Ok(log)
    }

    /// Whether the files had to be written anew.
    #[must_use]
    pub fn was_built(&self) -> bool {
        self.built
    }

    /// A reader of what is published.
    #[must_use]
    pub fn shelf(&self) -> TileShelf {
        TileShelf::new(Arc::clone(&self.disk), self.published.subscribe())
    }

    /// Adds a block's entries, and publishes the log as it is then.
    ///
    /// # Errors
    /// If the disk refuses; then nothing more may be added.
    pub fn add(&mut self, entries: &[Entry], checkpoint: Checkpoint) -> io::Result<()> {
        self.append(entries)?;
        self.published.send_replace(checkpoint);
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut added = Added::default();
        entries.iter().for_each(|entry| self.growth.push(entry.layout().as_bytes(), &mut added));
        for (file, bytes) in self.files.iter_mut().zip(added.parts()) {
            if !bytes.is_empty() {
                file.append(bytes)?;
            }
        }
        Ok(())
    }

    fn build(&mut self, state: &State, journal: &JournalReader) -> Result<(), TilesError> {
        for file in &mut self.files {
            file.truncate(0)?;
        }
        let start = State::new(state.genesis().clone()).map_err(RestoreError::Genesis)?;
        let mut written = Ok(());
        replay(start, journal, |block| {
            if written.is_ok() {
                written = self.append(block.entries());
            }
        })?;
        written?;
        let (found, expected) = (self.growth.head(), Checkpoint::of(state).log);
        if found != expected { Err(other_log(&expected, &found).into()) } else { Ok(()) }
    }
}

/// The state is the journal's, so this is a disk that does not keep what is written.
fn other_log(expected: &TreeHead, found: &TreeHead) -> io::Error {
    io::Error::other(format!("the journal gives {} entries, the state has {}", found.size, expected.size))
}
