//! Reading blocks while the writer goes on.

use std::{
    ops::Range,
    sync::{Arc, RwLock},
};

use super::{
    index::{self, Index, Place},
    segment_name,
};
use crate::store::{
    disk::Disk,
    log_error::{LogError, Rule},
    segment::{FrameFile, LogKind},
};

/// Reads what is durable. Cheap to clone; every block's hash is checked again when it is read.
#[derive(Clone)]
pub struct JournalReader {
    disk: Arc<dyn Disk>,
    kind: LogKind,
    index: Arc<RwLock<Index>>,
}

impl JournalReader {
    pub(super) fn new(disk: Arc<dyn Disk>, kind: LogKind, index: Arc<RwLock<Index>>) -> Self {
        Self { disk, kind, index }
    }

    /// Heights of the durable blocks.
    #[must_use]
    pub fn heights(&self) -> Range<u64> {
        let (first, next) = index::read(&self.index).range();
        first..next
    }

    /// The block at `height`.
    ///
    /// # Errors
    /// [`LogError::NoFrame`] if it is not there (yet); [`LogError::Corrupt`], [`LogError::Disk`].
    pub fn read(&self, height: u64) -> Result<Vec<u8>, LogError> {
        Cursor::seek(self, height)?.next(height)
    }

    /// The blocks from `from` on, read one by one; ends where the journal ends when it gets there.
    #[must_use]
    pub fn blocks(&self, from: u64) -> Blocks {
        Blocks { reader: self.clone(), next: from, cursor: None }
    }
}

/// Blocks in order, with their heights. After an error it ends.
pub struct Blocks {
    reader: JournalReader,
    next: u64,
    cursor: Option<Cursor>,
}

impl Blocks {
    fn read_next(&mut self) -> Result<Vec<u8>, LogError> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) if cursor.offset < cursor.size => cursor,
            _ => Cursor::seek(&self.reader, self.next)?,
        };
        let block = cursor.next(self.next)?;
        self.cursor = Some(cursor);
        Ok(block)
    }
}

impl Iterator for Blocks {
    type Item = Result<(u64, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let height = self.next;
        if !self.reader.heights().contains(&height) {
            return None;
        }
        let block = self.read_next();
        self.next = if block.is_ok() { height + 1 } else { u64::MAX };
        Some(block.map(|block| (height, block)))
    }
}

/// A place in one file.
struct Cursor {
    file: FrameFile,
    offset: u64,
    size: u64,
}

impl Cursor {
    fn seek(reader: &JournalReader, height: u64) -> Result<Self, LogError> {
        let index = index::read(&reader.index);
        let Some(place) = index.place(height) else {
            return Err(LogError::NoFrame { number: height, end: index.range().1 });
        };
        drop(index);
        Self::at(reader, place, height)
    }

    /// From the mark, over the frames before the one wanted.
    fn at(reader: &JournalReader, place: Place, height: u64) -> Result<Self, LogError> {
        let name = segment_name(place.first);
        let file = FrameFile::reopen(&*reader.disk, &name, &reader.kind, height)?;
        let mut offset = place.offset;
        for number in place.number..height {
            let head =
                file.head_at(offset, place.size)?.map_err(|rule| file.corrupt(offset, number, rule))?;
            offset += head.frame_len();
        }
        Ok(Self { file, offset, size: place.size })
    }

    fn next(&mut self, height: u64) -> Result<Vec<u8>, LogError> {
        let corrupt = |rule| self.file.corrupt(self.offset, height, rule);
        let frame = self.file.frame_at(self.offset, self.size)?.map_err(corrupt)?;
        if frame.head.number != height {
            return Err(corrupt(Rule::Number));
        }
        self.offset += frame.head.frame_len();
        Ok(frame.body)
    }
}
