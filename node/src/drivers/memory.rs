//! What a client or a provider must remember through a kill: lanes, sessions, receipts, what providers signed, a
//! calibration, and what was learned of providers, in the node's records. Every write is durable before it returns.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gridhour_contracts_sim::tx::Tx;
use gridhour_protocol::{
    calibration::receipt::Calibration,
    id::SessionId,
    market::{coordinate::Coordinate, history::ProviderHistory},
    receipt::Receipt,
    session::{lane::LaneLedger, terms::Terms},
    signed::{PublicKey, Signed},
    wire::{self, Wire},
};

use super::testimony::Testimony;
use crate::store::{
    disk::DirDisk,
    lock::LockError,
    log_error::{LogError, Torn},
    records::{Change, Kind, Records},
};

const LANE: Kind = Kind(1);
const SESSION: Kind = Kind(2);
const RECEIPT: Kind = Kind(3);
const CALIBRATION: Kind = Kind(4);
const TESTIMONY: Kind = Kind(5);
const CLOSE: Kind = Kind(6);
const HISTORY: Kind = Kind(10);
const COORDINATE: Kind = Kind(11);
/// There is one calibration, and one coordinate: the newest.
const NEWEST: &[u8] = b"newest";
/// Receipts of ended sessions that are kept; older ones are forgotten whenever a session is.
pub const RECEIPTS_MAX: usize = 4096;
/// Providers of which a client remembers how its jobs went; the one not used for longest is forgotten first.
pub const HISTORIES_MAX: usize = 512;

/// Records of a node with meaning.
#[derive(Clone)]
pub struct Memory(Arc<Records>);

