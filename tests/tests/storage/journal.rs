//! The journal: nothing acknowledged is lost, and damage is named.

use std::sync::Arc;

use gridhour_node::store::{
    journal::{JOURNAL_BLOCK_BYTES_MAX, Journal},
    log_error::{LogError, Rule},
};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::scale;

const NETWORK: [u8; 32] = [7; 32];
const FIRST: u64 = 1;
/// Small enough that a few blocks fill a file.
const SEGMENT: u64 = 3_000;

fn open(disk: &SimDisk) -> Result<Journal, LogError> {
    Journal::open_with(Arc::new(disk.clone()), NETWORK, FIRST, SEGMENT).map(|(journal, _)| journal)
}

fn blocks(journal: &Journal) -> Vec<Vec<u8>> {
    journal.reader().blocks(FIRST).map(|block| block.expect("a checked journal reads").1).collect()
}

/// What a writer did before it stopped: blocks appended, and how many of them it was told are durable.
#[derive(Default)]
struct Written {
    appended: Vec<Vec<u8>>,
    acknowledged: usize,
}

fn write(disk: &SimDisk, rng: &mut Rng, batches: u64) -> Written {
    let mut written = Written::default();
    let Ok(mut journal) = open(disk) else { return written };
    for _ in 0..batches {
        for _ in 0..=rng.below(3) {
            let len = rng.below(1_200) as usize;
            let block = rng.bytes(len);
            if journal.append(&block).is_err() {
                return written;
            }
            written.appended.push(block);
        }
        if journal.sync().is_err() {
            assert!(matches!(journal.sync(), Err(LogError::Poisoned)), "a failed sync is never tried again");
            assert!(matches!(journal.append(b"more"), Err(LogError::Poisoned)));
            return written;
        }
        written.acknowledged = written.appended.len();
    }
    written
}

fn check(written: &Written, found: &[Vec<u8>], what: &str) {
    assert!(found.len() >= written.acknowledged, "{what}: an acknowledged block is lost");
    assert_eq!(found, &written.appended[..found.len()], "{what}: a block is not what was written");
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    for seed in 0..40 * scale() {
        let whole = SimDisk::new(seed);
        write(&whole, &mut Rng::new(seed), 8);
        for at in 0..whole.operations() {
            let what = format!("seed {seed}, power cut at operation {at}");
            let disk = SimDisk::new(seed);
            disk.cut_power_at(at);
            let written = write(&disk, &mut Rng::new(seed), 8);
            let disk = disk.after_power_cut();
            let mut journal = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = blocks(&journal);
            check(&written, &found, &what);
            journal.append(b"after").and_then(|_| journal.sync()).expect("the disk works again");
            let again = open(&disk.after_power_cut()).expect("opens again");
            assert_eq!(blocks(&again)[..], [&found[..], &[b"after".to_vec()]].concat(), "{what}");
        }
    }
}

/// A kill leaves unsynced blocks for the next start to read. Once read they may be told, so they must be durable.
#[test]
fn what_is_found_after_a_kill_survives_a_power_cut() {
    for seed in 0..20 * scale() {
        let whole = SimDisk::new(seed);
        write(&whole, &mut Rng::new(seed), 6);
        for at in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            disk.cut_power_at(at);
            write(&disk, &mut Rng::new(seed), 6);
            disk.restore_power();
            let found = blocks(&open(&disk).expect("opens after a kill"));
            let left = open(&disk.after_power_cut()).expect("opens after the power cut");
            assert_eq!(blocks(&left), found, "seed {seed}, killed at operation {at}");
        }
    }
}

#[test]
fn a_failed_sync_is_fatal_and_loses_nothing_acknowledged() {
    for seed in 0..20 * scale() {
        let whole = SimDisk::new(seed);
        write(&whole, &mut Rng::new(seed), 6);
        for at in 0..whole.operations() {
            let what = format!("seed {seed}, sync fails at operation {at}");
            let disk = SimDisk::new(seed);
            disk.fail_sync_at(at);
            let written = write(&disk, &mut Rng::new(seed), 6);
            let journal = open(&disk.after_power_cut()).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&written, &blocks(&journal), &what);
        }
    }
}

/// A journal of three files: two full ones and one with a few blocks.
fn three_files() -> (SimDisk, Vec<Vec<u8>>) {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk).expect("opens");
    let written: Vec<Vec<u8>> = (0..19u8).map(|i| vec![i; 300]).collect();
    for block in &written {
        journal.append(block).and_then(|_| journal.sync()).expect("writes");
    }
    assert_eq!(disk.contents().len(), 3);
    (disk, written)
}

