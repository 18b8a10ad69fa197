//! What a node must not forget: vouchers, receipts, lanes, results. A small table over an append-only log.
//!
//! A change is durable when the call that made it returns, so a driver that stores first and sends afterwards never
//! sends what it could forget. Callers that write at the same time share one `fdatasync`. The table is in memory, and
//! its log is written anew when most of it is history.

mod change;
mod table;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

pub use self::change::{Change, Kind};
use self::{change::CHANGE_HEAD_BYTES, table::Table};
use super::{
    disk::Disk,
    log_error::{LogError, Rule, Torn},
    segment::{End, LogKind, Segment},
};

/// Bytes of the changes of one commit.
pub const COMMIT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of all records together, keys included.
pub const RECORDS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of one key.
pub const RECORD_KEY_BYTES_MAX: usize = 256;
/// History that a log may always hold before it is written anew, in bytes.
const SLACK_BYTES: u64 = 8 * 1024 * 1024;
/// Name of a log that is being written anew.
const UNFINISHED: &str = "records.new";

const _: () = assert!(RECORD_KEY_BYTES_MAX + CHANGE_HEAD_BYTES < COMMIT_BYTES_MAX);
const _: () = assert!(RECORD_KEY_BYTES_MAX <= u16::MAX as usize, "a key's length fits its field");

/// The records of one node. Shared by reference between threads; calls block on the disk.
pub struct Records {
    disk: Arc<dyn Disk>,
    kind: LogKind,
    /// History allowed beside the live records.
    slack: u64,
    queue: Mutex<Queue>,
    writer: Mutex<Writer>,
    /// What is durable.
    table: RwLock<Table>,
}

/// Commits that wait for whoever holds the writer next.
#[derive(Default)]
struct Queue {
    commits: Vec<Vec<u8>>,
    bytes: usize,
    /// Commits queued since the start.
    tickets: u64,
}

struct Writer {
    log: Segment,
    end: End,
    generation: u64,
    /// Commits decided since the start: durable, but for those in `refused`.
    done: u64,
    /// Commits that there was no room for, and the bytes it lacked, until their callers ask. One waits for each.
    refused: BTreeMap<u64, u64>,
}

fn log_name(generation: u64) -> String {
    format!("records-{generation:020}.log")
}

fn generation_of(name: &str) -> Option<u64> {
    let generation = name.strip_prefix("records-")?.strip_suffix(".log")?.parse().ok()?;
    (log_name(generation) == name).then_some(generation)
}

impl Records {
    /// Opens the records of the node `owner` on `disk`, or begins them. What an interrupted write left at the end was
    /// never acknowledged: it is removed, and reported.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where bytes that were durable are not what was written; [`LogError::Disk`].
    pub fn open(disk: Arc<dyn Disk>, owner: [u8; 32]) -> Result<(Self, Option<Torn>), LogError> {
        Self::open_with(disk, owner, SLACK_BYTES)
    }

