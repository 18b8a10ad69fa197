//! A client's records, and who has them: whoever writes has the data directory to itself; whoever only asks looks in and
//! leaves it to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gridhour_protocol::signed::PublicKey;

use crate::{
    data_dir::DataDir,
    drivers::memory::{Memory, MemoryError},
    store::lock::{DirLock, Door},
};

/// The records of one data directory.
pub(super) struct OwnRecords {
    data_dir: DataDir,
    owner: PublicKey,
    held: Mutex<Option<Held>>,
}

/// Records that no other process writes meanwhile.
struct Held {
    memory: Memory,
    _lock: DirLock,
}

impl OwnRecords {
    pub(super) fn new(data_dir: DataDir, owner: PublicKey) -> Self {
        Self { data_dir, owner, held: Mutex::default() }
    }

    /// Takes them for this process, if it has not taken them before.
    ///
    /// # Errors
    /// If another process has them, or they cannot be read.
    pub(super) fn take(&self) -> Result<Memory, MemoryError> {
        let mut held = self.lock();
        if let Some(held) = &*held {
            return Ok(held.memory.clone());
        }
        Ok(held.insert(self.open(&self.door()?)?).memory.clone())
    }

    /// What this process took.
    pub(super) fn taken(&self) -> Option<Memory> {
        self.lock().as_ref().map(|held| held.memory.clone())
    }

    /// What `look` finds in them; nothing if another process has them, or they cannot be read.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Memory) -> Result<T, MemoryError>) -> Option<T> {
        let found = match self.taken() {
            Some(memory) => look(&memory),
            None => self.door().and_then(|door| look(&self.open(&door)?.memory)),
        };
        found.inspect_err(|error| tracing::warn!(%error, "what is remembered is not looked at")).ok()
    }

    fn door(&self) -> Result<Door, MemoryError> {
        Ok(Door::pass(self.data_dir.root())?)
    }

    fn open(&self, _door: &Door) -> Result<Held, MemoryError> {
        let lock = DirLock::acquire(self.data_dir.root())?;
        let (memory, torn) = Memory::open(&self.data_dir.records(), self.owner)?;
        if let Some(torn) = torn {
            tracing::warn!(?torn, "an interrupted write was removed from the records");
        }
        Ok(Held { memory, _lock: lock })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        // No panic can leave it half-changed: it is set at once.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{self, RecvTimeoutError},
        thread,
        time::Duration,
    };

    use gridhour_contracts_sim::harness::key;
    use gridhour_protocol::market::coordinate::Coordinate;

    use super::*;

    #[test]
    fn who_only_looks_keeps_nobody_from_writing() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] = [1, 1].map(|n| OwnRecords::new(DataDir::new(folder.path()), key(n).public()));
        thread::scope(|scope| {
            let (told, taken) = mpsc::sync_channel(1);
            let look = one.look(|_| {
                scope.spawn(move || told.send(other.take().is_ok()).expect("it is waited for"));
                let meanwhile = taken.recv_timeout(Duration::from_millis(100));
                Ok((meanwhile, taken))
            });
            let (meanwhile, taken) = look.expect("nobody else has them");
            assert_eq!(meanwhile, Err(RecvTimeoutError::Timeout), "it waits");
            assert_eq!(taken.recv(), Ok(true));
        });
    }

    #[test]
    fn one_writes_and_the_others_look_while_nobody_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] = [1, 1].map(|n| OwnRecords::new(DataDir::new(folder.path()), key(n).public()));
        let place = |records: &OwnRecords| records.look(Memory::coordinate);
        assert_eq!((place(&one), place(&other)), (Some(None), Some(None)));
        one.take().expect("nobody has them").keep_coordinate(&Coordinate::UNKNOWN).expect("room");
        assert!(matches!(other.take(), Err(MemoryError::InUse(_))));
        assert_eq!((place(&one), place(&other)), (Some(Some(Coordinate::UNKNOWN)), None));
        drop(one);
        assert_eq!(place(&other), Some(Some(Coordinate::UNKNOWN)));
        assert!(other.taken().is_none(), "who looks leaves them");
    }
}
