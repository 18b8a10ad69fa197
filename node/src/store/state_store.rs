//! Where the ledger's state is kept between two starts: an index that the journal can always rebuild.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gridhour_contracts_sim::state::Record;

/// Bytes of one value. sled keeps much larger ones in files of their own, which a checkpoint would not reach.
pub const VALUE_BYTES_MAX: usize = 4 * 1024;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Why a store failed. Nothing is lost: the journal has it all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store, or the disk below it, refused.
    #[error("the state store failed: {0}")]
    Backend(String),
    /// A value is longer than any record of the ledger.
    #[error("a value of {0} bytes is over the store's limit of {VALUE_BYTES_MAX}")]
    TooLong(usize),
}

/// Records by key. One of them is the ledger's cursor, so a store knows by itself up to which block it has got.
pub trait StateStore: Send {
    /// Every record, in the order of the keys.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn load(&self) -> Result<Vec<Pair>, StoreError>;

    /// Makes all changes or none. They survive a kill from the next [`StateStore::checkpoint`] on; until then a crash may
    /// bring back an earlier state, but never half of a call.
    ///
    /// # Errors
    /// If a value is too long, which changes nothing, or the store cannot be written.
    fn apply(&mut self, changes: Vec<Record>) -> Result<(), StoreError>;

    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn checkpoint(&mut self) -> Result<(), StoreError>;
}

/// Refuses changes that a store must not take.
pub(super) fn check_changes(changes: &[Record]) -> Result<(), StoreError> {
    let values = changes.iter().filter_map(|(_, value)| value.as_ref());
    match values.map(Vec::len).find(|len| *len > VALUE_BYTES_MAX) {
        Some(len) => Err(StoreError::TooLong(len)),
        None => Ok(()),
    }
}

/// A store in memory. Clones are the same store, so it outlives whoever works with it: for nodes that rather replay than
/// keep an index, and for tests.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    current: BTreeMap<Vec<u8>, Vec<u8>>,
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a power cut does: back to the last checkpoint.
    pub fn cut_power(&self) {
        let mut tables = self.tables();
        tables.current = tables.durable.clone();
    }
}

impl StateStore for MemoryStore {
    fn load(&self) -> Result<Vec<Pair>, StoreError> {
        Ok(self.tables().current.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&mut self, changes: Vec<Record>) -> Result<(), StoreError> {
        check_changes(&changes)?;
        let mut tables = self.tables();
        for (key, value) in changes {
            match value {
                Some(value) => tables.current.insert(key, value),
                None => tables.current.remove(&key),
            };
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.durable = tables.current.clone();
        Ok(())
    }
}
