//! The program itself, and the disk that it writes to.

use std::{fmt, io, path::PathBuf};

use gridhour_protocol::units::Timestamp;

use super::{
    Source,
    sheet::{Sheet, Unit::Bytes},
};

/// Less room than this is as good as none: a journal may need a new file of nearly this size at any moment.
pub const DISK_ROOM_MIN: u64 = 64 * 1024 * 1024;

/// Room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What this user may still write.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

/// The room of the file system that holds `path`.
///
/// # Errors
/// If the path is not there, or the system does not say.
pub fn room_at(path: &std::path::Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Room { free: bytes(stat.f_bavail), size: bytes(stat.f_blocks) })
}

/// A node's process.
#[derive(Clone, Debug)]
pub struct Process {
    /// What it runs: `validator`, `provider` or `observer`.
    pub kind: &'static str,
    /// When it started.
    pub started: Timestamp,
    /// Its data directory.
    pub root: PathBuf,
}

impl Source for Process {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("node", self.kind)];
        sheet.info("build", "What runs here", &labels)?;
        sheet.moment("process_start_time", "When the process started, since the Unix epoch", self.started)?;
        // A file system that does not answer has no room that anyone could use.
        let room = room_at(&self.root).unwrap_or(Room { free: 0, size: 0 });
        let help = "Room left on the file system of the data directory";
        sheet.gauge("store_disk_free", Bytes, help, room.free)?;
        sheet.gauge("store_disk_size", Bytes, "Size of the file system of the data directory", room.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_room_and_an_absent_one_none() {
        let here = room_at(&std::env::temp_dir()).unwrap();
        assert!(here.free <= here.size && here.size > 0, "{here:?}");
        assert!(room_at(std::path::Path::new("/nowhere/at/all")).is_err());
    }
}
