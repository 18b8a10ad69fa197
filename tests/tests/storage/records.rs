//! Records: what was stored before it was sent is there after any crash.

use std::{collections::BTreeMap, sync::Arc, thread};

use gridhour_node::store::{
    disk::DirDisk,
    log_error::LogError,
    records::{COMMIT_BYTES_MAX, Change, Kind, RECORDS_BYTES_MAX, Records},
};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::scale;

const OWNER: [u8; 32] = [3; 32];
/// Little enough that the log is written anew every few commits.
const SLACK: u64 = 2_000;
const VOUCHERS: Kind = Kind(1);
const RESULTS: Kind = Kind(2);

type Model = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn open(disk: &SimDisk) -> Result<Records, LogError> {
    Records::open_with(Arc::new(disk.clone()), OWNER, SLACK).map(|(records, _)| records)
}

fn contents(records: &Records) -> Model {
    let of = |kind: Kind| {
        records.list(kind, &[]).into_iter().map(move |(key, value)| ((kind.0, key), value.to_vec()))
    };
    of(VOUCHERS).chain(of(RESULTS)).collect()
}

/// One random commit, and the model after it.
fn step(records: &Records, model: &Model, rng: &mut Rng) -> (Model, Result<(), LogError>) {
    let mut after = model.clone();
    let key = vec![b'k', rng.below(6) as u8];
    let value_len = rng.below(700) as usize;
    let value = rng.bytes(value_len);
    let put = Change::Put { kind: RESULTS, key: &key, value: &value };
    let delete = Change::Delete { kind: VOUCHERS, key: &key };
    let done = match rng.below(4) {
        0 => {
            after.remove(&(VOUCHERS.0, key.clone()));
            records.delete(VOUCHERS, &key)
        }
        1 => {
            after.remove(&(VOUCHERS.0, key.clone()));
            after.insert((RESULTS.0, key.clone()), value.clone());
            records.commit(&[put, delete])
        }
        _ => {
            after.insert((VOUCHERS.0, key.clone()), value.clone());
            records.put(VOUCHERS, &key, &value)
        }
    };
    (after, done)
}

/// The state after the last commit that returned, and what it would be with the one that did not.
fn run(disk: &SimDisk, seed: u64) -> (Model, Model) {
    let mut rng = Rng::new(seed);
    let mut model = Model::new();
    let Ok(records) = open(disk) else { return (Model::new(), model) };
    for _ in 0..25 {
        let (after, done) = step(&records, &model, &mut rng);
        if done.is_err() {
            assert!(
                matches!(records.put(VOUCHERS, b"x", b"y"), Err(LogError::Poisoned)),
                "fatal means fatal"
            );
            return (model, after);
        }
        model = after;
    }
    (model.clone(), model)
}

#[test]
fn a_power_cut_at_any_operation_forgets_no_record() {
    for seed in 0..40 * scale() {
        let whole = SimDisk::new(seed);
        let (model, _) = run(&whole, seed);
        assert_eq!(contents(&open(&whole).expect("opens")), model, "seed {seed}");
        for at in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            disk.cut_power_at(at);
            let (model, or) = run(&disk, seed);
            let disk = disk.after_power_cut();
            let records = open(&disk).unwrap_or_else(|error| panic!("seed {seed}, operation {at}: {error}"));
            let found = contents(&records);
            assert!(found == model || found == or, "seed {seed}, operation {at}: neither before nor after");
            records.put(VOUCHERS, b"after", b"all").expect("the disk works again");
            let again = open(&disk.after_power_cut()).expect("opens again");
            assert_eq!(contents(&again).len(), found.len() + 1, "seed {seed}, operation {at}");
        }
    }
}

#[test]
fn a_failed_sync_is_fatal_and_forgets_no_record() {
    for seed in 0..20 * scale() {
        let whole = SimDisk::new(seed);
        run(&whole, seed);
        for at in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            disk.fail_sync_at(at);
            let (model, or) = run(&disk, seed);
            let found = contents(&open(&disk.after_power_cut()).expect("opens"));
            assert!(found == model || found == or, "seed {seed}, operation {at}");
        }
    }
}

