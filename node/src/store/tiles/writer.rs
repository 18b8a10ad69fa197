//! Brings the public log along behind the ledger, on a thread of its own.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use gridhour_contracts_sim::{block::Batch, checkpoint::Checkpoint};

use super::{TileLog, TileShelf};

/// Blocks that may wait for the log; a ledger that is further ahead waits for it.
const QUEUE_MAX: usize = 64;

/// The thread, and the way to it.
pub struct TileWriter {
    shelf: TileShelf,
    queue: Option<SyncSender<(Batch, Checkpoint)>>,
    thread: Option<JoinHandle<()>>,
}

impl TileWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(log: TileLog) -> io::Result<Self> {
        let shelf = log.shelf();
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let thread =
            thread::Builder::new().name("tile-writer".into()).spawn(move || follow(log, &waiting))?;
        Ok(Self { shelf, queue: Some(queue), thread: Some(thread) })
    }

    /// A reader of what is published.
    #[must_use]
    pub fn shelf(&self) -> TileShelf {
        self.shelf.clone()
    }

    /// Hands over a durable block. Once the log has failed this does nothing: the ledger goes on, and the next start
    /// builds the log again.
    pub fn write(&mut self, batch: Batch, checkpoint: Checkpoint) {
        if self.queue.as_ref().is_some_and(|queue| queue.send((batch, checkpoint)).is_err()) {
            self.queue = None;
        }
    }
}

impl Drop for TileWriter {
    /// Waits until everything handed over is written, so that an orderly end leaves nothing to build.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the public log's writer panicked; the next start builds the log again");
        }
    }
}

fn follow(mut log: TileLog, waiting: &Receiver<(Batch, Checkpoint)>) {
    for (batch, checkpoint) in waiting {
        if let Err(error) = log.add(batch.entries(), checkpoint) {
            tracing::error!(%error, "the public log stopped growing; the next start builds it again");
            return;
        }
    }
}
