//! A full disk: what does not fit is refused by name and leaves no trace, and there is nothing to restart when there is
//! room again.

use std::{fs, io::Write, sync::Arc, thread};

use gridhour_contracts_sim::harness::START;
use gridhour_node::{
    consensus::{
        Ordering, SubmitError,
        follower::{FollowError, Follower},
    },
    store::{
        journal::Journal,
        ledger_dir::Ledger,
        log_error::LogError,
        records::{Kind, Records},
        state_store::MemoryStore,
    },
};
use gridhour_protocol::units::Height;
use testkit::{
    mounts::Mount,
    sim::{disk::SimDisk, rng::Rng},
};

use crate::{
    follower::{ledger, payments},
    scale,
    world::{EACH, check_ledger, genesis, mints, pay, start, submit},
};

const NETWORK: [u8; 32] = [7; 32];
const OWNER: [u8; 32] = [3; 32];
/// Small enough that a few blocks fill a file.
const SEGMENT: u64 = 1_500;

fn open(disk: &SimDisk) -> Result<Journal, LogError> {
    Journal::open_with(Arc::new(disk.clone()), NETWORK, 1, SEGMENT).map(|(journal, _)| journal)
}

fn blocks(journal: &Journal) -> Vec<Vec<u8>> {
    journal.reader().blocks(1).map(|block| block.expect("a checked journal reads").1).collect()
}

fn batch(rng: &mut Rng) -> Vec<Vec<u8>> {
    (0..=rng.below(3))
        .map(|_| {
            let len = rng.below(400) as usize;
            rng.bytes(len)
        })
        .collect()
}

fn write(journal: &mut Journal, batch: &[Vec<u8>]) -> Result<(), LogError> {
    batch.iter().try_for_each(|block| journal.append(block).map(|_| ()))?;
    journal.sync()
}

fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::DiskFull { needed: 1.., .. })
}

#[test]
fn a_disk_that_is_full_at_any_byte_takes_no_batch_in_part_and_goes_on_with_room() {
    for seed in 0..3 * scale() {
        let batches: Vec<_> = {
            let mut rng = Rng::new(seed);
            (0..5).map(|_| batch(&mut rng)).collect()
        };
        let whole = SimDisk::new(seed);
        let mut journal = open(&whole).expect("opens");
        batches.iter().for_each(|batch| write(&mut journal, batch).expect("there is room"));
        for capacity in 0..whole.used() {
            let what = format!("seed {seed}, {capacity} bytes");
            let disk = SimDisk::new(seed);
            disk.set_capacity(Some(capacity));
            let mut journal = open(&disk).unwrap_or_else(|error| {
                assert!(is_full(&error) && capacity < 32, "{what}: {error}");
                disk.set_capacity(None);
                open(&disk).expect("there is room")
            });
            let mut written = Vec::new();
            let mut refusals = 0;
            for batch in &batches {
                if let Err(error) = write(&mut journal, batch) {
                    assert!(is_full(&error), "{what}: {error}");
                    assert_eq!(journal.next_height(), written.len() as u64 + 1, "{what}");
                    assert_eq!(blocks(&journal), written, "{what}: readers see what is there");
                    let left = open(&disk.after_power_cut()).expect("opens");
                    assert_eq!(blocks(&left), written, "{what}: what was refused is gone for good");
                    refusals += 1;
                    disk.set_capacity(None);
                    write(&mut journal, batch).unwrap_or_else(|error| panic!("{what}, with room: {error}"));
                }
                written.extend_from_slice(batch);
            }
            assert!(refusals == 1 || capacity < 32, "{what}");
            assert_eq!(blocks(&open(&disk.after_power_cut()).expect("opens")), written, "{what}");
        }
    }
}

