//! A ledger's directory, opened: lock, journal, state.
//!
//! ```text
//! DIR/lock                     who has it
//! DIR/journal/blocks-*.log     the truth
//! DIR/state/                   the index
//! DIR/tiles/                   the public log, as it is served
//! DIR/state.1.fork/            an index that was not believed, kept for whoever wants to know why
//! DIR/journal.1.damaged/       a journal that was repaired, as it was before
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gridhour_contracts_sim::{genesis::Genesis, state::State};

use super::{
    disk::{DirDisk, Disk},
    journal::{Journal, JournalReader},
    lock::{DirLock, LockError},
    log_error::{LogError, Torn},
    repair,
    restore::{self, Doubt, FIRST_HEIGHT, RestoreError, Trouble},
    sled_store::SledStore,
    state_store::StateStore,
    tiles::{TileLog, TilesError},
};

/// Indexes kept aside at most; with more of them something is wrong that a rebuild does not mend.
pub const ASIDE_MAX: u32 = 16;

/// Why a ledger's directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be opened, or no state follows from it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The public log cannot be kept.
    #[error(transparent)]
    Tiles(#[from] TilesError),
    /// A fresh state store failed as well.
    #[error("a new state store cannot be used either: {0}")]
    Store(Doubt),
    /// The old state could not be moved aside.
    #[error("cannot move {path} aside: {source}")]
    Aside {
        /// The state's directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Restore(error.into())
    }
}

/// An index that was not believed.
#[derive(Debug)]
pub struct Rebuilt {
    /// Why.
    pub doubt: Doubt,
    /// Where it is kept.
    pub kept: PathBuf,
}

/// A ledger, ready to go on.
pub struct Ledger {
    /// Keeps other processes out; none where no other could come in.
    pub lock: Option<DirLock>,
    /// The writer of blocks.
    pub journal: Journal,
    /// The state after the journal's last block.
    pub state: State,
    /// Where the state is kept.
    pub store: Box<dyn StateStore>,
    /// The public log; none where nobody is served.
    pub tiles: Option<TileLog>,
    /// What an interrupted write left in the journal; it was removed, and had never been acknowledged.
    pub torn: Option<Torn>,
    /// The index that was replaced, if it was.
    pub rebuilt: Option<Rebuilt>,
}

impl Ledger {
    /// Opens the ledger of `genesis` in `dir`, or begins it.
    ///
    /// # Errors
    /// If another process has the directory, the journal is damaged or breaks a rule, or the disk refuses. A state that
    /// cannot be believed is no error: it is moved aside and built again, see [`Ledger::rebuilt`].
    pub fn open(dir: &Path, genesis: &Genesis) -> Result<Self, OpenError> {
        let lock = DirLock::acquire(dir)?;
        repair::finish_swap(dir).map_err(LogError::disk("put in place", "the repaired journal"))?;
        let disk = DirDisk::create(&dir.join("journal")).map_err(LogError::disk("create", "the journal"))?;
        let (journal, torn) = Journal::open(Arc::new(disk), genesis.id().0, FIRST_HEIGHT)?;
        let path = dir.join("state");
        let (state, store, rebuilt) = open_state(&path, genesis, &journal.reader())?;
        let tiles = DirDisk::create(&dir.join("tiles")).map_err(TilesError::Disk)?;
        let tiles = Some(TileLog::open(Arc::new(tiles), &state, &journal.reader())?);
        Ok(Self { lock: Some(lock), journal, state, store: Box::new(store), tiles, torn, rebuilt })
    }

    /// Opens the ledger of `genesis` on any disk, with any store: for simulations, and for stores in memory.
    ///
    /// # Errors
    /// As [`Ledger::open`]; a store that cannot be believed is one too.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        mut store: Box<dyn StateStore>,
        genesis: &Genesis,
    ) -> Result<Self, OpenError> {
        let (journal, torn) = Journal::open(disk, genesis.id().0, FIRST_HEIGHT)?;
        match restore::resume(genesis, &journal.reader(), &mut *store) {
            Ok(state) => Ok(Self { lock: None, journal, state, store, tiles: None, torn, rebuilt: None }),
            Err(Trouble::Stop(error)) => Err(error.into()),
            Err(Trouble::Doubt(doubt)) => Err(OpenError::Store(doubt)),
        }
    }
}

fn open_state(
    path: &Path,
    genesis: &Genesis,
    reader: &JournalReader,
) -> Result<(State, SledStore, Option<Rebuilt>), OpenError> {
    let doubt = match try_state(path, genesis, reader) {
        Ok((state, store)) => return Ok((state, store, None)),
        Err(Trouble::Stop(error)) => return Err(error.into()),
        Err(Trouble::Doubt(doubt)) => doubt,
    };
    let kept = move_aside(path, doubt.word())
        .map_err(|source| OpenError::Aside { path: path.to_owned(), source })?;
    match try_state(path, genesis, reader) {
        Ok((state, store)) => Ok((state, store, Some(Rebuilt { doubt, kept }))),
        Err(Trouble::Stop(error)) => Err(error.into()),
        Err(Trouble::Doubt(doubt)) => Err(OpenError::Store(doubt)),
    }
}

fn try_state(path: &Path, genesis: &Genesis, reader: &JournalReader) -> Result<(State, SledStore), Trouble> {
    let mut store = SledStore::open(path)?;
    let state = restore::resume(genesis, reader, &mut store)?;
    Ok((state, store))
}

/// Gives the directory at `path` a free name that ends in `word`, durably.
pub(super) fn move_aside(path: &Path, word: &str) -> io::Result<PathBuf> {
    let names = (1..=ASIDE_MAX).map(|n| path.with_extension(format!("{n}.{word}")));
    let Some(kept) = names.into_iter().find(|kept| !kept.exists()) else {
        let reason =
            format!("{ASIDE_MAX} of them are there already; look into why, and delete those not needed");
        return Err(io::Error::other(reason));
    };
    fs::rename(path, &kept)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    Ok(kept)
}
