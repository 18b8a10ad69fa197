//! Makes a damaged journal whole again: from what is left of it, and from someone who has a copy.
//!
//! ```text
//! unharmed files ── linked ──┐
//! whole frames of the rest ──┼─> journal.writing ── complete, synced ──> journal.repaired ── swapped ──> journal
//! blocks of an observer ─────┘                                           (journal.N.damaged is kept)
//! ```
//! Nobody is believed: every block behind the unharmed files is checked with all signatures, against the state that the
//! blocks before it give, whether it was found or fetched. The last block must reach what the state store has seen. Until
//! the swap the damaged journal is only read; a swap that was cut short is finished by the next start.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gridhour_contracts_sim::{
    block::{Block, Signatures, verify_and_apply},
    finding::{Finding, Rule},
    genesis::Genesis,
    state::State,
};
use gridhour_protocol::{id::BlockHash, units::Height, wire};

use super::{
    disk::DirDisk,
    journal::{Journal, log_kind, segment_name, segments},
    ledger_dir::move_aside,
    lock::{DirLock, LockError},
    log_error::LogError,
    restore::{self, FIRST_HEIGHT, RestoreError},
    salvage::Salvage,
    sled_store::SledStore,
    state_store::StateStore,
};

/// Bytes written before they are synced.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

/// Where missing blocks come from.
pub trait BlockSource {
    /// Encoded blocks from `from` on, as many as come in one go; none where it has no more. They are checked here.
    ///
    /// # Errors
    /// With what to tell the operator.
    fn blocks(&mut self, from: Height) -> Result<Vec<Vec<u8>>, String>;
}

/// Why a journal is not repaired. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another process has the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The disk.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The unharmed part cannot be replayed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Directories could not be made or renamed.
    #[error("cannot prepare {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The source failed.
    #[error("no blocks can be had: {0}")]
    Source(String),
    /// A fetched block is none of this ledger's.
    #[error("a block that was fetched is refused ({0}); ask another node")]
    Fetched(Finding),
    /// A block of the damaged journal does not follow from those before it.
    #[error("a block left in the damaged journal does not follow from those before it ({0})")]
    Left(Finding),
    /// Nobody has all that is missing.
    #[error(
        "the block at height {missing} is missing here and nobody who was asked has it, but this ledger reached \
         {reached}; ask a node that is further"
    )]
    Incomplete {
        /// The first block that nobody has.
        missing: u64,
        /// Height that the journal or the state is known to have had.
        reached: u64,
    },
    /// The repaired ledger is not the one that the state store saw.
    #[error(
        "at height {height} the state store saw block {expected}, but the blocks that were found lead to {found}: two \
         histories are signed"
    )]
    Fork {
        /// Height of the state.
        height: u64,
        /// Its block.
        expected: BlockHash,
        /// The block of the repaired journal.
        found: BlockHash,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong.
    pub damage: String,
    /// The last block now.
    pub height: u64,
    /// Blocks found whole in damaged files.
    pub salvaged: u64,
    /// Blocks that came from the source.
    pub fetched: u64,
    /// The damaged journal.
    pub kept: PathBuf,
    /// Height of the state store that the result was held against; `None` if that cannot be used.
    pub checked_to: Option<u64>,
}

/// What is wrong with a journal.
struct Damage {
    what: String,
    /// The first height that is in doubt.
    number: u64,
}

/// The last block that a state store has seen.
type Seen = Option<(Height, BlockHash)>;

