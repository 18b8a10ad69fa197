//! The ledger's state in sled.
//!
//! sled's `flush` hands its log to the kernel without syncing the file, and power cuts show it: so a checkpoint syncs
//! the file itself. What the journal guarantees never rests on it.

use std::{fs::File, io, path::Path, thread};

use gridhour_contracts_sim::state::Record;

use super::state_store::{Pair, StateStore, StoreError, check_changes};

/// Memory that sled may use for pages, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// A sled database in a directory of its own.
pub struct SledStore {
    db: sled::Db,
    /// Our own handle of the file that holds the pages.
    file: File,
}

fn failed(error: impl ToString) -> StoreError {
    StoreError::Backend(error.to_string())
}

impl SledStore {
    /// Opens the database at `path`, or begins it, and reads it once. On damaged files sled may panic; that happens in a
    /// thread of its own and comes back as an error.
    ///
    /// # Errors
    /// If sled cannot open or read the directory, in whatever way it says so.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let probe = thread::Builder::new().name("state-probe".into()).spawn(move || Self::probe(&path));
        let opened = probe.map_err(failed)?.join();
        opened.unwrap_or_else(|_| Err(failed("sled panicked over its files")))
    }

    fn probe(path: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = config.open().map_err(failed)?;
        db.flush().map_err(failed)?;
        let file = sync_names(path).and_then(|()| File::open(path.join("db"))).map_err(failed)?;
        let store = Self { db, file };
        store.load()?;
        Ok(store)
    }
}

/// Makes the directory, and its name, durable.
fn sync_names(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

impl StateStore for SledStore {
    fn load(&self) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.db.iter().map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())));
        pairs.collect::<Result<_, _>>().map_err(failed)
    }

    fn apply(&mut self, changes: Vec<Record>) -> Result<(), StoreError> {
        check_changes(&changes)?;
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(failed)
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(failed)
    }
}
