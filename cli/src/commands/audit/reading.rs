//! An exported ledger read from its file a piece at a time, with a progress bar.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek},
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;

use crate::{
    context::Context,
    error::{CommandError, Result},
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// A file of which some is read.
pub(super) struct Reading {
    path: PathBuf,
    file: File,
    piece: Vec<u8>,
    bar: ProgressBar,
}

impl Reading {
    /// From the beginning of the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| CommandError::file(path, &error))?;
        Ok(Self { path: path.to_owned(), file, piece: vec![0; PIECE_BYTES], bar: ProgressBar::hidden() })
    }

    /// With a bar that shows how far the file is read.
    pub(super) fn with_bar(mut self, context: &Context) -> Result<Self> {
        let metadata = self.file.metadata().map_err(|error| CommandError::file(&self.path, &error))?;
        self.bar = context.out.byte_bar("audit", metadata.len());
        Ok(self)
    }

    /// To the beginning of the file again.
    pub(super) fn rewind(&mut self) -> Result {
        self.bar.set_position(0);
        self.file.rewind().map_err(|error| CommandError::file(&self.path, &error))
    }

    /// The next bytes of the file, at most `most`. Nothing at its end.
    pub(super) fn next(&mut self, most: u64) -> Result<&[u8]> {
        let most = usize::try_from(most).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        loop {
            match self.file.read(&mut self.piece[..most]) {
                Ok(count) => {
                    self.bar.inc(count as u64);
                    return Ok(&self.piece[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(CommandError::file(&self.path, &error)),
            }
        }
    }

    /// Gives the next `most` bytes to `take`, fewer if the file ends before.
    pub(super) fn pieces(&mut self, most: u64, mut take: impl FnMut(&[u8])) -> Result {
        let mut left = most;
        loop {
            let piece = self.next(left)?;
            if piece.is_empty() {
                return Ok(());
            }
            left -= piece.len() as u64;
            take(piece);
        }
    }

    /// Says how far the audit is.
    pub(super) fn show(&self, message: String) {
        self.bar.set_message(message);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