#[test]
fn a_bit_flipped_anywhere_is_named_or_was_the_last_frame() {
    let (disk, written) = three_files();
    let contents = disk.contents();
    let last = contents.keys().last().expect("three files").clone();
    let last_frame = contents[&last].len() - (300 + 80);
    for (name, bytes) in &contents {
        for at in 0..bytes.len() {
            let mut damaged = contents.clone();
            damaged.get_mut(name).expect("present")[at] ^= 1 << (at % 8);
            let in_last_frame = *name == last && at >= last_frame;
            match open(&SimDisk::holding(2, damaged)) {
                Ok(journal) => {
                    assert!(in_last_frame, "{name} byte {at} went unnoticed");
                    assert_eq!(blocks(&journal), written[..written.len() - 1]);
                }
                Err(LogError::Corrupt { segment, offset, .. }) => {
                    assert!(!in_last_frame, "{name} byte {at} could be an unfinished write");
                    let at = at as u64;
                    assert!(
                        segment == *name && offset <= at && (offset == 0 || at < offset + 380),
                        "{segment} {offset}"
                    );
                }
                Err(other) => panic!("{name} byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn a_tail_cut_at_any_byte_is_removed_and_reported() {
    let (disk, written) = three_files();
    let contents = disk.contents();
    let last = contents.keys().last().expect("three files").clone();
    for len in 0..contents[&last].len() {
        let mut cut = contents.clone();
        cut.get_mut(&last).expect("present").truncate(len);
        let disk = SimDisk::holding(3, cut);
        let (journal, torn) =
            Journal::open_with(Arc::new(disk.clone()), NETWORK, FIRST, SEGMENT).expect("a torn tail opens");
        let left = blocks(&journal);
        assert_eq!(left, written[..left.len()]);
        let whole = len.saturating_sub(32) / 380 * 380 + 32;
        match torn {
            None => assert!(len == 0 || len == whole, "{len} bytes"),
            Some(torn) if len < 32 => {
                assert_eq!((torn.offset, torn.removed, torn.rule), (0, len as u64, Rule::Header))
            }
            Some(torn) => assert_eq!(
                (torn.offset, torn.removed, torn.rule),
                (whole as u64, (len - whole) as u64, Rule::Unfinished)
            ),
        }
        assert!(open(&disk).is_ok());
    }
}

#[test]
fn a_missing_file_is_named() {
    let (disk, _) = three_files();
    let names: Vec<String> = disk.contents().into_keys().collect();
    for gone in &names[..2] {
        let left = disk.contents().into_iter().filter(|(name, _)| name != gone);
        match open(&SimDisk::holding(4, left)) {
            Err(LogError::Corrupt { segment, rule: Rule::Missing, .. }) => assert_eq!(segment, *gone),
            Err(other) => panic!("{gone}: {other}"),
            Ok(_) => panic!("{gone} was not missed"),
        }
    }
}

#[test]
fn files_of_two_journals_do_not_mix() {
    let (disk, _) = three_files();
    assert!(matches!(
        Journal::open_with(Arc::new(disk.clone()), [8; 32], FIRST, SEGMENT).map(|_| ()),
        Err(LogError::Corrupt { offset: 0, rule: Rule::Header, .. })
    ));
    let other = SimDisk::new(9);
    let mut journal = open(&other).expect("opens");
    for _ in 0..19 {
        journal.append(&[1; 300]).and_then(|_| journal.sync()).expect("writes");
    }
    let mut mixed = disk.contents();
    let (name, bytes) = other.contents().pop_last().expect("three files");
    mixed.insert(name.clone(), bytes);
    match open(&SimDisk::holding(5, mixed)).map(|_| ()) {
        Err(LogError::Corrupt { segment, rule: Rule::Previous, .. }) => assert_eq!(segment, name),
        other => panic!("{other:?}"),
    }
}

/// A peer chooses what is in a block; that must not make an unfinished write look like damage.
#[test]
fn frames_inside_a_block_do_not_pass_for_frames() {
    let (disk, _) = three_files();
    let (_, real) = disk.contents().pop_last().expect("three files");
    let fresh = SimDisk::new(6);
    let open_wide =
        |disk: &SimDisk| Journal::open(Arc::new(disk.clone()), NETWORK, FIRST).map(|(journal, _)| journal);
    let mut journal = open_wide(&fresh).expect("opens");
    journal.append(&[0; 10]).and_then(|_| journal.sync()).expect("writes");
    let frames: Vec<u8> = (0..8u64).flat_map(|number| forged(&real, number)).collect();
    journal.append(&frames).and_then(|_| journal.sync()).expect("writes");
    let (name, mut bytes) = fresh.contents().pop_last().expect("one file");
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    let journal =
        open_wide(&SimDisk::holding(7, [(name, bytes)])).expect("the last frame is unfinished, no more");
    assert_eq!(journal.next_height(), FIRST + 1);
}

fn forged(real: &[u8], number: u64) -> Vec<u8> {
    let mut frame = real[32..32 + 380].to_vec();
    frame[4..12].copy_from_slice(&number.to_le_bytes());
    let hash = blake3::hash(&frame[..348]);
    frame[348..].copy_from_slice(hash.as_bytes());
    frame
}

#[test]
fn blocks_are_read_by_height_and_while_the_writer_goes_on() {
    let disk = SimDisk::new(8);
    let mut journal = open(&disk).expect("opens");
    let reader = journal.reader();
    let mut stream = reader.blocks(FIRST);
    assert!(stream.next().is_none());
    for height in FIRST..400 {
        journal.append(&height.to_le_bytes()).expect("appends");
        assert!(matches!(reader.read(height), Err(LogError::NoFrame { .. })), "not durable yet");
        journal.sync().expect("syncs");
        let (at, block) = stream.next().expect("durable").expect("reads");
        assert_eq!((at, block), (height, height.to_le_bytes().to_vec()));
    }
    let reopened = open(&disk).expect("opens").reader();
    assert_eq!(reopened.heights(), FIRST..400);
    for height in (FIRST..400).rev() {
        assert_eq!(reopened.read(height).expect("reads"), height.to_le_bytes());
    }
    for missing in [0, 400, u64::MAX] {
        assert!(matches!(reopened.read(missing), Err(LogError::NoFrame { .. })));
    }
}

#[test]
fn a_block_over_the_limit_changes_nothing() {
    let disk = SimDisk::new(9);
    let mut journal = open(&disk).expect("opens");
    let long = vec![0; JOURNAL_BLOCK_BYTES_MAX + 1];
    assert!(matches!(journal.append(&long), Err(LogError::TooLong { .. })));
    journal.append(&long[1..]).and_then(|_| journal.sync()).expect("the limit itself fits");
    assert_eq!(open(&disk).expect("opens").next_height(), FIRST + 1);
}
