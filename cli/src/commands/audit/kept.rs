//! Where an audit stands, kept in the data directory so that an interrupted one goes on there.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use gridhour_contracts_sim::audit::{Auditor, RESUME_BYTES_MAX, Resume, Trust};
use gridhour_node::clock;

use super::{read_at_most, reading::Reading};
use crate::{
    context::Context,
    error::{CommandError, Result},
};

/// Of the time, one part in so many at most goes into keeping.
const COST_PART: u32 = 20;

/// The file that holds it, and when it is written next.
pub(super) struct Kept {
    path: PathBuf,
    every: Duration,
    due: Instant,
    /// Whether the file is of this audit.
    ours: bool,
}

impl Kept {
    /// In the data directory, written every so often.
    pub(super) fn new(context: &Context, every: Duration) -> Self {
        let path = context.data_dir.audit_resume();
        Self { path, every, due: Instant::now() + every, ours: false }
    }

    /// The audit of this file that was interrupted, as it stood. `None` where none was, or where that audit cannot be
    /// gone on with: then a sentence says why, and `reading` is at its beginning again.
    pub(super) fn resume(
        &mut self,
        reading: &mut Reading,
        trust: Trust,
    ) -> Result<(Option<Auditor>, Option<String>)> {
        if !self.path.exists() {
            return Ok((None, None));
        }
        match self.compare(reading, trust) {
            Ok(auditor) => {
                self.ours = true;
                Ok((Some(auditor.with_clock(clock::now())), None))
            }
            Err(why) => {
                reading.rewind()?;
                let path = self.path.display();
                Ok((None, Some(format!("{path} is of no use here: {}", why.message))))
            }
        }
    }

    fn compare(&self, reading: &mut Reading, trust: Trust) -> Result<Auditor> {
        let file = read_at_most(&self.path, RESUME_BYTES_MAX)?;
        let mut resume = Resume::open(&file, trust).map_err(CommandError::refused)?;
        drop(file);
        reading.pieces(resume.bytes(), |piece| resume.push(piece))?;
        resume.finish().map_err(CommandError::refused)
    }

    /// Keeps where the audit stands, if it is time to. An audit goes on without: what it finds does not depend on it.
    pub(super) fn keep(&mut self, auditor: &mut Auditor) {
        let start = Instant::now();
        if start < self.due {
            return;
        }
        match auditor.save().map(|bytes| self.write(&bytes)) {
            Some(Ok(())) => self.ours = true,
            Some(Err(error)) => {
                tracing::warn!(%error, path = %self.path.display(), "cannot keep how far the audit got");
            }
            None => {}
        }
        let end = Instant::now();
        self.due = end + self.every.max(COST_PART * (end - start));
    }

    /// A kill leaves the old file or the new one.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.path.with_extension("part");
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)
    }

    /// The audit came to its end: nothing is left to go on with.
    pub(super) fn done(&self) -> Result {
        if !self.ours {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(CommandError::file(&self.path, &error)),
            _ => Ok(()),
        }
    }
}
