//! Ctrl-C during long work that has something to tidy up.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::error::{CommandError, Kind, Result};

/// Whether the user pressed Ctrl-C.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first Ctrl-C is only noted, for [`Interrupt::check`]; a second one ends the program at
    /// once.
    ///
    /// # Errors
    /// If the system lets nobody listen.
    pub fn watch() -> Result<Self> {
        let internal = |error| CommandError::internal(format!("cannot listen for Ctrl-C: {error}"));
        let runtime = Builder::new_current_thread().enable_io().build().map_err(internal)?;
        let presses = runtime.block_on(async { signal(SignalKind::interrupt()) }).map_err(internal)?;
        let noted = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&noted);
        thread::spawn(move || listen(&runtime, presses, &note));
        Ok(Self(noted))
    }

    /// # Errors
    /// If Ctrl-C was pressed.
    pub fn check(&self) -> Result {
        if self.0.load(Ordering::Relaxed) { Err(CommandError::interrupted()) } else { Ok(()) }
    }
}

fn listen(runtime: &Runtime, mut presses: Signal, noted: &AtomicBool) {
    runtime.block_on(presses.recv());
    noted.store(true, Ordering::Relaxed);
    runtime.block_on(presses.recv());
    process::exit(Kind::Interrupted.exit_code().into());
}
