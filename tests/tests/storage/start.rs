//! Starting: what is believed, what is built again, and what is refused by name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gridhour_node::store::{
    ledger_dir::{ASIDE_MAX, Ledger, OpenError},
    lock::LockError,
    log_error::LogError,
    restore::{Doubt, RestoreError},
    sled_store::SledStore,
    state_store::{MemoryStore, StateStore},
};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::{
    scale,
    world::{check_ledger, genesis, mints, pay, start, submit},
};

fn open(dir: &Path) -> Result<Ledger, OpenError> {
    Ledger::open(dir, &genesis())
}

/// Goes on for a few blocks, each with one payment of the nonce that comes with it.
fn go_on(dir: &Path, nonces: std::ops::Range<u64>) {
    let solo = start(open(dir).expect("opens"));
    for nonce in nonces {
        submit(&solo, pay(1, 2, 1, nonce)).expect("accepted");
    }
}

/// A ledger of fourteen blocks in a directory.
fn ledger(dir: &Path) {
    let solo = start(open(dir).expect("opens"));
    for mint in mints() {
        submit(&solo, mint).expect("accepted");
    }
    drop(solo);
    go_on(dir, 0..10);
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copies");
        }
    }
}

/// Opens, and checks that what came out follows from the journal. Returns why the state was built again, and where the
/// old one is.
fn opened(dir: &Path) -> Option<(Doubt, PathBuf)> {
    let ledger = open(dir).expect("opens");
    assert_eq!(ledger.state.tip().height.0, 14);
    check_ledger(&ledger.state, &ledger.journal.reader());
    assert_eq!(ledger.torn, None);
    let rebuilt = ledger.rebuilt.map(|rebuilt| (rebuilt.doubt, rebuilt.kept));
    drop(ledger.store);
    let again = SledStore::open(&dir.join("state")).expect("the state was left in order");
    assert_eq!(again.load().expect("loads").len(), ledger.state.records().len());
    rebuilt
}

#[test]
fn a_state_that_is_in_order_is_used() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    assert!(opened(dir.path()).is_none());
}

#[test]
fn a_state_that_is_gone_is_built_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    fs::remove_dir_all(dir.path().join("state")).expect("removes");
    assert!(opened(dir.path()).is_none(), "nothing to keep");
}

#[test]
fn a_state_that_lags_is_brought_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (path, old) = (dir.path().join("ledger"), dir.path().join("old"));
    ledger(&path);
    copy(&path.join("state"), &old);
    go_on(&path, 10..20);
    fs::remove_dir_all(path.join("state")).expect("removes");
    fs::rename(&old, path.join("state")).expect("renames");
    let ledger = open(&path).expect("opens");
    assert!(ledger.rebuilt.is_none());
    assert_eq!(ledger.state.tip().height.0, 24);
    check_ledger(&ledger.state, &ledger.journal.reader());
}

#[test]
fn a_state_without_a_cursor_is_moved_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    let state = dir.path().join("state");
    let mut store = SledStore::open(&state).expect("opens");
    store.apply(vec![(b"c".to_vec(), None)]).and_then(|()| store.checkpoint()).expect("writes");
    drop(store);
    let (doubt, kept) = opened(dir.path()).expect("was built again");
    assert!(matches!(doubt, Doubt::Records(_)), "{doubt}");
    assert_eq!(kept, dir.path().join("state.1.records"));
    assert!(kept.join("db").exists(), "the old state is kept");
}

#[test]
fn a_state_of_another_history_is_moved_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (path, other) = (dir.path().join("ledger"), dir.path().join("other"));
    ledger(&path);
    // The same people, the same number of blocks, another order of payments.
    let solo = start(open(&other).expect("opens"));
    for tx in mints().into_iter().chain((0..10).map(|nonce| pay(2, 1, 1, nonce))) {
        submit(&solo, tx).expect("accepted");
    }
    drop(solo);
    fs::remove_dir_all(path.join("state")).expect("removes");
    fs::rename(other.join("state"), path.join("state")).expect("renames");
    let (doubt, kept) = opened(&path).expect("was built again");
    assert!(matches!(doubt, Doubt::Fork(14)), "{doubt}");
    assert_eq!(kept, path.join("state.1.fork"));
}

