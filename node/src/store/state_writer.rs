//! Brings the state store along behind the ledger, on a thread of its own.
//!
//! What changes between two checkpoints is written as one batch with the newest cursor: before a checkpoint nothing in
//! the store is durable anyway, and most balances change more than once. Whatever the store has not seen is replayed
//! from the journal at the next start.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gridhour_contracts_sim::state::{Cursor, Record};

use super::{
    restore::News,
    state_store::{StateStore, StoreError},
};

/// Blocks that may wait for the store; a ledger that is further ahead waits for it.
const QUEUE_MAX: usize = 64;
/// Records that are gathered into one batch, one block more or less: some ten megabytes.
const BATCH_RECORDS_MAX: usize = 65_536;
/// Time between two checkpoints.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// What a block changed, and where the ledger stood after it.
type Changed = (Vec<Record>, Cursor);

/// The thread, and the way to it.
pub struct StateWriter {
    queue: Option<SyncSender<Changed>>,
    thread: Option<JoinHandle<()>>,
}

impl StateWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(store: Box<dyn StateStore>) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let thread =
            thread::Builder::new().name("state-writer".into()).spawn(move || run(store, &waiting))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Hands over one block's changes, and its cursor. Once the store has failed this does nothing: the journal goes on,
    /// and the next start brings the store up.
    pub fn write(&mut self, changes: Vec<Record>, cursor: Cursor) {
        if self.queue.as_ref().is_some_and(|queue| queue.send((changes, cursor)).is_err()) {
            self.queue = None;
        }
    }
}

impl Drop for StateWriter {
    /// Waits until everything handed over is in the store and durable.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the state store panicked; it is checked at the next start");
        }
    }
}

fn run(mut store: Box<dyn StateStore>, waiting: &Receiver<Changed>) {
    if let Err(error) = follow(&mut *store, waiting) {
        tracing::error!(%error, "the state store stopped; the next start brings it up from the journal");
    }
}

fn follow(store: &mut dyn StateStore, waiting: &Receiver<Changed>) -> Result<(), StoreError> {
    let mut checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
    let mut gathered = Gathered::default();
    loop {
        match waiting.recv_timeout(checkpoint_at.saturating_duration_since(Instant::now())) {
            Ok(changed) => {
                gathered.add(changed);
                if gathered.news.len() >= BATCH_RECORDS_MAX {
                    store.apply(gathered.take())?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                store.apply(gathered.take())?;
                return store.checkpoint();
            }
        }
        if Instant::now() >= checkpoint_at {
            store.apply(gathered.take())?;
            store.checkpoint()?;
            checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
        }
    }
}

/// What blocks changed, and where the last of them left the ledger.
#[derive(Default)]
struct Gathered {
    news: News,
    cursor: Option<Cursor>,
}

impl Gathered {
    fn add(&mut self, (changes, cursor): Changed) {
        self.news.add(changes);
        self.cursor = Some(cursor);
    }

    /// All of it as one batch. The cursor becomes a record only here: it waits for a checkpoint's hashes, as no block may.
    fn take(&mut self) -> Vec<Record> {
        self.news.add(self.cursor.take().map(|cursor| cursor.record()));
        self.news.take()
    }
}
