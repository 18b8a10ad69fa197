//! One file of a log: a header, then frames.
//!
//! ```text
//! magic 8 | salt 16 | check 8 | frame | frame | ...
//! ```
//! The salt keys the hashes of this file's frames and the check binds it to one log. A file is opened by walking all of
//! its frames; what happens at the first bad one is decided by [`Segment::open`].

use std::io;

use super::{
    disk::{BlockFile, Disk},
    frame::{self, FRAME_BYTES_MIN, HASH_BYTES, HEAD_BYTES, Head, SegmentKey},
    log_error::{LogError, Rule, Torn, is_full},
};

const MAGIC: [u8; 8] = *b"GHLOG\0\0\x01";
/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = 32;
/// Bytes read at once when looking for a frame behind damage.
const WINDOW_BYTES: u64 = 1 << 20;

/// What tells one log from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogKind {
    /// The log's identity: frames of another log are refused.
    pub(super) id: [u8; 32],
    /// Bytes of the longest body.
    pub(super) body_max: usize,
}

/// Where a log ends: what the next frame must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Number of the next frame.
    pub(super) next: u64,
    /// Hash of the last frame.
    pub(super) previous: [u8; 32],
}

/// A whole frame, as read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) hash: [u8; 32],
}

/// Called with the offset of every good frame, in order.
pub(super) type Visit<'a> = dyn FnMut(u64, &Frame) -> Result<(), Rule> + 'a;

/// The frames of one file, for reading.
pub(super) struct FrameFile {
    name: String,
    file: Box<dyn BlockFile>,
    key: SegmentKey,
    body_max: usize,
}

/// A file of a log that may grow.
pub(super) struct Segment {
    frames: FrameFile,
    /// Bytes in the file; what is pending comes behind them.
    size: u64,
    pending: Vec<u8>,
    poisoned: bool,
}

fn segment_key(kind: &LogKind, salt: &[u8]) -> SegmentKey {
    *blake3::Hasher::new().update(&MAGIC).update(salt).update(&kind.id).finalize().as_bytes()
}

fn header(kind: &LogKind, salt: [u8; 16]) -> ([u8; HEADER_BYTES as usize], SegmentKey) {
    let key = segment_key(kind, &salt);
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..24].copy_from_slice(&salt);
    bytes[24..].copy_from_slice(&blake3::hash(&key).as_bytes()[..8]);
    (bytes, key)
}

impl FrameFile {
    /// Opens `name` if its header is that of `kind`; otherwise says so with `None`.
    fn open(disk: &dyn Disk, name: &str, kind: &LogKind) -> Result<Option<Self>, LogError> {
        let file = disk.open(name).map_err(LogError::disk("open", name))?;
        if file.size().map_err(LogError::disk("measure", name))? < HEADER_BYTES {
            return Ok(None);
        }
        let mut found = [0; HEADER_BYTES as usize];
        file.read_at(0, &mut found).map_err(LogError::disk("read", name))?;
        let (expected, key) = header(kind, core::array::from_fn(|i| found[8 + i]));
        let frames = Self { name: name.to_owned(), file, key, body_max: kind.body_max };
        Ok((found == expected).then_some(frames))
    }

