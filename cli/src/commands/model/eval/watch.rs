//! What an evaluation does beside computing: a progress bar, a dump, and an ear for Ctrl-C.

use std::{
    io,
    path::{Path, PathBuf},
};

use gridhour_node::evaluate::{Watch, Windows, npy::NpyWriter};
use indicatif::ProgressBar;

use crate::{
    error::{CommandError, Result},
    interrupt::Interrupt,
    output::Output,
};

/// Follows one evaluation.
pub struct Watcher {
    bar: ProgressBar,
    interrupt: Interrupt,
    dump: Option<Dump>,
}

struct Dump {
    path: PathBuf,
    writer: NpyWriter,
}

impl Dump {
    fn create(path: &Path, rows: usize, columns: usize) -> Result<Self> {
        let writer = NpyWriter::create(path, rows, columns).map_err(Self::blame(path))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    fn blame(path: &Path) -> impl FnOnce(io::Error) -> CommandError {
        move |error| CommandError::file(path, &error)
    }
}

impl Watcher {
    /// Follows an evaluation of `windows`, and writes the wanted rows to `dump` where that is given.
    pub fn new(out: Output, windows: &Windows<'_>, dump: Option<&Path>, vocabulary: u32) -> Result<Self> {
        let interrupt = Interrupt::watch()?;
        let create = |path| Dump::create(path, windows.rows(), vocabulary as usize);
        let dump = dump.map(create).transpose()?;
        Ok(Self { bar: out.item_bar("tokens", windows.tokens() as u64), interrupt, dump })
    }

    /// Puts the dump in its place.
    pub fn finish(self) -> Result {
        self.bar.finish_and_clear();
        match self.dump {
            Some(Dump { path, writer }) => writer.finish().map_err(Dump::blame(&path)),
            None => Ok(()),
        }
    }
}

impl Watch for Watcher {
    type Error = CommandError;

    fn row(&mut self, log_probabilities: &[f32]) -> Result {
        match &mut self.dump {
            Some(Dump { path, writer }) => writer.row(log_probabilities).map_err(Dump::blame(path)),
            None => Ok(()),
        }
    }

    fn computed(&mut self, tokens: usize) -> Result {
        self.bar.inc(tokens as u64);
        self.interrupt.check()
    }
}
