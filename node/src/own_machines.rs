//! The accounts of the user's own machines, as the user lists them: a file in the data directory, an account a line.
//!
//! Data that may not leave goes to these and to nobody else, so the file is never guessed at: what is no account makes
//! the whole of it unreadable, and nothing is ordered. An empty line says nothing; a file that is not there lists nobody.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use gridhour_protocol::signed::PublicKey;

use crate::store::lock::{Door, LockError};

/// Machines that a user may list.
pub const OWN_MAX: usize = 256;
/// Bytes of the file: an account and the end of a line for each, and as much again.
const FILE_BYTES_MAX: u64 = 2 * 65 * OWN_MAX as u64;

/// Why the list cannot be had, or not be changed.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The system.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no account.
    #[error("{path}, line {line}: {text:?} is no account: {why}")]
    NoAccount {
        /// The file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
        /// What stands there, the beginning.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The folder's lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Too many machines, or too long a file.
    #[error("{path}: more than {OWN_MAX} machines")]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

/// The accounts in the file at `path`.
///
/// # Errors
/// If it cannot be read, or holds anything but accounts.
pub fn load(path: &Path) -> Result<BTreeSet<PublicKey>, OwnError> {
    let io = |source| OwnError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        opened => opened.map_err(io)?,
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(io)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let account = |(line, text): (usize, &str)| {
        text.trim().parse::<PublicKey>().map_err(|error| OwnError::NoAccount {
            path: path.to_owned(),
            line,
            text: text.chars().take(64).collect(),
            why: error.to_string(),
        })
    };
    let own: BTreeSet<PublicKey> = lines.map(account).collect::<Result<_, _>>()?;
    match text.len() as u64 > FILE_BYTES_MAX || own.len() > OWN_MAX {
        true => Err(OwnError::TooMany { path: path.to_owned() }),
        false => Ok(own),
    }
}

/// Changes the list at `path` and returns it. Whoever else changes it waits meanwhile, so that neither's change is lost.
///
/// # Errors
/// If the list cannot be had or written, or with what `change` says: then it stays as it was.
pub fn change<E: From<OwnError>>(
    path: &Path,
    change: impl FnOnce(&mut BTreeSet<PublicKey>) -> Result<(), E>,
) -> Result<BTreeSet<PublicKey>, E> {
    let _door = Door::pass(path.parent().unwrap_or(Path::new("."))).map_err(OwnError::from)?;
    let mut own = load(path)?;
    change(&mut own)?;
    save(path, &own)?;
    Ok(own)
}

/// Writes the list to `path`, so that a kill leaves the old one or the new one.
///
/// # Errors
/// If they are too many, or the system does not write them.
pub fn save(path: &Path, own: &BTreeSet<PublicKey>) -> Result<(), OwnError> {
    if own.len() > OWN_MAX {
        return Err(OwnError::TooMany { path: path.to_owned() });
    }
    let lines: String = own.iter().map(|account| format!("{account}\n")).collect();
    write_whole(path, lines.as_bytes()).map_err(|source| OwnError::Io { path: path.to_owned(), source })
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let unfinished = path.with_extension("part");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::key;

    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_no_file_lists_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("own-machines");
        assert!(load(&path).expect("nothing is there").is_empty());
        let own: BTreeSet<PublicKey> = [1, 2, 3].map(|n| key(n).public()).into();
        save(&path, &own).expect("a writable folder");
        assert_eq!(load(&path).expect("it was just written"), own);
        let spaced = format!("\n  {} \r\n\n", key(4).public());
        fs::write(&path, spaced).expect("a writable folder");
        assert_eq!(load(&path).expect("spaces say nothing"), BTreeSet::from([key(4).public()]));
    }

    #[test]
    fn changes_at_once_are_all_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own-machines");
        std::thread::scope(|scope| {
            for n in 1..=8 {
                let path = &path;
                scope.spawn(move || {
                    let add = |own: &mut BTreeSet<PublicKey>| {
                        own.insert(key(n).public());
                        Ok::<(), OwnError>(())
                    };
                    change(path, add).expect("a writable folder")
                });
            }
        });
        assert_eq!(load(&path).expect("it was just written"), (1..=8).map(|n| key(n).public()).collect());
        let refused = change(&path, |own| {
            own.clear();
            Err(OwnError::TooMany { path: path.clone() })
        });
        assert!(refused.is_err() && load(&path).is_ok_and(|own| own.len() == 8), "it stays as it was");
    }

    #[test]
    fn a_list_that_is_damaged_or_too_long_is_no_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own-machines");
        let account = key(1).public().to_string();
        fs::write(&path, format!("{account}\n{}\n", &account[1..])).expect("a writable folder");
        let error = load(&path).expect_err("a line is short").to_string();
        assert!(error.contains("line 2") && error.contains("is no account"), "{error}");
        fs::write(&path, format!("{account}\n").repeat(3 * OWN_MAX)).expect("a writable folder");
        assert!(load(&path).is_err(), "a file beyond its limit, though it repeats one account");
        fs::write(&path, [0xff; 64]).expect("a writable folder");
        assert!(matches!(load(&path), Err(OwnError::Io { .. })));
        let many = (0..=OWN_MAX).map(|n| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
            PublicKey(bytes)
        });
        assert!(matches!(save(&path, &many.collect()), Err(OwnError::TooMany { .. })));
    }
}