#[test]
fn a_power_cut_on_a_full_disk_loses_nothing_acknowledged_and_brings_back_nothing_refused() {
    for seed in 0..6 * scale() {
        let capacity = 400 + Rng::new(seed).below(3_000) as usize;
        let run = |disk: &SimDisk| {
            let mut rng = Rng::new(seed);
            let (mut written, mut unknown) = (Vec::new(), Vec::new());
            let Ok(mut journal) = open(disk) else { return (written, unknown) };
            for _ in 0..12 {
                let batch = batch(&mut rng);
                match write(&mut journal, &batch) {
                    Ok(()) => written.extend(batch),
                    Err(error) if is_full(&error) => {}
                    Err(_) => {
                        unknown = batch;
                        break;
                    }
                }
            }
            (written, unknown)
        };
        let whole = SimDisk::new(seed);
        whole.set_capacity(Some(capacity));
        run(&whole);
        for at in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            disk.set_capacity(Some(capacity));
            disk.cut_power_at(at);
            let (written, unknown) = run(&disk);
            let found = blocks(&open(&disk.after_power_cut()).expect("opens"));
            let all = [written.clone(), unknown].concat();
            assert!(found.len() >= written.len() && all.starts_with(&found), "seed {seed}, operation {at}");
        }
    }
}

#[test]
fn a_batch_that_cannot_be_taken_back_is_final() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk).expect("opens");
    journal.append(&[1; 100]).and_then(|_| journal.sync()).expect("there is room");
    disk.set_capacity(Some(disk.used() + 50));
    // The append, the cut, and the sync behind the cut, which fails.
    disk.fail_sync_at(disk.operations() + 2);
    let failed = journal.append(&[2; 100]).and_then(|_| journal.sync());
    assert!(matches!(failed, Err(LogError::Disk { .. })), "{failed:?}");
    disk.set_capacity(None);
    assert!(matches!(journal.append(&[3; 100]), Err(LogError::Poisoned)));
}

#[test]
fn records_that_do_not_fit_are_refused_to_everyone_who_waited() {
    let disk = SimDisk::new(1);
    let records = Records::open_with(Arc::new(disk.clone()), OWNER, 2_000).expect("opens").0;
    records.put(Kind(1), b"first", b"kept").expect("there is room");
    disk.set_capacity(Some(disk.used() + 60));
    let refused = thread::scope(|scope| {
        let records = &records;
        let put = |n: u8| scope.spawn(move || records.put(Kind(2), &[n], &[n; 100]));
        let waiting: Vec<_> = (0..16).map(put).collect();
        waiting.into_iter().map(|put| put.join().expect("no panic")).collect::<Vec<_>>()
    });
    for outcome in &refused {
        assert!(outcome.as_ref().is_err_and(is_full), "{outcome:?}");
    }
    assert!(records.list(Kind(2), &[]).is_empty());
    let left = Records::open(Arc::new(disk.after_power_cut()), OWNER).expect("opens").0;
    assert!(left.list(Kind(2), &[]).is_empty() && left.get(Kind(1), b"first").is_some());
    disk.set_capacity(None);
    (0..16).for_each(|n: u8| records.put(Kind(2), &[n], &[n; 100]).expect("there is room"));
    let left = Records::open(Arc::new(disk.after_power_cut()), OWNER).expect("opens").0;
    assert_eq!(left.list(Kind(2), &[]).len(), 16);
}

/// What is committed stays committed where there is no room for a new log.
#[test]
fn records_are_not_written_anew_without_room_for_it() {
    let disk = SimDisk::new(1);
    let records = Records::open_with(Arc::new(disk.clone()), OWNER, 500).expect("opens").0;
    for n in 0..40u8 {
        // Room for the commit itself, and not for a second log.
        disk.set_capacity(Some(disk.used() + 250));
        records.put(Kind(1), &[n % 2], &[n; 100]).expect("there is room for that");
    }
    let grown = disk.used();
    disk.set_capacity(None);
    records.put(Kind(1), &[0], &[40; 100]).expect("there is room");
    assert!(disk.used() < grown / 2, "with room the history goes: {} of {grown}", disk.used());
    assert_eq!(records.get(Kind(1), &[0]).as_deref(), Some(&[40; 100][..]));
    assert_eq!(records.get(Kind(1), &[1]).as_deref(), Some(&[39; 100][..]));
}