/// Repairs the journal in `dir`, with `source` for what is missing. `None` if nothing is wrong with it. Blocks on the
/// disk and the source.
///
/// # Errors
/// [`RepairError`]; the journal is then as it was.
pub fn repair(
    dir: &Path,
    genesis: &Genesis,
    source: &mut dyn BlockSource,
) -> Result<Option<Repaired>, RepairError> {
    let _lock = DirLock::acquire(dir)?;
    finish_swap(dir).map_err(io_error(dir))?;
    let journal = dir.join("journal");
    let seen = seen_by_state(&dir.join("state"), genesis);
    let Some(damage) = diagnose(&journal, genesis, &seen)? else { return Ok(None) };
    let writing = dir.join("journal.writing");
    let begun = begin(&journal, &writing, genesis, damage.number)?;
    let mut filling = Filling::start(begun, genesis, source)?;
    filling.fill(&journal, &seen)?;
    let Filling { state, salvaged, fetched, .. } = filling;
    let height = state.tip().height.0;
    let kept = swap(dir, &writing).map_err(io_error(dir))?;
    let checked_to = seen.map(|(height, _)| height.0);
    Ok(Some(Repaired { damage: damage.what, height, salvaged, fetched, kept, checked_to }))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RepairError + use<> {
    let path = path.to_owned();
    move |source| RepairError::Io { path, source }
}

fn open(path: &Path, genesis: &Genesis) -> Result<Journal, LogError> {
    let disk = DirDisk::create(path).map_err(LogError::disk("create", "the journal"))?;
    Ok(Journal::open(Arc::new(disk), genesis.id().0, FIRST_HEIGHT)?.0)
}

/// `None` as well if the store cannot be used: then nobody knows how far it was.
fn seen_by_state(path: &Path, genesis: &Genesis) -> Seen {
    if !path.exists() {
        return None;
    }
    let records = SledStore::open(path).and_then(|store| store.load()).ok()?;
    let state = State::from_records(genesis.clone(), records).ok()?;
    Some((state.tip().height, state.tip().hash))
}

fn diagnose(journal: &Path, genesis: &Genesis, seen: &Seen) -> Result<Option<Damage>, RepairError> {
    match open(journal, genesis) {
        Err(error @ LogError::Corrupt { number, .. }) => Ok(Some(Damage { what: error.to_string(), number })),
        Err(error) => Err(error.into()),
        Ok(opened) => {
            let number = opened.next_height();
            let behind = |state: u64| RestoreError::Behind { journal: number - 1, state }.to_string();
            let ahead = seen.map(|(height, _)| height.0).filter(|height| *height >= number);
            Ok(ahead.map(|state| Damage { what: behind(state), number }))
        }
    }
}

/// Begins the new journal with the files before the one that is to hold `number`.
fn begin(journal: &Path, writing: &Path, genesis: &Genesis, number: u64) -> Result<Journal, RepairError> {
    if writing.exists() {
        // An earlier repair that did not get to its end.
        fs::remove_dir_all(writing).map_err(io_error(writing))?;
    }
    fs::create_dir_all(writing).map_err(io_error(writing))?;
    let disk = DirDisk::create(journal).map_err(io_error(journal))?;
    let firsts = segments(&disk)?;
    let harmed = firsts.iter().copied().filter(|first| *first <= number).max().unwrap_or(FIRST_HEIGHT);
    for first in firsts.into_iter().filter(|first| *first < harmed) {
        // Nothing is appended to a full file, so both journals can share it.
        let name = segment_name(first);
        fs::hard_link(journal.join(&name), writing.join(&name)).map_err(io_error(writing))?;
    }
    let mut begun = open(writing, genesis)?;
    begun.begin_segment()?;
    Ok(begun)
}

/// A new journal, and the state after its last block.
struct Filling<'s> {
    journal: Journal,
    state: State,
    source: &'s mut dyn BlockSource,
    unsynced: usize,
    salvaged: u64,
    fetched: u64,
}

impl<'s> Filling<'s> {
    fn start(
        journal: Journal,
        genesis: &Genesis,
        source: &'s mut dyn BlockSource,
    ) -> Result<Self, RepairError> {
        let state = restore::replay_all(genesis, &journal.reader())?;
        Ok(Self { journal, state, source, unsynced: 0, salvaged: 0, fetched: 0 })
    }

