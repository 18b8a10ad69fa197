//! The few file operations that the logs need, and what each of them promises after a power cut.
//!
//! Logs are written against these traits, so that tests can run them over a disk that forgets whatever was not synced.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// One flat directory of files.
pub trait Disk: Send + Sync {
    /// Opens the file `name`, and creates it empty if there is none. A new name survives a power cut only after
    /// [`Disk::sync_dir`].
    ///
    /// # Errors
    /// Of the file system.
    fn open(&self, name: &str) -> io::Result<Box<dyn BlockFile>>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives `from` the name `to`, replacing any file of that name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the file `name`. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names created, changed and removed so far durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that nobody outside can predict. They come from the disk so that a simulated one decides them too.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    fn salt(&self) -> io::Result<[u8; 16]>;
}

/// A file that grows at its end.
pub trait BlockFile: Send {
    /// Bytes in the file.
    ///
    /// # Errors
    /// Of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends earlier; otherwise of the file system.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` behind the last byte. Durable after [`BlockFile::sync`], and until then any part of it may be
    /// lost.
    ///
    /// # Errors
    /// Of the file system. Some of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `size` bytes. Durable after [`BlockFile::sync`].
    ///
    /// # Errors
    /// Of the file system.
    fn truncate(&mut self, size: u64) -> io::Result<()>;

    /// Makes everything written so far durable (`fdatasync`).
    ///
    /// # Errors
    /// Of the file system or the device. What was written since the last sync may then be lost although a later sync
    /// succeeds, so nobody may call this again after an error.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the real file system.
#[derive(Clone, Debug)]
pub struct DirDisk {
    path: PathBuf,
}

impl DirDisk {
    /// The directory at `path`, created if it is missing; its own name is made durable.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let path = path.canonicalize()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path })
    }
}

impl Disk for DirDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn BlockFile>> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(self.path.join(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        // Names that are not UTF-8 cannot be ours.
        fs::read_dir(&self.path)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn salt(&self) -> io::Result<[u8; 16]> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        Ok(salt)
    }
}

struct RealFile(File);

impl BlockFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