fn in_memory(disk: &SimDisk) -> Ledger {
    Ledger::open_on(Arc::new(disk.clone()), Box::new(MemoryStore::default()), &genesis()).expect("opens")
}

#[test]
fn a_ledger_on_a_full_disk_refuses_and_takes_the_same_payment_later() {
    let disk = SimDisk::new(1);
    let solo = start(in_memory(&disk));
    mints().into_iter().for_each(|mint| assert!(submit(&solo, mint).is_ok()));
    for free in [0, 1, 300] {
        disk.set_capacity(Some(disk.used() + free));
        let refused = submit(&solo, pay(1, 2, 1, 7));
        let Err(SubmitError::NoRoom(why)) = &refused else { panic!("{refused:?}") };
        assert!(why.contains("the disk is full: blocks-") && why.contains("bytes more"), "{why}");
        assert!(matches!(crate::world::wait(solo.tick()), Err(SubmitError::NoRoom(_))));
        solo.view().read(|state| assert_eq!(state.tip().height, Height(4), "nothing has happened"));
    }
    disk.set_capacity(None);
    assert_eq!(submit(&solo, pay(1, 2, 1, 7)).map(|accepted| accepted.height), Ok(Height(5)));
    drop(solo);
    let ledger = in_memory(&disk.after_power_cut());
    assert_eq!(ledger.state.tip().height, Height(5));
    check_ledger(&ledger.state, &ledger.journal.reader());
}

#[test]
fn a_follower_on_a_full_disk_keeps_nothing_and_goes_on_with_room() {
    let (_, blocks) = ledger(payments(4));
    let disk = SimDisk::new(1);
    let mut copy = Follower::start(in_memory(&disk), || START).expect("starts");
    copy.take(&blocks[..3]).expect("good blocks");
    disk.set_capacity(Some(disk.used() + 900));
    let refused = copy.take(&blocks[3..]);
    assert!(matches!(refused, Err(FollowError::Log(LogError::DiskFull { .. }))), "{refused:?}");
    let height = copy.height().0 as usize;
    assert!((3..blocks.len()).contains(&height));
    disk.set_capacity(None);
    copy.take(&blocks[height..]).expect("goes on");
    copy.view().read(|state| check_ledger(state, copy.view().journal()));
}

#[test]
fn a_ledger_on_a_real_disk_that_fills_up_goes_on_when_there_is_room() {
    let Some(disk) = Mount::tmpfs(16 * 1024 * 1024) else { return };
    let dir = disk.path().join("ledger");
    let solo = start(Ledger::open(&dir, &genesis()).expect("opens"));
    mints().into_iter().for_each(|mint| assert!(submit(&solo, mint).is_ok()));
    let filler = disk.path().join("filler");
    let mut file = fs::File::create(&filler).expect("creates");
    while file.write_all(&[0; 4096]).is_ok() {}
    // What is left of the last page takes a few.
    let full = (0..EACH.0).find_map(|nonce| match submit(&solo, pay(1, 2, 1, nonce)) {
        Ok(_) => None,
        Err(SubmitError::NoRoom(why)) => Some((nonce, why)),
        Err(other) => panic!("{other}"),
    });
    let (nonce, why) = full.expect("a disk without a free page fills up");
    assert!(why.contains("the disk is full: blocks-"), "{why}");
    let before = solo.view().read(|state| state.tip().height);
    fs::remove_file(&filler).expect("removes");
    drop(file);
    assert_eq!(submit(&solo, pay(1, 2, 1, nonce)).map(|accepted| accepted.height.0), Ok(before.0 + 1));
    drop(solo);
    let ledger = Ledger::open(&dir, &genesis()).expect("opens");
    assert_eq!(ledger.state.tip().height.0, before.0 + 1);
    check_ledger(&ledger.state, &ledger.journal.reader());
}
