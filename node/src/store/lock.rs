//! One process for a data directory: two writers of one log would destroy it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Name of the lock file in the directory.
const LOCK_FILE: &str = "lock";
/// Name of the file whose lock is the way in.
const DOOR_FILE: &str = "door";
/// Digits of a process id, at most.
const PID_BYTES_MAX: u64 = 20;

/// Why a directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by process {pid}: stop that process, or give this one another data directory")]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process, or `unknown` if it has not written its id yet.
        pid: String,
    },
    /// The system could not open or lock the file.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A directory that is this process's alone until the value is dropped, or the process ends in any way.
#[derive(Debug)]
pub struct DirLock {
    /// The operating system's lock lives as long as the open file, wherever that is open.
    file: File,
}

impl Drop for DirLock {
    /// Lets go at once: a process that another thread is just starting has the file open for a moment too.
    fn drop(&mut self) {
        // Without it, closing the file lets go.
        let _ = self.file.unlock();
    }
}

impl DirLock {
    /// Takes `path`, which is created if it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if another process has it.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = file_in(path, LOCK_FILE).map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: path.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(io_error)?;
        Ok(Self { file })
    }
}

/// The way into a directory that some take for long and others only look into: all pass it one at a time, those who look
/// for as long as they do. So nobody finds the directory taken by one who only looks.
#[derive(Debug)]
pub struct Door {
    file: File,
}

impl Drop for Door {
    /// As that of [`DirLock`].
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Door {
    /// Waits for whoever is in it, which is a moment.
    ///
    /// # Errors
    /// If the system cannot open or lock the file.
    pub fn pass(path: &Path) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { path: path.to_owned(), source };
        let file = file_in(path, DOOR_FILE).map_err(io_error)?;
        file.lock().map_err(io_error)?;
        Ok(Self { file })
    }
}

fn file_in(path: &Path, name: &str) -> io::Result<File> {
    fs::create_dir_all(path)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join(name))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(PID_BYTES_MAX).read_to_string(&mut text);
    if read.is_ok() && !text.is_empty() { text } else { "unknown".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_and_names_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("ledger");
        let held = DirLock::acquire(&path).expect("free");
        let refused = DirLock::acquire(&path).expect_err("held");
        let pid = std::process::id().to_string();
        assert!(matches!(&refused, LockError::Held { pid: named, .. } if *named == pid), "{refused}");
        assert!(refused.to_string().contains(&format!("in use by process {pid}")), "{refused}");
        drop(held);
        DirLock::acquire(&path).expect("free again");
    }
}
