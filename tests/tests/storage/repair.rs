//! Repairing a journal: whatever is damaged, the same ledger comes back, or a refusal that changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gridhour_node::{
    consensus::Ordering,
    store::{
        disk::DirDisk,
        journal::Journal,
        ledger_dir::{Ledger, OpenError},
        lock::{DirLock, LockError},
        repair::{BlockSource, RepairError, Repaired, repair},
        restore::RestoreError,
    },
};
use gridhour_protocol::{id::BlockHash, units::Height};
use testkit::sim::rng::Rng;

use crate::{
    follower::{ledger, payments},
    scale,
    start::copy,
    world::{check_ledger, genesis, mints, pay},
};

/// Small enough that the ledger of these tests fills three files.
const SEGMENT: u64 = 8_000;
const BLOCKS: u64 = 34;

/// Someone who has these blocks, and gives three at a time.
struct Holder<'b>(&'b [Vec<u8>]);

impl BlockSource for Holder<'_> {
    fn blocks(&mut self, from: Height) -> Result<Vec<Vec<u8>>, String> {
        let rest = self.0.get(from.0 as usize - 1..).unwrap_or_default();
        Ok(rest.iter().take(3).cloned().collect())
    }
}

/// A ledger in a directory whose journal has three files, all its blocks, and the hash of the last.
struct Whole {
    dir: tempfile::TempDir,
    blocks: Vec<Vec<u8>>,
    tip: BlockHash,
}

impl Whole {
    fn new() -> Self {
        let (solo, blocks) = ledger(payments(BLOCKS - 4));
        let tip = solo.view().read(|state| state.tip().hash);
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(&dir.path().join("good/journal"), &blocks);
        drop(Ledger::open(&dir.path().join("good"), &genesis()).expect("opens, and fills its state"));
        let whole = Self { dir, blocks, tip };
        assert_eq!(files(&whole.good().join("journal")).len(), 3);
        whole
    }

    fn good(&self) -> PathBuf {
        self.dir.path().join("good")
    }

    /// A copy of the directory to be damaged.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.dir.path().join(name);
        copy(&self.good(), &to);
        to
    }

    /// Repairs what is in `dir` with all blocks, and checks that all of the ledger is there again.
    fn repaired(&self, dir: &Path, what: &str) -> Repaired {
        let before = files(&dir.join("journal"));
        let done = repair(dir, &genesis(), &mut Holder(&self.blocks));
        let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
        let done = done.unwrap_or_else(|| panic!("{what}: no damage was seen"));
        assert!(files(&done.kept) == before, "{what}: the damaged journal is not kept as it was");
        assert_eq!(done.height, BLOCKS, "{what}");
        self.check(dir, what);
        done
    }

    fn check(&self, dir: &Path, what: &str) {
        let ledger = Ledger::open(dir, &genesis()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((ledger.state.tip().hash, &ledger.torn), (self.tip, &None), "{what}");
        assert!(ledger.rebuilt.is_none(), "{what}: the state still fits");
        check_ledger(&ledger.state, &ledger.journal.reader());
    }
}

fn write(path: &Path, blocks: &[Vec<u8>]) {
    let disk = DirDisk::create(path).expect("creates");
    let (mut journal, _) =
        Journal::open_with(Arc::new(disk), genesis().id().0, 1, SEGMENT).expect("an empty directory opens");
    for block in blocks {
        journal.append(block).and_then(|_| journal.sync()).expect("writes");
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| (entry.file_name().into_string().expect("ours"), fs::read(entry.path()).expect("reads")))
        .collect()
}

/// Changes the `n`th file of the journal in `dir`.
fn damage(dir: &Path, n: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let (name, mut bytes) = files(&dir.join("journal")).into_iter().nth(n).expect("three files");
    change(&mut bytes);
    fs::write(dir.join("journal").join(name), bytes).expect("writes");
}

fn refused(dir: &Path, what: &str) {
    let opened = Ledger::open(dir, &genesis()).map(|_| ());
    assert!(matches!(opened, Err(OpenError::Restore(_))), "{what}: {opened:?}");
}