    /// Opens `name` with the salt that it has, right or wrong: no frame passes with a wrong one. `None` for a file that is
    /// too short to have one.
    pub(super) fn open_as_found(
        disk: &dyn Disk,
        name: &str,
        kind: &LogKind,
    ) -> Result<Option<Self>, LogError> {
        let file = disk.open(name).map_err(LogError::disk("open", name))?;
        if file.size().map_err(LogError::disk("measure", name))? < HEADER_BYTES {
            return Ok(None);
        }
        let mut found = [0; HEADER_BYTES as usize];
        file.read_at(0, &mut found).map_err(LogError::disk("read", name))?;
        let key = segment_key(kind, &found[8..24]);
        Ok(Some(Self { name: name.to_owned(), file, key, body_max: kind.body_max }))
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> Result<u64, LogError> {
        self.file.size().map_err(LogError::disk("measure", &self.name))
    }

    /// As [`FrameFile::open`], for a file whose header was already checked once.
    pub(super) fn reopen(disk: &dyn Disk, name: &str, kind: &LogKind, next: u64) -> Result<Self, LogError> {
        Self::open(disk, name, kind)?.ok_or_else(|| LogError::Corrupt {
            segment: name.to_owned(),
            offset: 0,
            number: next,
            rule: Rule::Header,
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), LogError> {
        self.file.read_at(offset, buffer).map_err(LogError::disk("read", &self.name))
    }

    pub(super) fn corrupt(&self, offset: u64, number: u64, rule: Rule) -> LogError {
        LogError::Corrupt { segment: self.name.clone(), offset, number, rule }
    }

    /// The head at `offset` of a file of `size` bytes, its length checked.
    pub(super) fn head_at(&self, offset: u64, size: u64) -> Result<Result<Head, Rule>, LogError> {
        if size.saturating_sub(offset) < FRAME_BYTES_MIN as u64 {
            return Ok(Err(Rule::Unfinished));
        }
        let mut bytes = [0; HEAD_BYTES];
        self.read_at(offset, &mut bytes)?;
        Ok(self.fits(Head::from_bytes(&bytes), offset, size))
    }

    fn fits(&self, head: Head, offset: u64, size: u64) -> Result<Head, Rule> {
        if head.body_len as usize > self.body_max {
            return Err(Rule::Length);
        }
        if head.frame_len() > size - offset { Err(Rule::Unfinished) } else { Ok(head) }
    }

    /// The frame at `offset`, its hash checked.
    pub(super) fn frame_at(&self, offset: u64, size: u64) -> Result<Result<Frame, Rule>, LogError> {
        let head = match self.head_at(offset, size)? {
            Ok(head) => head,
            Err(rule) => return Ok(Err(rule)),
        };
        let mut body = vec![0; head.body_len as usize + HASH_BYTES];
        self.read_at(offset + HEAD_BYTES as u64, &mut body)?;
        let stored = body.split_off(head.body_len as usize);
        let hash = frame::frame_hash(&self.key, &head.to_bytes(), &body);
        Ok(if hash[..] == stored[..] { Ok(Frame { head, body, hash }) } else { Err(Rule::Hash) })
    }

    /// The frame at `offset`, if it is the one that `end` expects.
    pub(super) fn next_at(&self, offset: u64, size: u64, end: &End) -> Result<Result<Frame, Rule>, LogError> {
        let frame = self.frame_at(offset, size)?;
        Ok(frame.and_then(|frame| match frame.head {
            head if head.number != end.next => Err(Rule::Number),
            head if head.previous != end.previous => Err(Rule::Previous),
            _ => Ok(frame),
        }))
    }

    /// Walks the frames of a file of `size` bytes. Moves `end` along and returns where it stopped, and why if that is
    /// not the end of the file.
    fn walk(&self, size: u64, end: &mut End, visit: &mut Visit<'_>) -> Result<(u64, Option<Rule>), LogError> {
        let mut offset = HEADER_BYTES;
        while offset < size {
            let frame = match self.next_at(offset, size, end)? {
                Ok(frame) => frame,
                Err(rule) => return Ok((offset, Some(rule))),
            };
            visit(offset, &frame).map_err(|rule| self.corrupt(offset, end.next, rule))?;
            *end = End { next: end.next + 1, previous: frame.hash };
            offset += frame.head.frame_len();
        }
        Ok((offset, None))
    }

    /// Whether a frame behind `bad` shows that the bytes at `bad` were durable once. The frame expected there has the
    /// number `next`.
    fn was_durable(&self, bad: u64, size: u64, next: u64) -> Result<bool, LogError> {
        let proves = |head: &Head, offset: u64| {
            head.number > next
                && head.number - next <= frames_within(offset - bad) + 1
                && offset.checked_sub(u64::from(head.into_batch)).is_some_and(|batch| batch > bad)
        };
        Ok(self.find(bad + 1, size, &proves)?.is_some())
    }

    /// The first whole frame at or behind `start` whose head and offset `may` be right. Every byte is tried, as damage to
    /// a length hides where the next frame starts.
    pub(super) fn find(
        &self,
        mut start: u64,
        size: u64,
        may: &dyn Fn(&Head, u64) -> bool,
    ) -> Result<Option<(u64, Frame)>, LogError> {
        let mut window = Vec::new();
        while start + FRAME_BYTES_MIN as u64 <= size {
            let len = (size - start).min(WINDOW_BYTES + HEAD_BYTES as u64);
            window.resize(len as usize, 0);
            self.read_at(start, &mut window)?;
            for (i, bytes) in window.windows(HEAD_BYTES).enumerate() {
                let (offset, head) =
                    (start + i as u64, Head::from_bytes(&core::array::from_fn(|i| bytes[i])));
                if may(&head, offset)
                    && self.fits(head, offset, size).is_ok()
                    && let Ok(frame) = self.frame_at(offset, size)?
                {
                    return Ok(Some((offset, frame)));
                }
            }
            start += WINDOW_BYTES;
        }
        Ok(None)
    }
}

/// Frames that fit into so many bytes, at most.
pub(super) fn frames_within(bytes: u64) -> u64 {
    bytes / FRAME_BYTES_MIN as u64
}

impl Segment {
    /// Creates the file `name`, empty but for its header, and makes it and its name durable.
    ///
    /// # Errors
    /// [`LogError::DiskFull`] if there is no room for it: what is left of it may be created again, and a start would.
    pub(super) fn create(disk: &dyn Disk, name: &str, kind: &LogKind) -> Result<Self, LogError> {
        let no_room = |action| {
            move |source: io::Error| match is_full(&source) {
                true => LogError::DiskFull { file: name.to_owned(), needed: HEADER_BYTES, source },
                false => LogError::Disk { action, file: name.to_owned(), source },
            }
        };
        let mut file = disk.open(name).map_err(no_room("create"))?;
        let salt = disk.salt().map_err(LogError::disk("draw a salt for", name))?;
        let (bytes, key) = header(kind, salt);
        file.truncate(0).and_then(|()| file.append(&bytes)).map_err(no_room("write the header of"))?;
        file.sync().and_then(|()| disk.sync_dir()).map_err(LogError::disk("sync the header of", name))?;
        let frames = FrameFile { name: name.to_owned(), file, key, body_max: kind.body_max };
        Ok(Self { frames, size: HEADER_BYTES, pending: Vec::new(), poisoned: false })
    }

    /// Checks a file to which nothing is appended any more: whatever is wrong with it is damage.
    pub(super) fn check(
        disk: &dyn Disk,
        name: &str,
        kind: &LogKind,
        end: &mut End,
        visit: &mut Visit<'_>,
    ) -> Result<(), LogError> {
        let frames = FrameFile::reopen(disk, name, kind, end.next)?;
        let size = frames.size()?;
        match frames.walk(size, end, visit)? {
            (_, None) => Ok(()),
            (offset, Some(rule)) => Err(frames.corrupt(offset, end.next, rule)),
        }
    }

    /// Opens the last file of a log to append to it. A tail that an interrupted write left is cut off and reported;
    /// a bad frame that was durable once is refused.
    pub(super) fn open(
        disk: &dyn Disk,
        name: &str,
        kind: &LogKind,
        end: &mut End,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Option<Torn>), LogError> {
        let Some(frames) = FrameFile::open(disk, name, kind)? else {
            return Self::open_headless(disk, name, kind, end.next);
        };
        let size = frames.size()?;
        let (offset, bad) = frames.walk(size, end, visit)?;
        let torn = match bad {
            None => None,
            Some(rule) if frames.was_durable(offset, size, end.next)? => {
                return Err(frames.corrupt(offset, end.next, rule));
            }
            Some(rule) => Some(Torn { segment: name.to_owned(), offset, removed: size - offset, rule }),
        };
        let mut segment = Self { frames, size: offset, pending: Vec::new(), poisoned: false };
        segment.settle(torn.is_some())?;
        Ok((segment, torn))
    }

    /// A header is durable before the first frame is written. So a bad one with nothing behind it is an unfinished
    /// creation, and any other is damage.
    fn open_headless(
        disk: &dyn Disk,
        name: &str,
        kind: &LogKind,
        next: u64,
    ) -> Result<(Self, Option<Torn>), LogError> {
        let size = disk.open(name).and_then(|file| file.size()).map_err(LogError::disk("open", name))?;
        if size > HEADER_BYTES {
            let segment = name.to_owned();
            return Err(LogError::Corrupt { segment, offset: 0, number: next, rule: Rule::Header });
        }
        let torn = Torn { segment: name.to_owned(), offset: 0, removed: size, rule: Rule::Header };
        Ok((Self::create(disk, name, kind)?, (size > 0).then_some(torn)))
    }

    /// Makes what is there durable before anything is built on it: after a kill it may be in memory only.
    fn settle(&mut self, cut: bool) -> Result<(), LogError> {
        let file = &mut self.frames.file;
        let cut = if cut { file.truncate(self.size) } else { Ok(()) };
        cut.and_then(|()| file.sync()).map_err(LogError::disk("settle", &self.frames.name))
    }

    /// Gives the file another name, durably.
    pub(super) fn rename(&mut self, disk: &dyn Disk, name: &str) -> Result<(), LogError> {
        let old = &mut self.frames.name;
        disk.rename(old, name).and_then(|()| disk.sync_dir()).map_err(LogError::disk("rename", old))?;
        name.clone_into(old);
        Ok(())
    }

    /// Name of the file.
    pub(super) fn name(&self) -> &str {
        &self.frames.name
    }

    /// Bytes of the file once what is pending is written.
    pub(super) fn size(&self) -> u64 {
        self.size + self.pending.len() as u64
    }

    /// Whether there is no frame in it yet, written or pending.
    pub(super) fn is_empty(&self) -> bool {
        self.size() == HEADER_BYTES
    }

    /// Adds a frame to the batch that the next [`Segment::sync`] writes, and moves `end` along. Returns its offset.
    pub(super) fn append(&mut self, end: &mut End, body: &[u8]) -> Result<u64, LogError> {
        self.check_health()?;
        let max = self.frames.body_max;
        let (Ok(body_len), Ok(into_batch), true) =
            (u32::try_from(body.len()), u32::try_from(self.pending.len()), body.len() <= max)
        else {
            return Err(LogError::TooLong { len: body.len(), max });
        };
        let offset = self.size();
        let head = Head { body_len, number: end.next, into_batch, previous: end.previous };
        let previous = frame::encode(&mut self.pending, &self.frames.key, head, body);
        *end = End { next: end.next + 1, previous };
        Ok(offset)
    }

    /// Writes the batch and makes it durable.
    ///
    /// After a failed sync the kernel may have dropped what it could not write and forgotten about it, so a second
    /// attempt could succeed without the bytes being there: there is none. A write that finds no room is another matter,
    /// as nothing of it was promised: it is taken back.
    ///
    /// # Errors
    /// [`LogError::DiskFull`]: the log, and its end, are those of the last batch. Any other poisons it.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.check_health()?;
        if let Err(source) = self.frames.file.append(&self.pending) {
            return Err(self.take_back(source));
        }
        let synced = self.frames.file.sync();
        self.poisoned = synced.is_err();
        synced.map_err(LogError::disk("sync", &self.frames.name))?;
        self.size += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Removes what was written of a batch, durably: it must not come back after everyone was told that it is gone.
    fn take_back(&mut self, source: io::Error) -> LogError {
        let file = self.frames.name.clone();
        let whole = is_full(&source)
            && self.frames.file.truncate(self.size).and_then(|()| self.frames.file.sync()).is_ok();
        if !whole {
            self.poisoned = true;
            return LogError::Disk { action: "write", file, source };
        }
        let needed = self.pending.len() as u64;
        self.pending.clear();
        LogError::DiskFull { file, needed, source }
    }

    /// Writes nothing from now on: another file may have taken this one's place.
    pub(super) fn poison(&mut self) {
        self.poisoned = true;
    }

    /// # Errors
    /// [`LogError::Poisoned`] once nothing more may be written.
    pub(super) fn check_health(&self) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::Poisoned) } else { Ok(()) }
    }
}
