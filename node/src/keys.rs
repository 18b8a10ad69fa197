//! Key files: one secret key as 64 hexadecimal digits, mode 0600, and refused otherwise.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use gridhour_protocol::{
    id::{from_hex32, to_hex},
    signed::SecretKey,
};

/// Why a key could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no file.
    #[error("no key at {0}: make one with `gridhour key new`")]
    Missing(PathBuf),
    /// There is a file already, and it is not overwritten.
    #[error("{0} exists already: a key is never overwritten; move it away first")]
    Exists(PathBuf),
    /// Others may read it.
    #[error("{path} has mode {mode:o}, so others may read the key: run `chmod 600` on it")]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("{0} does not hold a key of 64 hexadecimal digits")]
    Malformed(PathBuf),
    /// The system could not read or write.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness: {0}")]
    Randomness(getrandom::Error),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    |source| KeyError::Io { path, source }
}

/// Thirty-two random bytes from the operating system.
///
/// # Errors
/// If the system has none.
pub fn random32() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeyError::Randomness)?;
    Ok(bytes)
}

/// Eight random bytes as a number, for nonces.
///
/// # Errors
/// If the system has none.
pub fn random_u64() -> Result<u64, KeyError> {
    getrandom::u64().map_err(KeyError::Randomness)
}

/// Makes a new key and writes it to `path`, whose folder is created.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn create(path: &Path) -> Result<SecretKey, KeyError> {
    let key = SecretKey::from_seed(random32()?);
    save(path, &key)?;
    Ok(key)
}

/// Writes `key` to a new file at `path`, durable before this returns.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn save(path: &Path, key: &SecretKey) -> Result<(), KeyError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
    }
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => io_error(path)(error),
    })?;
    writeln!(file, "{}", to_hex(&key.seed())).and_then(|()| file.sync_all()).map_err(io_error(path))
}

/// Reads the key at `path`.
///
/// # Errors
/// If there is none, if others may read it, or if it is not a key.
pub fn load(path: &Path) -> Result<SecretKey, KeyError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.to_owned()),
        _ => io_error(path)(error),
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode });
    }
    if metadata.len() > 256 {
        return Err(KeyError::Malformed(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(io_error(path))?;
    from_hex32(text.trim()).map(SecretKey::from_seed).map_err(|_| KeyError::Malformed(path.to_owned()))
}

/// Reads the key at `path`, or makes one there if there is none.
///
/// # Errors
/// As [`load`] and [`create`].
pub fn load_or_create(path: &Path) -> Result<SecretKey, KeyError> {
    match load(path) {
        Err(KeyError::Missing(_)) => create(path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/key");
        let key = create(&path).unwrap();
        assert_eq!(load(&path).unwrap().public(), key.public());
        assert_eq!(load_or_create(&path).unwrap().public(), key.public());
        assert!(matches!(create(&path), Err(KeyError::Exists(_))));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path), Err(KeyError::TooOpen { mode: 0o640, .. })));
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(load(&path), Err(KeyError::Missing(_))));
        for content in [String::new(), "zz".repeat(32), "0".repeat(1000)] {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            assert!(matches!(load(&path), Err(KeyError::Malformed(_))), "{content:?}");
        }
    }
}