/// A record could not be read or written. Ours.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The log of records.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The folder of the records.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes in the same directory.
    #[error(transparent)]
    InUse(#[from] LockError),
    /// A record that another version wrote, or that was changed.
    #[error("a stored {kind} cannot be read: {why}")]
    Unreadable {
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Memory {
    /// Opens the records under `folder`, or begins them. What an interrupted write left is removed, and reported.
    ///
    /// # Errors
    /// If the disk fails, or a record that was durable has changed.
    pub fn open(folder: &Path, owner: PublicKey) -> Result<(Self, Option<Torn>), MemoryError> {
        let disk = DirDisk::create(folder)
            .map_err(|source| MemoryError::Folder { path: folder.to_owned(), source })?;
        let (records, torn) = Records::open(Arc::new(disk), owner.0)?;
        Ok((Self::on(records), torn))
    }

    /// What is remembered in these records.
    #[must_use]
    pub fn on(records: Records) -> Self {
        Self(Arc::new(records))
    }

    /// Writes a lane, and a receipt if there is one, together.
    ///
    /// # Errors
    /// If the disk fails: then nothing may be sent that rests on them.
    pub fn keep_lane(&self, lane: &LaneLedger, receipt: Option<&Signed<Receipt>>) -> Result<(), MemoryError> {
        let (lane_key, lane_bytes) = (lane_key(lane.session, lane.lane), wire::encode(lane));
        let receipt = receipt.map(|receipt| (receipt_key(receipt), wire::encode(receipt)));
        let mut changes = vec![Change::Put { kind: LANE, key: &lane_key, value: &lane_bytes }];
        if let Some((key, bytes)) = &receipt {
            changes.push(Change::Put { kind: RECEIPT, key, value: bytes });
        }
        Ok(self.0.commit(&changes)?)
    }

    /// The lane as last written; a new one if it never was.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn lane(&self, session: SessionId, lane: u16) -> Result<LaneLedger, MemoryError> {
        match self.0.get(LANE, &lane_key(session, lane)) {
            None => Ok(LaneLedger::new(session, lane)),
            Some(bytes) => read("lane", &bytes),
        }
    }

    /// All lanes of a session that were ever written.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn lanes(&self, session: SessionId) -> Result<Vec<LaneLedger>, MemoryError> {
        self.0.list(LANE, &session.0).iter().map(|(_, bytes)| read("lane", bytes)).collect()
    }

    /// Remembers a session that is open. Writes nothing if it is remembered.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep_session(&self, terms: &Terms) -> Result<(), MemoryError> {
        let (key, bytes) = (terms.id().0, wire::encode(terms));
        if self.0.get(SESSION, &key).is_some_and(|known| known[..] == bytes[..]) {
            return Ok(());
        }
        Ok(self.0.put(SESSION, &key, &bytes)?)
    }

    /// All sessions that are remembered.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn sessions(&self) -> Result<Vec<Terms>, MemoryError> {
        self.0.list(SESSION, &[]).iter().map(|(_, bytes)| read("session", bytes)).collect()
    }

    /// Keeps the transaction that closes a session, before it is handed in.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep_close(&self, session: SessionId, close: &Signed<Tx>) -> Result<(), MemoryError> {
        Ok(self.0.put(CLOSE, &session.0, &wire::encode(close))?)
    }

    /// The transaction that closes a session, if one was kept.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn kept_close(&self, session: SessionId) -> Result<Option<Signed<Tx>>, MemoryError> {
        self.0.get(CLOSE, &session.0).map(|bytes| read("close", &bytes)).transpose()
    }

    /// Keeps what a provider signed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep_testimony(&self, testimony: &Testimony) -> Result<(), MemoryError> {
        Ok(self.0.put(TESTIMONY, &testimony_key(testimony), &wire::encode(testimony))?)
    }

    /// What providers signed, in one session or in all.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn testimonies(&self, session: Option<SessionId>) -> Result<Vec<Testimony>, MemoryError> {
        let prefix = session.map_or(Vec::new(), |session| session.0.to_vec());
        self.0.list(TESTIMONY, &prefix).iter().map(|(_, bytes)| read("testimony", bytes)).collect()
    }

    /// How many testimonies there are.
    #[must_use]
    pub fn testimony_count(&self) -> usize {
        self.0.list(TESTIMONY, &[]).len()
    }

    /// Forgets these, together.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn forget_testimonies(&self, testimonies: &[Testimony]) -> Result<(), MemoryError> {
        let keys: Vec<Vec<u8>> = testimonies.iter().map(testimony_key).collect();
        let changes: Vec<Change<'_>> =
            keys.iter().map(|key| Change::Delete { kind: TESTIMONY, key }).collect();
        Ok(self.0.commit(&changes)?)
    }

    /// Keeps a calibration of this provider in the place of the one before.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep_calibration(&self, calibration: &Signed<Calibration>) -> Result<(), MemoryError> {
        Ok(self.0.put(CALIBRATION, NEWEST, &wire::encode(calibration))?)
    }

    /// The calibration that was kept last.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn calibration(&self) -> Result<Option<Signed<Calibration>>, MemoryError> {
        self.0.get(CALIBRATION, NEWEST).map(|bytes| read("calibration", &bytes)).transpose()
    }

    /// Keeps where the node is in the network.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep_coordinate(&self, coordinate: &Coordinate) -> Result<(), MemoryError> {
        Ok(self.0.put(COORDINATE, NEWEST, &wire::encode(coordinate))?)
    }

    /// Where the node was in the network when that was last kept.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn coordinate(&self) -> Result<Option<Coordinate>, MemoryError> {
        self.0.get(COORDINATE, NEWEST).map(|bytes| read("coordinate", &bytes)).transpose()
    }

    /// What was learned of a provider; nothing if nothing was.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history(&self, provider: PublicKey) -> Result<ProviderHistory, MemoryError> {
        match self.0.get(HISTORY, &provider.0) {
            None => Ok(ProviderHistory::new(provider)),
            Some(bytes) => read("history", &bytes),
        }
    }

    /// Keeps what was learned of a provider, and forgets another where there are more than [`HISTORIES_MAX`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep_history(&self, history: &ProviderHistory) -> Result<(), MemoryError> {
        let (provider, bytes) = (history.provider(), wire::encode(history));
        let mut changes = vec![Change::Put { kind: HISTORY, key: &provider.0, value: &bytes }];
        let kept = self.0.list(HISTORY, &[]);
        let is_new = !kept.iter().any(|(key, _)| key[..] == provider.0);
        if is_new && kept.len() >= HISTORIES_MAX {
            // What cannot be read is the oldest.
            let newest = |bytes: &[u8]| wire::decode(bytes).ok().map(|it: ProviderHistory| it.newest());
            let oldest = kept.iter().min_by_key(|(_, bytes)| newest(bytes));
            changes.extend(oldest.map(|(key, _)| Change::Delete { kind: HISTORY, key }));
        }
        Ok(self.0.commit(&changes)?)
    }

    /// Forgets a session that ended, its lanes, its close, and the oldest receipts where there are more than [`RECEIPTS_MAX`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn forget_session(&self, session: SessionId) -> Result<(), MemoryError> {
        let lanes = self.0.list(LANE, &session.0);
        // In the order of their keys, which begin with the time.
        let receipts = self.0.list(RECEIPT, &[]);
        let too_many = receipts.len().saturating_sub(RECEIPTS_MAX);
        // No more at once than one commit has room for.
        let old = &receipts[..too_many.min(RECEIPTS_MAX)];
        let mut changes = [SESSION, CLOSE].map(|kind| Change::Delete { kind, key: &session.0 }).to_vec();
        changes.extend(lanes.iter().map(|(key, _)| Change::Delete { kind: LANE, key }));
        changes.extend(old.iter().map(|(key, _)| Change::Delete { kind: RECEIPT, key }));
        Ok(self.0.commit(&changes)?)
    }

    /// Receipts that are kept.
    #[must_use]
    pub fn receipts(&self) -> usize {
        self.0.list(RECEIPT, &[]).len()
    }
}

