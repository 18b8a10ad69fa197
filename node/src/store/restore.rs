//! From what is stored to the state: the journal is believed, the state store is checked against it.
//!
//! Every block goes through the same `verify` that replicas and auditors use. Signatures are not checked again:
//! the journal's hashes say that these are the blocks that this node checked or made.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    block::{Block, CheckedBlock, LogReplay, Replay, Replayed, Signatures},
    finding::Finding,
    genesis::Genesis,
    state::{LoadError, Record, State},
};
use gridhour_protocol::{
    signed::PublicKey,
    wire::{self, WireError},
};
use rayon::prelude::*;

use super::{
    journal::{Blocks, JournalReader},
    log_error::LogError,
    state_store::{StateStore, StoreError},
};

/// Height of the first block; the genesis is at 0.
pub const FIRST_HEIGHT: u64 = 1;
/// Records written at once when a store is filled.
const CHUNK_RECORDS: usize = 4_096;

/// Bytes of blocks that are read while about as many before them are applied.
const READ_BYTES: usize = 512 * 1024;

/// Why a state store is not used. It is moved aside and filled again from the journal.
#[derive(Debug, thiserror::Error)]
pub enum Doubt {
    /// It cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its records are not a state.
    #[error(transparent)]
    Records(#[from] LoadError),
    /// Its last block is not the journal's.
    #[error("its last block, at height {0}, is not the journal's")]
    Fork(u64),
    /// The journal's blocks do not follow from it.
    #[error("the journal does not follow from it: {0}")]
    Tail(Finding),
}

impl Doubt {
    /// One word for the name of the directory that is kept.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Store(_) => "unreadable",
            Self::Records(_) => "records",
            Self::Fork(_) => "fork",
            Self::Tail(_) => "tail",
        }
    }
}

/// Why there is no state: the operator has to decide.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The genesis breaks its own rules.
    #[error("the genesis is unusable: {0}")]
    Genesis(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] LogError),
    /// A block of the journal cannot be decoded.
    #[error("the journal's block at height {height} cannot be read: {source}")]
    Block {
        /// Its height.
        height: u64,
        /// What is wrong with it.
        source: WireError,
    },
    /// A block of the journal breaks a rule.
    #[error("the journal breaks a rule at {0}")]
    Rule(Finding),
    /// The journal ends before the state does. A state is written after its block was durable, so durable blocks are gone.
    #[error(
        "the journal ends at height {journal} but the state is of height {state}: blocks that were acknowledged are gone; \
         fetch them from an observer with `gridhour-node repair`, or restore the journal from a copy (going on without \
         them would sign a second history)"
    )]
    Behind {
        /// The journal's last block.
        journal: u64,
        /// The state's.
        state: u64,
    },
}

/// What to do instead of going on from a state store.
#[derive(Debug)]
pub enum Trouble {
    /// Not to use the store.
    Doubt(Doubt),
    /// To stop.
    Stop(RestoreError),
}

impl<T: Into<Doubt>> From<T> for Trouble {
    fn from(doubt: T) -> Self {
        Self::Doubt(doubt.into())
    }
}

fn decode(height: u64, block: &[u8]) -> Result<Block, RestoreError> {
    wire::decode(block).map_err(|source| RestoreError::Block { height, source })
}

/// The state after the journal's blocks behind its last one.
pub(super) fn replay(
    mut state: State,
    reader: &JournalReader,
    mut each: impl FnMut(&Replayed) + Send,
) -> Result<State, RestoreError> {
    let operator = state.genesis().operator;
    if let Some(last) = reader.heights().end.checked_sub(1).filter(|last| *last > state.tip().height.0) {
        // The root that the last block names covers all that these bytes lead to; those before it need no hashing.
        let last = decode(last, &reader.read(last)?)?;
        state.trust_checkpoints_until(last.header.body.checkpoint.height);
    }
    let mut blocks = reader.blocks(state.tip().height.0 + 1);
    let (mut state, mut log) = Replay::start(state);
    let mut read = read_some(&mut blocks, &operator)?;
    let mut applied = Vec::new();
    while !read.is_empty() {
        // To hash what those before left, and to read and hash what follows, takes about as long as to apply.
        let (now, next) = rayon::join(
            || apply(&mut state, &read, &mut each),
            || enter(&mut log, &applied).map(|()| read_some(&mut blocks, &operator)),
        );
        // The first block with a fault is the one that is told.
        let next = next?;
        applied = now?;
        read = next?;
    }
    enter(&mut log, &applied)?;
    Ok(state.end(log))
}

