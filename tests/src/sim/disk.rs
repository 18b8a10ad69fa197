//! A disk that forgets: after a power cut it holds what was synced, and any part of what was not.
//!
//! Unsynced writes survive sector by sector, in any combination: none, all, a prefix, or a random subset with zeros in
//! the gaps. So do unsynced names. A test counts the operations of a run, cuts the power at each of them in turn, and
//! opens what is left.

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind, Result},
    sync::{Arc, Mutex, MutexGuard},
};

use gridhour_node::store::disk::{BlockFile, Disk};

use super::rng::Rng;

/// Bytes that a disk writes at once or not at all.
const SECTOR_BYTES: usize = 512;

/// A directory of simulated files. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    files: Vec<File>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<NameChange>,
    /// Operations so far that change the disk.
    operations: u64,
    cut_at: Option<u64>,
    fail_sync_at: Option<u64>,
    /// Bytes that all files together may have.
    capacity: Option<usize>,
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Default)]
struct File {
    /// What a reader sees while the power is on.
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Sector { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl SimDisk {
    /// An empty disk; `seed` decides what a power cut leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::holding(seed, [])
    }

    /// A disk that durably holds these files.
    #[must_use]
    pub fn holding(seed: u64, contents: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut files = Vec::new();
        let mut names = Names::new();
        for (name, bytes) in contents {
            names.insert(name, files.len());
            files.push(File { seen: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        Self(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            files,
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            operations: 0,
            cut_at: None,
            fail_sync_at: None,
            capacity: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Operations so far that changed the disk: the points at which the power can be cut.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Cuts the power at operation `at`: it and all later ones fail.
    pub fn cut_power_at(&self, at: u64) {
        self.state().cut_at = Some(at);
    }

    /// Lets operations succeed again, and nothing is lost: then it was the process that stopped, not the disk.
    pub fn restore_power(&self) {
        self.state().cut_at = None;
    }

    /// Lets operation `at`, if it is a sync of a file, fail once and lose what it should have written. Readers still see
    /// the bytes and later syncs succeed, as on Linux.
    pub fn fail_sync_at(&self, at: u64) {
        self.state().fail_sync_at = Some(at);
    }

    /// Lets the disk hold so many bytes in all, or any number. An append beyond writes what fits, and fails.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state().used()
    }

    /// What a power cut at this moment leaves, on a disk that works again.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        let mut state = self.state();
        let State { rng, files, durable_names, pending_names, .. } = &mut *state;
        let mut names = durable_names.clone();
        survivors(rng, pending_names).for_each(|change| change.apply(&mut names));
        let contents = names.into_iter().map(|(name, at)| {
            let mut bytes = files[at].durable.clone();
            survivors(rng, &files[at].pending).for_each(|write| write.apply(&mut bytes));
            (name, bytes)
        });
        let contents: Vec<_> = contents.collect();
        Self::holding(rng.bits(), contents)
    }

    /// Turns one durable bit over, which `chance` decides; `false` if there is none.
    pub fn flip_bit(&self, chance: u64) -> bool {
        let mut state = self.state();
        let used = state.used() as u64;
        let Some(mut place) = chance.checked_rem(used) else { return false };
        let named: Vec<usize> = state.names.values().copied().collect();
        for at in named {
            let file = &mut state.files[at];
            if let Some(byte) = file.seen.get_mut(place as usize) {
                *byte ^= 1 << (chance >> 61);
                file.durable = file.seen.clone();
                return true;
            }
            place -= file.seen.len() as u64;
        }
        false
    }

    /// All files with the bytes that a reader sees.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, at)| (name.clone(), state.files[*at].seen.clone())).collect()
    }
}

/// The changes that reached the disk before the power went: none, all, a random subset, or more often a prefix.
fn survivors<'a, T>(rng: &mut Rng, changes: &'a [T]) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let luck = rng.below(6);
    let prefix = rng.below(changes.len() as u64 + 1) as usize;
    let mut coins = Rng::new(rng.bits());
    changes.iter().enumerate().filter_map(move |(i, change)| {
        let survives = match luck {
            0 => false,
            1 => true,
            2 | 3 => coins.one_in(2),
            _ => i < prefix,
        };
        survives.then_some(change)
    })
}

impl State {
    /// Counts an operation, and refuses it once the power is cut.
    fn operate(&mut self) -> Result<u64> {
        let now = self.operations;
        if self.cut_at.is_some_and(|at| now >= at) {
            return Err(Error::other("the power is cut"));
        }
        self.operations += 1;
        Ok(now)
    }

