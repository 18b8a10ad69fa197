//! What is left of a damaged log: every whole frame, wherever it lies.

use std::vec;

use super::{
    disk::Disk,
    journal::{segment_name, segments},
    log_error::LogError,
    segment::{Frame, FrameFile, HEADER_BYTES, LogKind, frames_within},
};

/// Blocks of a damaged journal in rising order, each with its height. Their frames' hashes are right; whether the blocks
/// follow each other is for the reader to check. Holds one frame at a time.
pub(super) struct Salvage<'d> {
    disk: &'d dyn Disk,
    kind: LogKind,
    files: vec::IntoIter<u64>,
    current: Option<Remains>,
    /// No block before this height is wanted any more.
    next: u64,
}

/// A file, from `offset` on.
struct Remains {
    file: FrameFile,
    size: u64,
    offset: u64,
}

impl<'d> Salvage<'d> {
    /// What is left in the files whose first block is at `first` or above.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub(super) fn start(disk: &'d dyn Disk, kind: LogKind, first: u64) -> Result<Self, LogError> {
        let mut files = segments(disk)?;
        files.retain(|file| *file >= first);
        Ok(Self { disk, kind, files: files.into_iter(), current: None, next: first })
    }

    fn next_block(&mut self) -> Result<Option<(u64, Vec<u8>)>, LogError> {
        loop {
            if let Some(remains) = &mut self.current {
                if let Some(frame) = remains.next(self.next)? {
                    self.next = frame.head.number + 1;
                    return Ok(Some((frame.head.number, frame.body)));
                }
                self.current = None;
            }
            let Some(first) = self.files.next() else { return Ok(None) };
            self.next = self.next.max(first);
            self.current = Remains::open(self.disk, &segment_name(first), &self.kind)?;
        }
    }
}

impl Iterator for Salvage<'_> {
    type Item = Result<(u64, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_block().transpose()
    }
}

impl Remains {
    fn open(disk: &dyn Disk, name: &str, kind: &LogKind) -> Result<Option<Self>, LogError> {
        let Some(file) = FrameFile::open_as_found(disk, name, kind)? else { return Ok(None) };
        let size = file.size()?;
        Ok(Some(Self { file, size, offset: HEADER_BYTES }))
    }

    /// The next whole frame with the number `next` or a later one.
    fn next(&mut self, next: u64) -> Result<Option<Frame>, LogError> {
        let from = self.offset;
        let found = match self.file.frame_at(from, self.size)? {
            Ok(frame) if frame.head.number == next => Some((from, frame)),
            // Numbers rise by one a frame, so only so many can be lost in so many bytes.
            _ => self.file.find(from, self.size, &|head, offset| {
                head.number >= next && head.number - next <= frames_within(offset - from)
            })?,
        };
        Ok(found.map(|(offset, frame)| {
            self.offset = offset + frame.head.frame_len();
            frame
        }))
    }
}
