//! Logs as they lie on a disk: damaged bytes, and damaged bytes whose hashes are right.

use std::sync::Arc;

use gridhour_node::store::{
    journal::Journal,
    log_error::LogError,
    records::{Change, Kind, Records},
};
use testkit::{fuzz::Target, sim::disk::SimDisk};

use crate::run;

const OWNER: [u8; 32] = [7; 32];
const MAGIC: &[u8; 8] = b"GHLOG\0\0\x01";
/// Bytes before the first frame.
const HEADER: usize = 32;
/// Bytes of a frame before its body.
const HEAD: usize = 48;
/// Bytes of a frame behind its body.
const HASH: usize = 32;
/// Little enough that every log of a few commits is written anew at the next one.
const SLACK: u64 = 1;

/// The file with all hashes, and the chain between its frames, as if they had been written so.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER) else { return bytes.to_vec() };
    let key = blake3::Hasher::new().update(MAGIC).update(&header[8..24]).update(&OWNER).finalize();
    let check = blake3::hash(key.as_bytes());
    let mut out = [MAGIC, &header[8..24], &check.as_bytes()[..8]].concat();
    let mut previous = OWNER;
    while let Some((head, behind)) = rest.split_at_checked(HEAD) {
        let len = u32::from_le_bytes(core::array::from_fn(|i| head[i])) as usize;
        let Some((body, behind)) = behind.split_at_checked(len) else { break };
        let Some((_, behind)) = behind.split_at_checked(HASH) else { break };
        let frame = [&head[..16], &previous, body].concat();
        previous = *blake3::keyed_hash(key.as_bytes(), &frame).as_bytes();
        out.extend(frame);
        out.extend(previous);
        rest = behind;
    }
    out.extend(rest);
    out
}

fn journal(disk: &SimDisk) -> Result<(Vec<Vec<u8>>, bool), LogError> {
    let (journal, torn) = Journal::open(Arc::new(disk.clone()), OWNER, 1)?;
    let blocks = journal.reader().blocks(1).map(|block| block.map(|(_, block)| block));
    Ok((blocks.collect::<Result<_, _>>()?, torn.is_some()))
}

fn journal_file() -> (String, Vec<u8>, Vec<Vec<u8>>) {
    let disk = SimDisk::new(1);
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), OWNER, 1).expect("an empty disk opens");
    let blocks: Vec<Vec<u8>> = (1..9u8).map(|n| vec![n; 20 * usize::from(n)]).collect();
    for pair in blocks.chunks(2) {
        for block in pair {
            journal.append(block).expect("it fits");
        }
        journal.sync().expect("the disk works");
    }
    let (name, bytes) = disk.contents().pop_last().expect("one file");
    (name, bytes, blocks)
}

/// What opens holds nothing but the first blocks that were written, and opens again without a complaint.
#[test]
fn journals() {
    let (name, bytes, written) = journal_file();
    run(&Target::new("journal", vec![bytes]), |bytes| {
        let disk = SimDisk::holding(2, [(name.clone(), bytes.to_vec())]);
        let (blocks, _) = journal(&disk).map_err(|error| error.to_string())?;
        assert!(written.starts_with(&blocks), "{} blocks that were not written", blocks.len());
        assert_eq!(journal(&disk).expect("it opens again"), (blocks, false));
        Ok(())
    });
}

#[test]
fn journals_with_right_hashes() {
    let (name, bytes, _) = journal_file();
    run(&Target::new("journal-frames", vec![bytes]), |bytes| {
        let disk = SimDisk::holding(2, [(name.clone(), resealed(bytes))]);
        let (blocks, _) = journal(&disk).map_err(|error| error.to_string())?;
        assert_eq!(journal(&disk).expect("it opens again"), (blocks, false));
        Ok(())
    });
}

fn records(disk: &SimDisk) -> Result<Records, LogError> {
    Records::open_with(Arc::new(disk.clone()), OWNER, SLACK).map(|(records, _)| records)
}

type Contents = Vec<(u8, Vec<u8>, Vec<u8>)>;

fn contents(records: &Records) -> Contents {
    let of = |kind: u8| {
        let list = records.list(Kind(kind), &[]);
        list.into_iter().map(move |(key, value)| (kind, key, value.to_vec()))
    };
    (0..=u8::MAX).flat_map(of).collect()
}

fn records_file() -> (String, Vec<u8>) {
    let disk = SimDisk::new(1);
    let (records, _) = Records::open(Arc::new(disk.clone()), OWNER).expect("an empty disk opens");
    for n in 0..4u8 {
        let put = Change::Put { kind: Kind(n), key: &[n; 5], value: &[n; 60] };
        let delete = Change::Delete { kind: Kind(n / 2), key: &[n / 2; 5] };
        records.commit(&[put, delete]).expect("the disk works");
    }
    disk.contents().pop_last().expect("one file")
}

/// What opens goes on: a record can be added, the log is written anew, and nothing else has changed.
fn check_records(name: &str, bytes: Vec<u8>) -> Result<(), String> {
    let disk = SimDisk::holding(2, [(name.to_owned(), bytes)]);
    let opened = records(&disk).map_err(|error| error.to_string())?;
    let mut before = contents(&opened);
    opened.delete(Kind(255), b"one more").expect("the disk works");
    opened.put(Kind(255), b"one more", b"value").expect("there is room");
    before.retain(|(kind, key, _)| (*kind, key.as_slice()) != (255, b"one more"));
    let mut after = contents(&records(&disk).expect("it opens again"));
    after.retain(|(kind, key, _)| (*kind, key.as_slice()) != (255, b"one more"));
    assert_eq!(after, before);
    Ok(())
}

#[test]
fn record_logs() {
    let (name, bytes) = records_file();
    run(&Target::new("records", vec![bytes]), |bytes| check_records(&name, bytes.to_vec()));
}

#[test]
fn record_logs_with_right_hashes() {
    let (name, bytes) = records_file();
    run(&Target::new("records-frames", vec![bytes]), |bytes| check_records(&name, resealed(bytes)));
}
