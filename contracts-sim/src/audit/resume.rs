//! Where an audit stands, as a file: an audit that is interrupted goes on there.
//!
//! ```text
//!  magic, 8 bytes │ head length u32 │ head, wire │ records of the state │ BLAKE3 of all that stands before
//!  record = key length u16 │ key │ value length u32 │ value; lengths little-endian, keys rising
//! ```
//! Whoever goes on believes that this program wrote the file: nothing in it is signed, so it belongs where only the
//! auditor writes. The ledger's file need not be believed again: it must begin with the bytes that were audited, by their
//! BLAKE3. And what follows is checked as ever: the next block names the hash of the last one, its log continues the
//! log, and the next checkpoint that is begun behind it, whose root the operator signed, covers every record of the
//! state. One that was begun before and is still pending does not: it is of an earlier state, and its root stands in the
//! file.

use gridhour_protocol::{
    merkle::Hash,
    wire::{self, Wire},
};
use serde::{Deserialize, Serialize};

use super::{Auditor, Resumed, Trust};
use crate::{
    export::{Decoder, Passed},
    genesis::Genesis,
    state::{LoadError, Record, State},
};

const MAGIC: &[u8; 8] = b"GRIDRES2";
const HASH_BYTES: usize = 32;
/// Bytes of the largest file. The state of a larger one is not kept: its audit begins anew if it is interrupted.
pub const RESUME_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Why an audit does not go on from a file. It begins anew then, so nobody is deceived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// Not the bytes that were written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Written by another build, which may have checked less.
    #[error("another build of this program wrote it")]
    Program,
    /// The audit rested on something else.
    #[error("that audit rested on another network or checkpoint")]
    Trust,
    /// Its records are no state.
    #[error("its state is none: {0}")]
    State(#[from] LoadError),
    /// The ledger's file is another one than was audited, or was changed since.
    #[error("the ledger does not begin with the bytes that were audited")]
    OtherFile,
}

/// What stands before the records.
#[derive(Serialize, Deserialize)]
struct Head {
    /// What checked the blocks.
    program: Hash,
    /// [`Trust::digest`].
    trust: Hash,
    /// Bytes of the ledger's file that were audited.
    bytes: u64,
    /// Their hash.
    prefix: Hash,
    genesis: Genesis,
}

impl Wire for Head {
    const BYTES_MAX: usize = Genesis::BYTES_MAX + 256;

    fn check_bounds(&self) -> Result<(), String> {
        self.genesis.check_bounds()
    }
}

impl Auditor {
    /// Where the audit stands, for [`Resume::open`]: every block so far is replayed first. `None` where there is nothing
    /// to go on with: before the first block and after the last, after a finding, while something is looked for (it may
    /// stand before), and where the state is too large for a file. `program` tells this build of the program from every
    /// other, such as by a hash of its executable.
    #[must_use]
    pub fn save(&mut self, program: Hash) -> Option<Vec<u8>> {
        if !self.is_over() {
            self.keep(Self::replay_pending);
        }
        let looks = self.seeker.is_some() || self.collected.is_some();
        let state = self.replay.as_ref().filter(|_| !self.is_over() && !self.ended && !looks)?;
        let passed = self.decoder.passed();
        let head = Head {
            program,
            trust: self.trust.digest(),
            bytes: passed.bytes(),
            prefix: passed.hash(),
            genesis: state.genesis().clone(),
        };
        encode(&head, state.records())
    }
}

fn encode(head: &Head, mut records: Vec<Record>) -> Option<Vec<u8>> {
    let head = wire::encode(head);
    let of_record = |(key, value): &Record| 6 + key.len() + value.as_ref().map_or(0, Vec::len);
    let size = MAGIC.len() + 4 + head.len() + records.iter().map(of_record).sum::<usize>() + HASH_BYTES;
    if size > RESUME_BYTES_MAX {
        return None;
    }
    records.sort_unstable();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(head.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&head);
    for (key, value) in records {
        let value = value.unwrap_or_default();
        bytes.extend_from_slice(&u16::try_from(key.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&value);
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    Some(bytes)
}

/// An audit that goes on as soon as the beginning of the ledger's file was compared: push the first [`Resume::bytes`]
/// bytes of it, then [`Resume::finish`].
#[derive(Debug)]
pub struct Resume {
    trust: Trust,
    bytes: u64,
    prefix: Hash,
    state: State,
    passed: Passed,
}

impl Resume {
    /// What [`Auditor::save`] wrote, for an audit that rests on `trust`, by the same `program`.
    ///
    /// # Errors
    /// All of [`ResumeError`] but [`ResumeError::OtherFile`].
    pub fn open(file: &[u8], trust: Trust, program: Hash) -> Result<Self, ResumeError> {
        let (head, records) = decode(file)?;
        if head.program != program {
            return Err(ResumeError::Program);
        }
        if head.trust != trust.digest() || trust.network().is_some_and(|network| network != head.genesis.id())
        {
            return Err(ResumeError::Trust);
        }
        let state = State::from_records(head.genesis, records)?;
        Ok(Self { trust, bytes: head.bytes, prefix: head.prefix, state, passed: Passed::default() })
    }

    /// Bytes at the beginning of the ledger's file that were audited.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the audit stood.
    #[must_use]
    pub fn at(&self) -> Resumed {
        Resumed::at(&self.state)
    }

    /// Takes the next of those bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.passed.add(bytes);
    }

    /// The audit as it stood, which takes the bytes that follow.
    ///
    /// # Errors
    /// [`ResumeError::OtherFile`].
    pub fn finish(self) -> Result<Auditor, ResumeError> {
        if (self.passed.bytes(), self.passed.hash()) != (self.bytes, self.prefix) {
            return Err(ResumeError::OtherFile);
        }
        Ok(Auditor {
            resumed: Some(self.at()),
            decoder: Decoder::behind(self.passed),
            replay: Some(self.state),
            ..Auditor::new(self.trust)
        })
    }
}

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Head and records of a file whose bytes are those that were written.
fn decode(file: &[u8]) -> Result<(Head, Pairs<'_>), ResumeError> {
    let damaged = ResumeError::Damaged;
    let covered = file.split_last_chunk::<HASH_BYTES>().filter(|_| file.len() <= RESUME_BYTES_MAX);
    let (covered, hash) = covered.ok_or(damaged("it is too short or too long"))?;
    let rest = covered.strip_prefix(MAGIC).ok_or(damaged("it does not begin as such a file"))?;
    if blake3::hash(covered).as_bytes() != hash {
        return Err(damaged("its bytes do not have the hash at its end"));
    }
    let (head, mut rest) = take_u32(rest).ok_or(damaged("its head is cut"))?;
    let head = wire::decode(head).map_err(|_| damaged("its head cannot be read"))?;
    let mut records = Pairs::new();
    while !rest.is_empty() {
        let (record, behind) = take_record(rest).ok_or(damaged("a record is cut"))?;
        if records.last().is_some_and(|(before, _)| *before >= record.0) {
            return Err(damaged("its records are out of order"));
        }
        records.push(record);
        rest = behind;
    }
    Ok((head, records))
}

/// A key, its value, and the bytes behind them.
type Taken<'a> = ((&'a [u8], &'a [u8]), &'a [u8]);

fn take_record(bytes: &[u8]) -> Option<Taken<'_>> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
    let (value, rest) = take_u32(rest)?;
    Some(((key, value), rest))
}

/// As many bytes as the first four say, and the rest.
fn take_u32(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}