    /// As [`Records::open`], writing the log anew when more than `slack` bytes beside twice the live records are
    /// history; little slack lets tests do that often.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        owner: [u8; 32],
        slack: u64,
    ) -> Result<(Self, Option<Torn>), LogError> {
        let kind = LogKind { id: owner, body_max: COMMIT_BYTES_MAX };
        let generation = newest_generation(&*disk)?;
        let name = log_name(generation);
        let mut end = first_end(&kind);
        let mut table = Table::default();
        let (log, torn) = Segment::open(&*disk, &name, &kind, &mut end, &mut |_, frame| {
            table.apply(&frame.body).ok_or(Rule::Body)
        })?;
        let writer = Mutex::new(Writer { log, end, generation, done: 0, refused: BTreeMap::new() });
        let (queue, table) = (Mutex::default(), RwLock::new(table));
        Ok((Self { disk, kind, slack, queue, writer, table }, torn))
    }

    /// Stores `value` under `key`. Durable on return.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub fn put(&self, kind: Kind, key: &[u8], value: &[u8]) -> Result<(), LogError> {
        self.commit(&[Change::Put { kind, key, value }])
    }

    /// Forgets `key`. Durable on return; harmless if there is nothing under it.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub fn delete(&self, kind: Kind, key: &[u8]) -> Result<(), LogError> {
        self.commit(&[Change::Delete { kind, key }])
    }

    /// Makes all of `changes`, or none of them. Durable on return.
    ///
    /// # Errors
    /// [`LogError::TooLong`], [`LogError::Full`] and [`LogError::DiskFull`], which change nothing. [`LogError::Disk`] and
    /// [`LogError::Poisoned`]: it is unknown whether the changes are durable, and nothing more is written.
    pub fn commit(&self, changes: &[Change<'_>]) -> Result<(), LogError> {
        let body = change::encode(changes)?;
        let ticket = self.enqueue(body, changes.iter().any(Change::grows))?;
        let mut writer = lock(&self.writer);
        // Whoever had the writer before may have written this commit with its own.
        if writer.done < ticket {
            self.write_queue(&mut writer)?;
        }
        match writer.refused.remove(&ticket) {
            None => Ok(()),
            Some(needed) => {
                let (file, source) = (writer.log.name().to_owned(), ErrorKind::StorageFull.into());
                Err(LogError::DiskFull { file, needed, source })
            }
        }
    }

    fn enqueue(&self, body: Vec<u8>, grows: bool) -> Result<u64, LogError> {
        let stored = self.read(Table::bytes);
        let mut queue = lock(&self.queue);
        if grows && stored + queue.bytes + body.len() > RECORDS_BYTES_MAX {
            return Err(LogError::Full { max: RECORDS_BYTES_MAX });
        }
        queue.bytes += body.len();
        queue.commits.push(body);
        queue.tickets += 1;
        Ok(queue.tickets)
    }

    /// Decides every commit that is queued: all of them durable, or all refused for want of room.
    fn write_queue(&self, writer: &mut Writer) -> Result<(), LogError> {
        let batch = mem::take(&mut *lock(&self.queue).batch());
        let tickets = writer.done + 1..=writer.done + batch.len() as u64;
        let before = writer.end;
        batch.iter().try_for_each(|body| writer.log.append(&mut writer.end, body).map(|_| ()))?;
        match writer.log.sync() {
            Ok(()) => writer.done = *tickets.end(),
            Err(LogError::DiskFull { needed, .. }) => {
                (writer.end, writer.done) = (before, *tickets.end());
                writer.refused.extend(tickets.map(|ticket| (ticket, needed)));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for body in &batch {
            table.apply(body).expect("what was encoded here decodes");
        }
        let live = table.bytes() as u64;
        drop(table);
        if writer.log.size() <= 2 * live + self.slack { Ok(()) } else { self.tidy(writer) }
    }

    /// Writes the log anew. Without room for that the old one, which holds everything, goes on.
    fn tidy(&self, writer: &mut Writer) -> Result<(), LogError> {
        match self.rewrite(writer) {
            Err(LogError::DiskFull { .. }) => self.disk.remove(UNFINISHED).or(Ok(())),
            // After one that went wrong halfway, a restart may find the new log: nothing may go to the old one.
            outcome => outcome.inspect_err(|_| writer.log.poison()),
        }
    }

    /// Writes the live records to a new log, which replaces the old one in one step.
    fn rewrite(&self, writer: &mut Writer) -> Result<(), LogError> {
        let mut end = first_end(&self.kind);
        let mut log = Segment::create(&*self.disk, UNFINISHED, &self.kind)?;
        self.read(|table| {
            table.commits(COMMIT_BYTES_MAX).try_for_each(|body| log.append(&mut end, &body).map(|_| ()))
        })?;
        log.sync()?;
        let generation = writer.generation + 1;
        log.rename(&*self.disk, &log_name(generation))?;
        let old = mem::replace(&mut writer.log, log);
        writer.end = end;
        writer.generation = generation;
        self.disk.remove(old.name()).map_err(LogError::disk("remove", old.name()))
    }

    /// What is stored under `key`.
    #[must_use]
    pub fn get(&self, kind: Kind, key: &[u8]) -> Option<Arc<[u8]>> {
        self.read(|table| table.get(kind, key))
    }

    /// The records of `kind` whose keys start with `prefix`, in the order of their keys.
    #[must_use]
    pub fn list(&self, kind: Kind, prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        self.read(|table| table.list(kind, prefix))
    }

    fn read<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue {
    fn batch(&mut self) -> &mut Vec<Vec<u8>> {
        self.bytes = 0;
        &mut self.commits
    }
}

fn first_end(kind: &LogKind) -> End {
    End { next: 0, previous: kind.id }
}

/// A panic while the lock was held leaves a writer that is behind the disk, never ahead of it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest log; what a rewrite left of older ones, or of itself, is removed.
fn newest_generation(disk: &dyn Disk) -> Result<u64, LogError> {
    let names = disk.list().map_err(LogError::disk("list", "the records' directory"))?;
    let newest = names.iter().filter_map(|name| generation_of(name)).max().unwrap_or(0);
    for name in names {
        if name == UNFINISHED || generation_of(&name).is_some_and(|generation| generation < newest) {
            disk.remove(&name).map_err(LogError::disk("remove", &name))?;
        }
    }
    Ok(newest)
}
