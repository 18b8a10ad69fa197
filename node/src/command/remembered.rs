//! Peers that a node found, kept in its data directory, so that after a restart it finds them again though every
//! bootstrap peer were gone.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use tokio::sync::watch;

use crate::net::{Address, NetHandle, limits::REMEMBERED_MAX};

/// Bytes of the file that are read at most: an address of full length for each peer.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The addresses in the file at `path`, one a line. What cannot be read is as if it were not there: it is a memory, and
/// costs only the time to find peers anew.
pub(super) fn read(path: &Path) -> Vec<Address> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "remembered peers not read; they are found anew");
    }
    let addresses = text.lines().filter_map(|line| line.parse::<Address>().ok());
    addresses.filter(|address| address.peer().is_some()).take(REMEMBERED_MAX).collect()
}

/// Writes what `net` finds worth another dial to `path`, each time that it changes, until the network ends.
pub(super) fn keep(net: &NetHandle, path: PathBuf) {
    let mut remembered = net.watch_remembered();
    tokio::spawn(async move {
        while remembered.changed().await.is_ok() {
            write_newest(&mut remembered, &path);
        }
    });
}

fn write_newest(remembered: &mut watch::Receiver<Vec<Address>>, path: &Path) {
    let lines: String = remembered.borrow_and_update().iter().map(|address| format!("{address}\n")).collect();
    if let Err(error) = write_whole(path, lines.as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "found peers not remembered");
    }
}

/// Writes the file so that a kill leaves the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("part");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWCKCeqLPSgMnDjyFsJuWqREDtKNHx1JEBiwaMXhCLNTRb";

    #[test]
    fn what_was_written_is_read_and_rubbish_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("peers");
        assert!(read(&path).is_empty(), "nothing is remembered yet");
        let address: Address = format!("/ip4/192.0.2.7/tcp/4001/p2p/{PEER}").parse().expect("an address");
        let (sender, mut remembered) = watch::channel(Vec::new());
        sender.send_replace(vec![address.clone()]);
        write_newest(&mut remembered, &path);
        assert_eq!(read(&path), [address]);

        fs::write(&path, "nonsense\n/ip4/192.0.2.7/tcp/4001\n").expect("a writable folder");
        assert!(read(&path).is_empty(), "no address, or nobody's");
        fs::write(&path, [0xff; 64]).expect("a writable folder");
        assert!(read(&path).is_empty());
        fs::write(&path, format!("/ip4/192.0.2.7/tcp/4001/p2p/{PEER}\n").repeat(400)).expect("writable");
        assert_eq!(read(&path).len(), REMEMBERED_MAX);
    }
}