#[test]
fn a_journal_damaged_in_any_region_is_repaired_to_the_same_root() {
    type Change = fn(&mut Vec<u8>);
    let whole = Whole::new();
    let regions: [(&str, usize, Change); 10] = [
        ("the magic of the first file", 0, |bytes| bytes[0] ^= 1),
        ("the salt of a file", 1, |bytes| bytes[10] ^= 1),
        ("the length of a frame", 0, |bytes| bytes[32] ^= 1),
        ("the number of a frame", 1, |bytes| bytes[36] ^= 1),
        ("the batch of a frame", 1, |bytes| bytes[44] ^= 1),
        ("the chain of a frame", 0, |bytes| bytes[60] ^= 1),
        ("the body of a frame", 2, |bytes| bytes[100] ^= 1),
        ("a stretch of zeros over frames", 1, |bytes| bytes[1_000..5_000].fill(0)),
        ("a file cut short in the middle", 1, |bytes| bytes.truncate(4_000)),
        ("a file of which nothing is left", 1, Vec::clear),
    ];
    for (what, n, change) in regions {
        let dir = whole.copy(what);
        damage(&dir, n, change);
        refused(&dir, what);
        let done = whole.repaired(&dir, what);
        assert_eq!(done.checked_to, Some(BLOCKS), "{what}");
        assert!(done.salvaged > 0, "{what}: the files behind are of use");
    }
    for n in 0..2 {
        let what = format!("without file {n}");
        let dir = whole.copy(&what);
        let (name, _) = files(&dir.join("journal")).into_iter().nth(n).expect("three files");
        fs::remove_file(dir.join("journal").join(name)).expect("removes");
        refused(&dir, &what);
        whole.repaired(&dir, &what);
    }
}

#[test]
fn bits_flipped_anywhere_are_repaired() {
    let whole = Whole::new();
    for seed in 0..12 * scale() {
        let mut rng = Rng::new(seed);
        let dir = whole.copy(&format!("seed {seed}"));
        for _ in 0..=rng.below(3) {
            let n = rng.below(3) as usize;
            damage(&dir, n, |bytes| {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            });
        }
        whole.repaired(&dir, &format!("seed {seed}"));
        fs::remove_dir_all(dir).expect("removes");
    }
}

#[test]
fn acknowledged_blocks_that_are_gone_come_back() {
    let whole = Whole::new();
    let last = files(&whole.good().join("journal")).pop_last().expect("three files").1.len();
    for cut in [1, 200, last - 40, last] {
        let what = format!("{cut} bytes cut off the end");
        let dir = whole.copy(&what);
        damage(&dir, 2, |bytes| bytes.truncate(bytes.len() - cut));
        match Ledger::open(&dir, &genesis()).map(|_| ()) {
            Err(OpenError::Restore(RestoreError::Behind { state: BLOCKS, .. })) => {}
            other => panic!("{what}: {other:?}"),
        }
        let done = whole.repaired(&dir, &what);
        assert!(done.damage.contains("acknowledged are gone"), "{}", done.damage);
        assert!(done.fetched > 0, "{what}");
    }
}

/// The observer lags, but what only the damaged journal has is not lost.
#[test]
fn blocks_behind_the_damage_that_nobody_else_has_are_kept() {
    let whole = Whole::new();
    let dir = whole.copy("damaged");
    damage(&dir, 0, |bytes| bytes[300] ^= 1);
    let before = files(&dir.join("journal"));
    let short = repair(&dir, &genesis(), &mut Holder(&[]));
    assert!(matches!(short, Err(RepairError::Incomplete { .. })), "{short:?}");
    assert!(files(&dir.join("journal")) == before, "a repair that failed changed something");
    let done = repair(&dir, &genesis(), &mut Holder(&whole.blocks[..5])).expect("repairs").expect("damage");
    assert_eq!((done.height, done.salvaged + done.fetched), (BLOCKS, BLOCKS));
    assert!(done.fetched <= 5 && done.salvaged >= BLOCKS - 5, "{done:?}");
    whole.check(&dir, "from five blocks");
}