    /// Takes everything that is left in `damaged` and not here yet, and the rest from the source.
    fn fill(&mut self, damaged: &Path, seen: &Seen) -> Result<(), RepairError> {
        let disk = DirDisk::create(damaged).map_err(io_error(damaged))?;
        let kind = log_kind(self.state.network().0);
        for block in Salvage::start(&disk, kind, self.next_height())? {
            let (height, block) = block?;
            while self.next_height() < height {
                self.fetch(height)?;
            }
            // What was fetched may reach further than what was missing: both are the same block, or one breaks a rule.
            if self.next_height() == height {
                self.keep(&block, RepairError::Left)?;
                self.salvaged += 1;
            }
        }
        while self.fetch_more()? {}
        self.journal.sync()?;
        self.check_reached(seen)
    }

    fn next_height(&self) -> u64 {
        self.state.tip().height.0 + 1
    }

    /// Fetches blocks that are known to exist, as the one at `reached` was found.
    fn fetch(&mut self, reached: u64) -> Result<(), RepairError> {
        let missing = self.next_height();
        if self.fetch_more()? { Ok(()) } else { Err(RepairError::Incomplete { missing, reached }) }
    }

    /// Whether the source had more.
    fn fetch_more(&mut self) -> Result<bool, RepairError> {
        let blocks = self.source.blocks(Height(self.next_height())).map_err(RepairError::Source)?;
        for block in &blocks {
            self.keep(block, RepairError::Fetched)?;
            self.fetched += 1;
        }
        Ok(!blocks.is_empty())
    }

    /// Checks a block with all signatures, and appends it. If it does not follow, `blame` says whose fault that is.
    fn keep(&mut self, bytes: &[u8], blame: fn(Finding) -> RepairError) -> Result<(), RepairError> {
        let height = Height(self.next_height());
        let decoded = wire::decode::<Block>(bytes)
            .map_err(|error| Finding::new(height, Rule::Encoding, "an encoded block", error));
        decoded
            .and_then(|block| verify_and_apply(&mut self.state, block, Signatures::Check))
            .map_err(blame)?;
        self.journal.append(bytes)?;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_BYTES {
            self.journal.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Whether the new journal has the block that the state store saw last.
    fn check_reached(&self, seen: &Seen) -> Result<(), RepairError> {
        let Some((Height(height), expected)) = *seen else { return Ok(()) };
        if height < FIRST_HEIGHT {
            return Ok(());
        }
        let missing = self.next_height();
        if missing <= height {
            return Err(RepairError::Incomplete { missing, reached: height });
        }
        let block = self.journal.reader().read(height)?;
        let block: Block = wire::decode(&block).map_err(|source| RestoreError::Block { height, source })?;
        let found = block.hash();
        if found == expected { Ok(()) } else { Err(RepairError::Fork { height, expected, found }) }
    }
}

/// Puts a journal that is complete in the place of the damaged one. Returns where that is kept.
fn swap(dir: &Path, writing: &Path) -> io::Result<PathBuf> {
    fs::rename(writing, dir.join("journal.repaired"))?;
    File::open(dir)?.sync_all()?;
    let kept = finish_swap(dir)?;
    kept.ok_or_else(|| io::Error::other("the journal vanished while it was repaired"))
}

/// Finishes a swap that was begun, also by a process that did not get to its end: a journal has this name only once it
/// is complete. Returns where the damaged one is kept, if it was still in its place.
pub(super) fn finish_swap(dir: &Path) -> io::Result<Option<PathBuf>> {
    let (repaired, journal) = (dir.join("journal.repaired"), dir.join("journal"));
    if !repaired.exists() {
        return Ok(None);
    }
    let kept = if journal.exists() { Some(move_aside(&journal, "damaged")?) } else { None };
    fs::rename(&repaired, &journal)?;
    File::open(dir)?.sync_all()?;
    Ok(kept)
}
