//! Small file systems of a test's own: one that is soon full, and one on a block device that can be copied as a power cut
//! would leave it.
//!
//! Mounting takes root. Without it the test is skipped in plain sight; where `CI` is set that fails it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::data::skip;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Mount(TempDir);

impl Mount {
    /// An empty file system of `bytes` in memory. `None` if it cannot be mounted; the calling test is then to return.
    ///
    /// # Panics
    /// If it cannot be mounted and `CI` is set.
    #[must_use]
    pub fn tmpfs(bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        Self::mounted(&["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// The ext4 file system in the file `image`, on a loop device.
    ///
    /// # Panics
    /// As [`Mount::tmpfs`].
    #[must_use]
    pub fn image(image: &Path) -> Option<Self> {
        Self::mounted(&["-o", "loop", image.to_str().expect("temporary paths are UTF-8")])
    }

    fn mounted(options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let done = run(Command::new("mount").args(options).arg(dir.path()));
        done.inspect_err(|why| skip(why)).ok().map(|()| Self(dir))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(why) = run(Command::new("umount").arg(self.path())) {
            eprintln!("{why}");
        }
    }
}

/// A new image of `bytes` in `folder` with an empty ext4 on it. `None` if it cannot be made.
///
/// # Panics
/// As [`Mount::tmpfs`].
#[must_use]
pub fn ext4_image(folder: &Path, bytes: u64) -> Option<PathBuf> {
    let image = folder.join("disk.img");
    let file = File::create(&image).expect("a temporary file");
    file.set_len(bytes).expect("a sparse file takes no room");
    let done = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    done.inspect_err(|why| skip(why)).ok().map(|()| image)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}; this takes root", String::from_utf8_lossy(&output.stderr).trim()))
}