/// Older receipts come first.
fn receipt_key(receipt: &Signed<Receipt>) -> Vec<u8> {
    [&receipt.body.ended_at.0.to_be_bytes()[..], &receipt.id().0].concat()
}

fn lane_key(session: SessionId, lane: u16) -> Vec<u8> {
    [&session.0[..], &lane.to_be_bytes()].concat()
}

fn testimony_key(testimony: &Testimony) -> Vec<u8> {
    [testimony.terms.id().0, testimony.receipt.id().0].concat()
}

fn read<T: Wire>(kind: &'static str, bytes: &[u8]) -> Result<T, MemoryError> {
    wire::decode(bytes).map_err(|error| MemoryError::Unreadable { kind, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::key;
    use gridhour_protocol::{
        id::ModelId,
        market::history::{Ended, Run},
        units::Timestamp,
    };

    use super::*;

    fn used(provider: PublicKey, at: u64) -> ProviderHistory {
        let mut history = ProviderHistory::new(provider);
        history.record(ModelId([1; 32]), 40, Ended::Served(Run::new(Timestamp(at), 5, 9, 2)));
        history
    }

    fn opened(folder: &Path) -> Memory {
        Memory::open(folder, key(1).public()).expect("records").0
    }

    #[test]
    fn what_was_learned_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = key(2).public();
        let history = used(provider, 7);
        opened(folder.path()).keep_history(&history).expect("room");
        let place = Coordinate { height_us: 900, ..Coordinate::UNKNOWN };
        opened(folder.path()).keep_coordinate(&place).expect("room");
        let again = opened(folder.path());
        assert_eq!(again.coordinate().expect("readable"), Some(place));
        assert_eq!(again.history(provider).expect("readable"), history);
        let stranger = key(3).public();
        assert_eq!(again.history(stranger).expect("readable"), ProviderHistory::new(stranger));
    }

    #[test]
    fn the_provider_not_used_for_longest_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = opened(folder.path());
        let provider = |i: usize| PublicKey(core::array::from_fn(|at| (i >> (8 * (at % 2))) as u8));
        let all: Vec<_> = (0..HISTORIES_MAX).map(|i| used(provider(i), i as u64)).collect();
        let keys: Vec<_> = all.iter().map(|history| (history.provider().0, wire::encode(history))).collect();
        let put = |(key, value)| Change::Put { kind: HISTORY, key, value };
        let full: Vec<_> = keys.iter().map(|(key, value)| put((&key[..], &value[..]))).collect();
        memory.0.commit(&full).expect("room");
        memory.keep_history(&used(provider(0), 1 << 20)).expect("the first is used again");
        memory.keep_history(&used(provider(HISTORIES_MAX), 1 << 20)).expect("room");
        assert_eq!(memory.0.list(HISTORY, &[]).len(), HISTORIES_MAX);
        let known = |i| memory.history(provider(i)).expect("readable") != ProviderHistory::new(provider(i));
        assert!(known(0) && !known(1) && known(2) && known(HISTORIES_MAX));
    }
}
