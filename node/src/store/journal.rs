//! The record of truth: every block ever decided, in a chain of files that only grows.
//!
//! A block is durable once [`Journal::sync`] returned; only then may anyone be told of it. Everything else that the node
//! stores about the ledger can be rebuilt from here.

mod index;
mod reader;

use std::sync::{Arc, RwLock};

use self::index::Index;
pub use self::reader::{Blocks, JournalReader};
use super::{
    disk::Disk,
    log_error::{LogError, Rule, Torn},
    segment::{End, LogKind, Segment},
};

/// Bytes of one encoded block.
pub const JOURNAL_BLOCK_BYTES_MAX: usize = gridhour_contracts_sim::limits::FRAME_BYTES_MAX;
/// Bytes after which a new file is begun.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// The writer. There is one for a directory; [`Journal::reader`] gives any number of readers.
pub struct Journal {
    disk: Arc<dyn Disk>,
    kind: LogKind,
    active: Segment,
    end: End,
    segment_bytes: u64,
    index: Arc<RwLock<Index>>,
    /// First byte of each frame of the batch that is not durable yet, and the byte behind it.
    pending: Vec<(u64, u64)>,
}

/// What tells the journal of `network` from other logs.
pub(super) fn log_kind(network: [u8; 32]) -> LogKind {
    LogKind { id: network, body_max: JOURNAL_BLOCK_BYTES_MAX }
}

/// Name of the file whose first block has this height.
pub(super) fn segment_name(first: u64) -> String {
    format!("blocks-{first:020}.log")
}

/// The files of the journal by the height of their first block, in order.
pub(super) fn segments(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let names = disk.list().map_err(LogError::disk("list", "the journal's directory"))?;
    let mut firsts: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_prefix("blocks-")?.strip_suffix(".log")?.parse().ok())
        .filter(|first| names.contains(&segment_name(*first)))
        .collect();
    firsts.sort_unstable();
    Ok(firsts)
}

impl Journal {
    /// Opens the journal of `network` on `disk`, or begins it; its first block has the height `first`.
    ///
    /// Every frame is checked. What an interrupted write left at the end was never acknowledged: it is removed, and
    /// reported.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where bytes that were durable are not what was written; [`LogError::Disk`].
    pub fn open(
        disk: Arc<dyn Disk>,
        network: [u8; 32],
        first: u64,
    ) -> Result<(Self, Option<Torn>), LogError> {
        Self::open_with(disk, network, first, SEGMENT_BYTES)
    }

    /// As [`Journal::open`], with a new file after every `segment_bytes`; small ones let tests cross many borders.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        network: [u8; 32],
        first: u64,
        segment_bytes: u64,
    ) -> Result<(Self, Option<Torn>), LogError> {
        let kind = log_kind(network);
        let mut end = End { next: first, previous: network };
        let mut index = Index::default();
        let (active, torn) = open_segments(&*disk, &kind, &mut end, &mut index)?;
        index.close_batch(end);
        let index = Arc::new(RwLock::new(index));
        Ok((Self { disk, kind, active, end, segment_bytes, index, pending: Vec::new() }, torn))
    }

    /// Height of the next block.
    #[must_use]
    pub fn next_height(&self) -> u64 {
        self.end.next
    }

    /// Adds a block to the batch that the next [`Journal::sync`] makes durable. Returns its height.
    ///
    /// # Errors
    /// [`LogError::TooLong`], and [`LogError::DiskFull`] if a new file is due: both change nothing.
    /// [`LogError::Poisoned`]; [`LogError::Disk`] poisons.
    pub fn append(&mut self, block: &[u8]) -> Result<u64, LogError> {
        if self.pending.is_empty() && self.active.size() >= self.segment_bytes {
            self.begin_segment()?;
        }
        let height = self.end.next;
        let offset = self.active.append(&mut self.end, block)?;
        self.pending.push((offset, self.active.size()));
        Ok(height)
    }

    /// Makes all blocks appended so far durable, and visible to readers.
    ///
    /// # Errors
    /// [`LogError::DiskFull`]: the whole batch is gone, and the journal is as it was before it. [`LogError::Disk`] once,
    /// and [`LogError::Poisoned`] from then on: it is unknown what became durable, and only a restart finds out.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if let Err(error) = self.active.sync() {
            self.pending.clear();
            self.end = index::read(&self.index).end().unwrap_or(self.end);
            return Err(error);
        }
        let mut index = index::write(&self.index);
        self.pending.drain(..).for_each(|(offset, end)| index.add(offset, end));
        index.close_batch(self.end);
        Ok(())
    }

    /// Begins the next file, unless the last one is empty. There is no batch under way.
    pub(super) fn begin_segment(&mut self) -> Result<(), LogError> {
        self.active.check_health()?;
        if self.active.is_empty() {
            return Ok(());
        }
        match Segment::create(&*self.disk, &segment_name(self.end.next), &self.kind) {
            Ok(segment) => self.active = segment,
            Err(error @ LogError::DiskFull { .. }) => return Err(error),
            Err(error) => {
                // A restart may find the new file: nothing may go to the old one.
                self.active.poison();
                return Err(error);
            }
        }
        index::write(&self.index).begin_segment(self.end.next);
        Ok(())
    }

    /// A reader of everything that is durable.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.disk), self.kind, Arc::clone(&self.index))
    }
}

fn open_segments(
    disk: &dyn Disk,
    kind: &LogKind,
    end: &mut End,
    index: &mut Index,
) -> Result<(Segment, Option<Torn>), LogError> {
    let firsts = segments(disk)?;
    let Some((&last, earlier)) = firsts.split_last() else {
        index.begin_segment(end.next);
        return Ok((Segment::create(disk, &segment_name(end.next), kind)?, None));
    };
    for &first in earlier {
        let name = expect_segment(first, end)?;
        index.begin_segment(first);
        Segment::check(disk, &name, kind, end, &mut |offset, frame| {
            index.add(offset, offset + frame.head.frame_len());
            Ok(())
        })?;
    }
    let name = expect_segment(last, end)?;
    index.begin_segment(last);
    Segment::open(disk, &name, kind, end, &mut |offset, frame| {
        index.add(offset, offset + frame.head.frame_len());
        Ok(())
    })
}

/// The name of the segment that starts at `first`, which must be where the log stands.
fn expect_segment(first: u64, end: &End) -> Result<String, LogError> {
    if first == end.next {
        return Ok(segment_name(first));
    }
    let rule = if first > end.next { Rule::Missing } else { Rule::Number };
    Err(LogError::Corrupt { segment: segment_name(end.next), offset: 0, number: end.next, rule })
}
