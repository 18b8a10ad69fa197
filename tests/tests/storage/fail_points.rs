//! A process that dies at a chosen moment of a chosen write or sync, again and again on one directory: after every death
//! all that it acknowledged is there.

use std::{
    env, fs, io,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use gridhour_contracts_sim::state::Record;
use gridhour_node::store::{
    disk::{BlockFile, DirDisk, Disk},
    ledger_dir::Ledger,
    records::{Kind, Records},
    sled_store::SledStore,
    state_store::{Pair, StateStore, StoreError},
};

use crate::{
    kill::{Victim, acknowledge, check_payments, pay_on, victim_dir},
    scale,
    world::genesis,
};

/// Names the moment at which a victim dies, and which of its kind: `before-sync 3`.
const DEATH: &str = "GRIDHOUR_TEST_DEATH";
const OWNER: [u8; 32] = [6; 32];
const COUNTER: Kind = Kind(9);
/// Moments of every log.
const LOG: [&str; 6] =
    ["before-write", "half-written", "before-sync", "after-sync", "before-names-sync", "after-names-sync"];
/// Moments of the state store, and of the ledger.
const STATE: [&str; 5] =
    ["before-batch", "amid-batch", "after-batch", "before-checkpoint", "before-acknowledgement"];

/// Dies when its moment has come so many times.
struct Death {
    moment: String,
    left: AtomicU64,
}

impl Death {
    fn from_environment() -> Arc<Self> {
        let text = env::var(DEATH).expect("a victim is told when to die");
        let (moment, count) = text.split_once(' ').expect("a moment and a number");
        Arc::new(Self { moment: moment.into(), left: AtomicU64::new(count.parse().expect("a number")) })
    }

    /// Whether this is the moment.
    fn is_now(&self, moment: &str) -> bool {
        self.moment == moment && self.left.fetch_sub(1, SeqCst) == 1
    }

    fn passes(&self, moment: &str) {
        if self.is_now(moment) {
            process::abort();
        }
    }
}

/// The real disk, on which one dies.
struct DeadlyDisk(DirDisk, Arc<Death>);

impl Disk for DeadlyDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn BlockFile>> {
        Ok(Box::new(DeadlyFile(self.0.open(name)?, Arc::clone(&self.1))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.1.passes("before-names-sync");
        self.0.sync_dir()?;
        self.1.passes("after-names-sync");
        Ok(())
    }

    fn salt(&self) -> io::Result<[u8; 16]> {
        self.0.salt()
    }
}

struct DeadlyFile(Box<dyn BlockFile>, Arc<Death>);

impl BlockFile for DeadlyFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1.passes("before-write");
        if self.1.is_now("half-written") {
            self.0.append(&bytes[..bytes.len() / 2])?;
            process::abort();
        }
        self.0.append(bytes)
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.0.truncate(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.passes("before-sync");
        self.0.sync()?;
        self.1.passes("after-sync");
        Ok(())
    }
}

/// sled, in which one dies.
struct DeadlyStore(SledStore, Arc<Death>);

impl StateStore for DeadlyStore {
    fn load(&self) -> Result<Vec<Pair>, StoreError> {
        self.0.load()
    }

    fn apply(&mut self, changes: Vec<Record>) -> Result<(), StoreError> {
        self.1.passes("before-batch");
        if self.1.is_now("amid-batch") {
            // Wherever sled is when another thread gets to it.
            thread::spawn(|| process::abort());
            self.0.apply(changes)?;
            self.0.checkpoint()?;
            loop {
                thread::park();
            }
        }
        self.0.apply(changes)?;
        self.1.passes("after-batch");
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.1.passes("before-checkpoint");
        self.0.checkpoint()
    }
}

/// Every moment, the first time and some later ones. Names are synced once in a new directory, and a state that is gone is
/// filled once at each start.
fn deaths(moments: &[&str]) -> Vec<String> {
    let counts = |moment: &str| match moment {
        "before-write" | "half-written" | "before-sync" | "after-sync" | "before-acknowledgement" => {
            (0..2 * scale()).map(|n| 1 + n * 13 % 40).collect()
        }
        _ => vec![1],
    };
    moments
        .iter()
        .flat_map(|moment| counts(moment).into_iter().map(move |n| format!("{moment} {n}")))
        .collect()
}

fn pay_until_death(dir: &Path) {
    let death = Death::from_environment();
    let disk = DeadlyDisk(DirDisk::create(&dir.join("journal")).expect("creates"), Arc::clone(&death));
    let store = DeadlyStore(SledStore::open(&dir.join("state")).expect("opens"), Arc::clone(&death));
    let ledger = Ledger::open_on(Arc::new(disk), Box::new(store), &genesis()).expect("opens");
    pay_on(ledger, |_| death.passes("before-acknowledgement"));
}

#[test]
fn a_ledger_that_dies_at_any_write_or_sync_keeps_what_it_acknowledged() {
    if let Some(dir) = victim_dir() {
        return pay_until_death(&dir);
    }
    let test = "fail_points::a_ledger_that_dies_at_any_write_or_sync_keeps_what_it_acknowledged";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let die = |dir: &Path, death: &str| Victim::start_with(test, dir, &[(DEATH, death)]).last_words();
    let check = |dir: &Path, last, death: &str| {
        let ledger = Ledger::open(dir, &genesis()).unwrap_or_else(|error| panic!("{death}: {error}"));
        check_payments(&ledger, last, death);
    };
    let mut before = None;
    for death in deaths(&[&LOG[..], &STATE].concat()) {
        if death.contains("names") {
            // The journal's file is created at the first start alone.
            let fresh = tempfile::tempdir().expect("a temporary directory");
            check(fresh.path(), die(fresh.path(), &death), &death);
            continue;
        }
        if death.contains("batch") {
            // So that there is a batch at the start; the next one comes with the next checkpoint, seconds later.
            fs::remove_dir_all(dir.path().join("state")).expect("removes");
        }
        before = before.max(die(dir.path(), &death));
        check(dir.path(), before, &death);
    }
    assert!(before > Some(20), "the deaths came before there was anything to lose: {before:?}");
}

fn records(disk: Arc<dyn Disk>) -> Records {
    // Little slack, so that the log is also written anew.
    Records::open_with(disk, OWNER, 300).expect("opens").0
}

fn stored(records: &Records) -> u64 {
    let value = records.get(COUNTER, b"counter");
    value.map_or(0, |value| u64::from_le_bytes(value[..].try_into().expect("eight bytes")))
}

fn count_until_death(dir: &Path) {
    let disk = DeadlyDisk(DirDisk::create(dir).expect("creates"), Death::from_environment());
    let records = records(Arc::new(disk));
    for number in stored(&records) + 1.. {
        records.put(COUNTER, b"counter", &number.to_le_bytes()).expect("stores");
        acknowledge(number);
    }
}

#[test]
fn a_node_that_dies_at_any_write_or_sync_keeps_every_record() {
    if let Some(dir) = victim_dir() {
        return count_until_death(&dir);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let test = "fail_points::a_node_that_dies_at_any_write_or_sync_keeps_every_record";
    let mut before = 0;
    for death in deaths(&LOG) {
        let last = Victim::start_with(test, dir.path(), &[(DEATH, &death)]).last_words();
        let now = stored(&records(Arc::new(DirDisk::create(dir.path()).expect("creates"))));
        assert!(now >= last.unwrap_or(before) && now >= before, "{death}: {now} after {last:?} and {before}");
        before = now;
    }
    assert!(before > 10, "the deaths came before there was anything to lose: {before}");
}
