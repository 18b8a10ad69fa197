//! Where an audit stands, kept in the data directory so that an interrupted one goes on there.

use std::{
    cell::OnceCell,
    env,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use gridhour_contracts_sim::audit::{Auditor, RESUME_BYTES_MAX, Resume, Trust};
use gridhour_node::clock;
use gridhour_protocol::merkle::Hash;

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
    /// [`program_hash`], once it was needed.
    program: OnceCell<Hash>,
}

impl Kept {
    /// In the data directory, written every so often.
    pub(super) fn new(context: &Context, every: Duration) -> Self {
        let path = context.data_dir.audit_resume();
        Self { path, every, due: Instant::now() + every, ours: false, program: OnceCell::new() }
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
        let program = self.program().map_err(CommandError::refused)?;
        let mut resume = Resume::open(&file, trust, program).map_err(CommandError::refused)?;
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
        match self.save(auditor) {
            Ok(is_written) => self.ours |= is_written,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "cannot keep how far the audit got");
            }
        }
        let end = Instant::now();
        self.due = end + self.every.max(COST_PART * (end - start));
    }

    /// Whether there was anything to keep.
    fn save(&self, auditor: &mut Auditor) -> io::Result<bool> {
        let Some(bytes) = auditor.save(self.program()?) else {
            return Ok(false);
        };
        self.write(&bytes)?;
        Ok(true)
    }

    fn program(&self) -> io::Result<Hash> {
        if let Some(program) = self.program.get() {
            return Ok(*program);
        }
        let program = program_hash()?;
        Ok(*self.program.get_or_init(|| program))
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

/// BLAKE3 of the program's own file: another build may check more, so it goes on with nothing that this one kept.
fn program_hash() -> io::Result<Hash> {
    let unread = |error: io::Error| io::Error::new(error.kind(), format!("this program's own file: {error}"));
    let file = env::current_exe().and_then(File::open).map_err(unread)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(unread)?;
    Ok(*hasher.finalize().as_bytes())
}