#[test]
fn a_state_with_a_changed_balance_is_moved_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    let mut store = SledStore::open(&dir.path().join("state")).expect("opens");
    let (key, _) = store.load().expect("loads").remove(0);
    assert_eq!(key[0], b'a');
    store.apply(vec![(key, Some(1_000_000u64.to_le_bytes().to_vec()))]).expect("writes");
    drop(store);
    let (doubt, _) = opened(dir.path()).expect("was built again");
    assert!(matches!(doubt, Doubt::Records(_)), "{doubt}");
}

#[test]
fn garbage_in_sleds_files_is_never_believed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let good = dir.path().join("good");
    ledger(&good);
    for seed in 0..12 * scale() {
        let mut rng = Rng::new(seed);
        let path = dir.path().join(seed.to_string());
        copy(&good, &path);
        let db = path.join("state/db");
        let mut bytes = fs::read(&db).expect("reads");
        damage(&mut bytes, &mut rng);
        fs::write(&db, bytes).expect("writes");
        // Whether sled notices depends on what was hit; what comes out must follow from the journal in any case.
        opened(&path);
    }
}

fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let len = bytes.len();
    match rng.below(4) {
        0 => bytes.truncate(rng.below(len as u64) as usize),
        1 => *bytes = rng.bytes(len),
        2 => bytes.iter_mut().for_each(|byte| *byte = 0),
        _ => (0..16).for_each(|_| bytes[rng.below(len as u64) as usize] ^= 0xff),
    }
}

#[test]
fn a_journal_that_ends_before_the_state_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (path, old) = (dir.path().join("ledger"), dir.path().join("old"));
    ledger(&path);
    copy(&path.join("journal"), &old);
    go_on(&path, 10..12);
    fs::remove_dir_all(path.join("journal")).expect("removes");
    fs::rename(&old, path.join("journal")).expect("renames");
    match open(&path).map(|_| ()) {
        Err(OpenError::Restore(RestoreError::Behind { journal: 14, state: 16 })) => {}
        other => panic!("acknowledged blocks are gone, and it says {other:?}"),
    }
}

#[test]
fn a_damaged_journal_is_refused_by_height() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    let file = dir.path().join("journal/blocks-00000000000000000001.log");
    let mut bytes = fs::read(&file).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("writes");
    match open(dir.path()).map(|_| ()) {
        Err(OpenError::Restore(RestoreError::Journal(LogError::Corrupt { number, offset, .. }))) => {
            assert!((5..11).contains(&number) && offset <= middle as u64, "block {number} at {offset}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_in_use_names_its_holder() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _ledger = open(dir.path()).expect("opens");
    match open(dir.path()).map(|_| ()) {
        Err(OpenError::Lock(LockError::Held { pid, .. })) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn states_kept_aside_are_bounded() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    for _ in 0..ASIDE_MAX {
        fs::write(dir.path().join("state/db"), b"not sled's").expect("writes");
        opened(dir.path()).expect("was built again");
    }
    fs::write(dir.path().join("state/db"), b"not sled's").expect("writes");
    assert!(matches!(open(dir.path()).map(|_| ()), Err(OpenError::Aside { .. })));
}

#[test]
fn both_stores_hold_the_same_state() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ledger(dir.path());
    let memory = MemoryStore::default();
    let in_memory =
        Ledger::open_on(std::sync::Arc::new(SimDisk::new(1)), Box::new(memory.clone()), &genesis());
    let solo = start(in_memory.expect("opens"));
    for tx in mints().into_iter().chain((0..10).map(|nonce| pay(1, 2, 1, nonce))) {
        submit(&solo, tx).expect("accepted");
    }
    drop(solo);
    let sled = SledStore::open(&dir.path().join("state")).expect("opens");
    assert_eq!(
        sled.load().expect("loads"),
        memory.load().expect("loads"),
        "record for record, roots and all"
    );
}
