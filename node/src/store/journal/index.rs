//! Where blocks lie in the files: one mark for every [`STRIDE`] blocks, so that memory stays small beside the history.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::store::segment::End;

/// Blocks from one mark to the next.
const STRIDE: u64 = 64;

/// What is durable, and roughly where.
#[derive(Default)]
pub(super) struct Index {
    files: Vec<FileIndex>,
    end: Option<End>,
}

struct FileIndex {
    first: u64,
    frames: u64,
    /// Durable bytes.
    size: u64,
    marks: Vec<u64>,
}

/// The nearest mark at or before a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Height of the first block of the file.
    pub(super) first: u64,
    /// Durable bytes of the file.
    pub(super) size: u64,
    /// Height of the block at the mark.
    pub(super) number: u64,
    /// Where that block starts.
    pub(super) offset: u64,
}

impl Index {
    pub(super) fn begin_segment(&mut self, first: u64) {
        self.files.push(FileIndex { first, frames: 0, size: 0, marks: Vec::new() });
    }

    /// Notes the next frame of the newest file, which lies between these bytes.
    pub(super) fn add(&mut self, offset: u64, end: u64) {
        let file = self.files.last_mut().expect("a segment is begun before frames are added");
        if file.frames.is_multiple_of(STRIDE) {
            file.marks.push(offset);
        }
        file.frames += 1;
        file.size = end;
    }

    /// Everything added so far is durable.
    pub(super) fn close_batch(&mut self, end: End) {
        self.end = Some(end);
    }

    /// Where the durable log ends.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Height of the first block of the log, and of the one that would come next.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.files.first().map_or(0, |file| file.first), self.end.map_or(0, |end| end.next))
    }

    pub(super) fn place(&self, number: u64) -> Option<Place> {
        let at = self.files.partition_point(|file| file.first <= number).checked_sub(1)?;
        let file = &self.files[at];
        let into = number - file.first;
        let mark = usize::try_from(into / STRIDE).ok()?;
        let offset = *file.marks.get(mark).filter(|_| into < file.frames)?;
        Some(Place { first: file.first, size: file.size, number: number - into % STRIDE, offset })
    }
}

/// A panic elsewhere leaves the index whole: every change to it is a few assignments.
pub(super) fn read(index: &RwLock<Index>) -> RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`read`].
pub(super) fn write(index: &RwLock<Index>) -> RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}