#[test]
fn damage_is_named_unless_it_could_be_an_unfinished_write() {
    let disk = SimDisk::new(1);
    let records = open(&disk).expect("opens");
    for key in 0..4u8 {
        records.put(VOUCHERS, &[key], &[key; 20]).expect("stores");
    }
    let (name, bytes) = disk.contents().pop_last().expect("one log");
    let last_frame = bytes.len() - (80 + 8 + 1 + 20);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        match open(&SimDisk::holding(2, [(name.clone(), damaged)])) {
            Ok(records) => {
                assert!(at >= last_frame, "byte {at} went unnoticed");
                assert_eq!(contents(&records).len(), 3);
            }
            Err(LogError::Corrupt { segment, .. }) => {
                assert!(segment == name && at < last_frame, "byte {at}")
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn records_are_listed_by_kind_and_prefix() {
    let records = open(&SimDisk::new(1)).expect("opens");
    for key in ["a/1", "a/2", "b/1"] {
        records.put(VOUCHERS, key.as_bytes(), key.as_bytes()).expect("stores");
    }
    records.put(RESULTS, b"a/3", b"other").expect("stores");
    let keys: Vec<Vec<u8>> = records.list(VOUCHERS, b"a/").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"a/1", b"a/2"]);
    assert_eq!(records.get(RESULTS, b"a/3").as_deref(), Some(&b"other"[..]));
    records.delete(RESULTS, b"a/3").expect("forgets");
    records.delete(RESULTS, b"a/3").expect("forgetting twice is harmless");
    assert_eq!(records.get(RESULTS, b"a/3"), None);
}

#[test]
fn writers_at_the_same_time_share_syncs_and_all_are_durable() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<DirDisk> = Arc::new(DirDisk::create(&dir.path().join("records")).expect("creates"));
    let (records, _) = Records::open(disk.clone(), OWNER).expect("opens");
    thread::scope(|scope| {
        for lane in 0..8u8 {
            let records = &records;
            scope.spawn(move || {
                for n in 0..50u8 {
                    records.put(VOUCHERS, &[lane], &[n]).expect("stores");
                    assert_eq!(records.get(VOUCHERS, &[lane]).as_deref(), Some(&[n][..]));
                }
            });
        }
    });
    drop(records);
    let (records, torn) = Records::open(disk, OWNER).expect("opens");
    assert_eq!(torn, None);
    let lanes: Model = (0..8u8).map(|lane| ((VOUCHERS.0, vec![lane]), vec![49])).collect();
    assert_eq!(contents(&records), lanes);
}

#[test]
fn the_log_does_not_grow_with_history() {
    let disk = SimDisk::new(1);
    let records = open(&disk).expect("opens");
    for n in 0..2_000u32 {
        records.put(VOUCHERS, b"lane", &n.to_le_bytes()).expect("stores");
    }
    let bytes: usize = disk.contents().values().map(Vec::len).sum();
    assert!(bytes < 3 * SLACK as usize, "{bytes} bytes for one record");
    assert_eq!(
        open(&disk).expect("opens").get(VOUCHERS, b"lane").as_deref(),
        Some(&1_999u32.to_le_bytes()[..])
    );
}

#[test]
fn a_full_store_refuses_and_can_be_emptied() {
    let records = open(&SimDisk::new(1)).expect("opens");
    let value = vec![0; COMMIT_BYTES_MAX - 100];
    let fit = (RECORDS_BYTES_MAX / value.len()) as u64;
    let full = (0..=fit).map(|n| records.put(RESULTS, &n.to_le_bytes(), &value)).find(Result::is_err);
    assert!(matches!(full, Some(Err(LogError::Full { .. }))));
    records.delete(RESULTS, &0u64.to_le_bytes()).expect("room is made");
    records.put(VOUCHERS, b"small", b"one").expect("and used");
}