fn apply(
    state: &mut Replay,
    blocks: &[CheckedBlock],
    each: &mut impl FnMut(&Replayed),
) -> Result<Vec<Replayed>, RestoreError> {
    let one = |block| state.apply(block).inspect(&mut *each).map_err(RestoreError::Rule);
    blocks.iter().map(one).collect()
}

fn enter(log: &mut LogReplay, applied: &[Replayed]) -> Result<(), RestoreError> {
    applied.iter().try_for_each(|block| log.enter(block)).map_err(RestoreError::Rule)
}

/// The next blocks, with what can be said of them without a state.
fn read_some(blocks: &mut Blocks, operator: &PublicKey) -> Result<Vec<CheckedBlock>, RestoreError> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    while bytes < READ_BYTES
        && let Some(block) = blocks.next()
    {
        let (height, block) = block?;
        bytes += block.len();
        read.push((height, block));
    }
    let check = |(height, bytes): (u64, Vec<u8>)| {
        let block = decode(height, &bytes)?;
        CheckedBlock::check(block, operator, Signatures::CheckedBefore).map_err(RestoreError::Rule)
    };
    read.into_par_iter().map(check).collect()
}

/// The state at the end of the journal, from what `store` holds and the blocks behind that. The store is brought up to
/// it and checkpointed. An empty store is filled.
///
/// # Errors
/// [`Trouble::Doubt`] if the store is not to be used; [`Trouble::Stop`] if the journal is damaged or ends too early.
pub fn resume(
    genesis: &Genesis,
    reader: &JournalReader,
    store: &mut dyn StateStore,
) -> Result<State, Trouble> {
    let records = store.load()?;
    if records.is_empty() {
        return fill(genesis, reader, store);
    }
    let state = State::from_records(genesis.clone(), records)?;
    check_cursor(&state, reader)?;
    let from = state.tip().height;
    let mut news = News::default();
    let state = replay(state, reader, |block| news.add(block.changes().records()));
    let state = state.map_err(|error| match error {
        RestoreError::Rule(finding) => Trouble::Doubt(Doubt::Tail(finding)),
        error => Trouble::Stop(error),
    })?;
    if state.tip().height > from {
        news.add([state.cursor().record()]);
        store.apply(news.take())?;
    }
    store.checkpoint()?;
    Ok(state)
}

fn check_cursor(state: &State, reader: &JournalReader) -> Result<(), Trouble> {
    let (height, next) = (state.tip().height.0, reader.heights().end);
    if height >= next {
        return Err(Trouble::Stop(RestoreError::Behind { journal: next - 1, state: height }));
    }
    if height < FIRST_HEIGHT {
        return Ok(());
    }
    let block = reader.read(height).map_err(|error| Trouble::Stop(error.into()))?;
    let block = decode(height, &block).map_err(Trouble::Stop)?;
    if block.hash() == state.tip().hash { Ok(()) } else { Err(Doubt::Fork(height).into()) }
}

/// The state at the end of the journal, from the genesis on; `store`, which is empty, is filled with it.
///
/// # Errors
/// As [`resume`].
pub fn fill(genesis: &Genesis, reader: &JournalReader, store: &mut dyn StateStore) -> Result<State, Trouble> {
    let state = replay_all(genesis, reader).map_err(Trouble::Stop)?;
    // The cursor comes last, so a store that was filled in part is known by having none.
    for chunk in state.records().chunks(CHUNK_RECORDS) {
        store.apply(chunk.to_vec())?;
    }
    store.checkpoint()?;
    Ok(state)
}

/// The state at the end of the journal, from nothing else.
///
/// # Errors
/// If the journal cannot be read, or a block of it breaks a rule.
pub fn replay_all(genesis: &Genesis, reader: &JournalReader) -> Result<State, RestoreError> {
    replay(State::new(genesis.clone()).map_err(RestoreError::Genesis)?, reader, |_| ())
}

/// Changes of several blocks, the newest of each key.
#[derive(Default)]
pub(super) struct News(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl News {
    pub(super) fn add(&mut self, changes: impl IntoIterator<Item = Record>) {
        self.0.extend(changes);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.0).into_iter().collect()
    }
}