    fn used(&self) -> usize {
        self.names.values().map(|at| self.files[*at].seen.len()).sum()
    }

    /// How many of `bytes` more there is room for.
    fn room_for(&self, bytes: usize) -> usize {
        self.capacity.map_or(bytes, |capacity| capacity.saturating_sub(self.used()).min(bytes))
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    fn create(&mut self, name: &str) -> Result<usize> {
        self.operate()?;
        self.files.push(File::default());
        let at = self.files.len() - 1;
        self.change_name(NameChange::Link(name.to_owned(), at));
        Ok(at)
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(name, at) => {
                names.insert(name.clone(), *at);
            }
            Self::Rename(from, to, at) => {
                names.remove(from);
                names.insert(to.clone(), *at);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Write {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Sector { offset, bytes } => {
                let end = offset + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate(size) => file.truncate(*size),
        }
    }
}

/// The parts of `bytes`, written at `offset`, that lie in one sector each.
fn sectors(mut offset: usize, mut bytes: &[u8]) -> Vec<Write> {
    let mut writes = Vec::new();
    while !bytes.is_empty() {
        let room = SECTOR_BYTES - offset % SECTOR_BYTES;
        let (now, rest) = bytes.split_at(room.min(bytes.len()));
        writes.push(Write::Sector { offset, bytes: now.to_vec() });
        offset += now.len();
        bytes = rest;
    }
    writes
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> Result<Box<dyn BlockFile>> {
        let mut state = self.state();
        let at = match state.find(name) {
            Ok(at) => at,
            Err(_) => state.create(name)?,
        };
        Ok(Box::new(SimFile { disk: self.clone(), at }))
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state();
        state.operate()?;
        let at = state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), at));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.find(name)?;
        state.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    fn salt(&self) -> Result<[u8; 16]> {
        let bytes = self.state().rng.bytes(16);
        Ok(core::array::from_fn(|i| bytes[i]))
    }
}

struct SimFile {
    disk: SimDisk,
    at: usize,
}

impl SimFile {
    fn write(&self, writes: impl FnOnce(&File) -> Vec<Write>) -> Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let file = &mut state.files[self.at];
        let writes = writes(file);
        writes.iter().for_each(|write| write.apply(&mut file.seen));
        file.pending.extend(writes);
        Ok(())
    }
}

impl BlockFile for SimFile {
    fn size(&self) -> Result<u64> {
        Ok(self.disk.state().files[self.at].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let state = self.disk.state();
        let seen = &state.files[self.at].seen;
        let from = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let found = seen.get(from..from.saturating_add(buffer.len())).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let room = self.disk.state().room_for(bytes.len());
        self.write(|file| sectors(file.seen.len(), &bytes[..room]))?;
        if room == bytes.len() { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        let size = usize::try_from(size).map_err(|_| ErrorKind::InvalidInput)?;
        self.write(|_| vec![Write::Truncate(size)])
    }

    fn sync(&mut self) -> Result<()> {
        let mut state = self.disk.state();
        let now = state.operate()?;
        let fails = state.fail_sync_at == Some(now);
        let File { durable, pending, .. } = &mut state.files[self.at];
        if fails {
            pending.clear();
            return Err(Error::other("the device lost the write"));
        }
        pending.drain(..).for_each(|write| write.apply(durable));
        Ok(())
    }
}