#[test]
fn nobody_is_believed() {
    let whole = Whole::new();
    let (_, other) = ledger(mints().into_iter().chain((0..40).map(|nonce| pay(2, 1, 1, nonce))));
    let mut forged = whole.blocks.clone();
    forged.iter_mut().for_each(|block| *block.last_mut().expect("bytes") ^= 1);
    let dir = whole.copy("in the middle");
    damage(&dir, 1, |bytes| bytes[1_000..3_000].fill(0));
    let gone = whole.copy("at the end");
    let frame = whole.blocks.last().expect("blocks").len() + 80;
    damage(&gone, 2, |bytes| bytes.truncate(bytes.len() - frame));
    for dir in [dir, gone] {
        let before = files(&dir.join("journal"));
        for lies in [&forged, &other] {
            let outcome = repair(&dir, &genesis(), &mut Holder(lies));
            assert!(matches!(outcome, Err(RepairError::Fetched(_))), "{outcome:?}");
            assert!(files(&dir.join("journal")) == before, "a repair that failed changed something");
        }
        whole.repaired(&dir, "by someone honest");
    }
}

/// The operator signed another history, which follows from the part that is unharmed.
#[test]
fn a_history_that_the_state_did_not_see_is_refused() {
    let whole = Whole::new();
    let (_, other) = ledger(mints().into_iter().chain((0..40).map(|nonce| pay(2, 1, 1, nonce))));
    let dir = whole.copy("all that is left is the first blocks");
    fs::remove_dir_all(dir.join("journal")).expect("removes");
    write(&dir.join("journal"), &whole.blocks[..4]);
    match repair(&dir, &genesis(), &mut Holder(&other)) {
        Err(RepairError::Fork { height: BLOCKS, expected, .. }) => assert_eq!(expected, whole.tip),
        other => panic!("{other:?}"),
    }
    whole.repaired(&dir, "from the history that was acknowledged");
}

#[test]
fn a_swap_that_was_cut_short_is_finished_by_the_next_start() {
    let whole = Whole::new();
    let dir = whole.copy("damaged");
    damage(&dir, 1, |bytes| bytes[1_000] ^= 1);
    let damaged = files(&dir.join("journal"));
    // As it is right before the first rename, and right after it.
    copy(&whole.good().join("journal"), &dir.join("journal.repaired"));
    let after = whole.dir.path().join("after");
    copy(&dir, &after);
    fs::rename(after.join("journal"), after.join("journal.1.damaged")).expect("renames");
    for dir in [dir, after] {
        whole.check(&dir, "opened");
        assert!(files(&dir.join("journal.1.damaged")) == damaged, "the damaged journal is not kept");
        assert!(!dir.join("journal.repaired").exists());
    }
    // What a repair left that did not get so far is of no use, and in nobody's way.
    let dir = whole.copy("unfinished");
    damage(&dir, 1, |bytes| bytes[1_000] ^= 1);
    fs::create_dir(dir.join("journal.writing")).expect("creates");
    fs::write(dir.join("journal.writing/blocks-00000000000000000001.log"), b"half").expect("writes");
    refused(&dir, "a half-written journal is no journal");
    whole.repaired(&dir, "with a half-written journal in the way");
}

#[test]
fn what_is_whole_is_left_alone_and_what_is_in_use_is_refused() {
    let whole = Whole::new();
    let before = files(&whole.good().join("journal"));
    assert_eq!(repair(&whole.good(), &genesis(), &mut Holder(&[])).expect("looks"), None);
    assert!(files(&whole.good().join("journal")) == before, "a whole journal was changed");
    let _held = DirLock::acquire(&whole.good()).expect("free");
    let busy = repair(&whole.good(), &genesis(), &mut Holder(&[]));
    assert!(matches!(busy, Err(RepairError::Lock(LockError::Held { .. }))), "{busy:?}");
}

#[test]
fn without_a_state_the_repair_says_that_it_was_not_held_against_one() {
    let whole = Whole::new();
    let dir = whole.copy("damaged");
    fs::remove_dir_all(dir.join("state")).expect("removes");
    damage(&dir, 1, |bytes| bytes[1_000] ^= 1);
    assert_eq!(whole.repaired(&dir, "without a state").checked_to, None);
}
