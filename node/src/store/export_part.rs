//! An export while it is being written: beside the place where it will lie, under another name, so that what lies there
//! is always whole. What an interrupted one left is gone on with.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use gridhour_contracts_sim::{
    block::Block,
    export::{Decoder, FrameKind, closing, frame, opening},
    network_file::NetworkFile,
};
use gridhour_protocol::{signed::Signed, units::Height, wire};

/// Bytes read at a time of what is there.
const READ_BYTES: usize = 1 << 20;

/// The blocks of an export so far. Dropping it, or being killed, leaves them to the next one.
#[derive(Debug)]
pub struct ExportPart {
    path: PathBuf,
    unfinished: PathBuf,
    out: BufWriter<File>,
    opening: Vec<u8>,
    last: Option<(Height, Vec<u8>)>,
}

impl ExportPart {
    /// The export of this network's ledger that will lie at `path`, as far as an earlier one came. One at a time.
    ///
    /// # Errors
    /// If the disk refuses, or another process writes it.
    pub fn open(path: &Path, network: &Signed<NetworkFile>) -> io::Result<Self> {
        let unfinished = beside(path);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&unfinished)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(&unfinished),
            TryLockError::Error(error) => error,
        })?;
        // Whoever had the lock may have given the file its last name since it was opened here.
        if !unfinished.try_exists()? {
            return Err(in_use(&unfinished));
        }
        let opening = opening(network);
        let Kept { bytes, last } = kept(&file, &opening)?;
        let mut part = Self { path: path.to_owned(), unfinished, out: BufWriter::new(file), opening, last };
        if part.last.is_some() {
            part.cut(bytes)?
        } else {
            part.restart()?
        }
        Ok(part)
    }

    /// The last block so far, encoded.
    #[must_use]
    pub fn last(&self) -> Option<(Height, &[u8])> {
        self.last.as_ref().map(|(height, block)| (*height, block.as_slice()))
    }

    /// Throws all blocks away.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn restart(&mut self) -> io::Result<()> {
        self.cut(0)?;
        self.last = None;
        self.out.write_all(&self.opening)
    }

    /// Adds the next block, encoded.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn add(&mut self, block: &[u8]) -> io::Result<()> {
        self.out.write_all(&frame(FrameKind::Block, block))
    }

    /// Ends it with the block at `height`, and gives it its name when all of it is durable. Returns its size in bytes.
    ///
    /// # Errors
    /// If the disk refuses: then what lay there before still does.
    pub fn finish(mut self, height: Height) -> io::Result<u64> {
        self.out.write_all(&closing(height))?;
        self.out.flush()?;
        let file = self.out.get_ref();
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&self.unfinished, &self.path)?;
        Ok(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().set_len(bytes)?;
        self.out.seek(SeekFrom::Start(bytes)).map(drop)
    }
}

/// `ledger.export` is written as `ledger.export.part`.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}

fn in_use(path: &Path) -> io::Error {
    let why = format!("{} is being written by another process: ask again when it is done", path.display());
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

/// What can be gone on with.
#[derive(Default)]
struct Kept {
    /// Up to the end of the last block.
    bytes: u64,
    last: Option<(Height, Vec<u8>)>,
}

/// Looks through a file up to the first byte that is not of a whole block in its place. Only blocks behind the same
/// `opening` count.
fn kept(mut file: &File, opening: &[u8]) -> io::Result<Kept> {
    let (mut decoder, mut kept) = (Decoder::default(), Kept::default());
    let mut begins = vec![0; opening.len()];
    if file.metadata()?.len() < begins.len() as u64 {
        return Ok(kept);
    }
    file.read_exact(&mut begins)?;
    if begins != opening {
        return Ok(kept);
    }
    decoder.push(&begins);
    let mut piece = vec![0; READ_BYTES];
    loop {
        match decoder.next_frame() {
            Ok(Some((FrameKind::Network, _))) => kept.bytes = opening.len() as u64,
            Ok(Some((FrameKind::Block, block))) if height_of(&block) == Some(next(&kept)) => {
                kept.bytes += block_bytes(&block);
                kept.last = Some((next(&kept), block));
            }
            Ok(None) => match file.read(&mut piece)? {
                0 => return Ok(kept),
                read => decoder.push(&piece[..read]),
            },
            Ok(Some(_)) | Err(_) => return Ok(kept),
        }
    }
}

/// Bytes of a block's frame.
fn block_bytes(block: &[u8]) -> u64 {
    (frame(FrameKind::Block, &[]).len() + block.len()) as u64
}

fn next(kept: &Kept) -> Height {
    Height(kept.last.as_ref().map_or(0, |(height, _)| height.0) + 1)
}

fn height_of(payload: &[u8]) -> Option<Height> {
    wire::decode::<Block>(payload).ok().map(|block| block.header.body.height)
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, key};

    use super::*;

    /// A ledger, and its blocks as a node serves them.
    fn story() -> (Chain, Vec<Vec<u8>>) {
        let chain = Chain::of_every_call();
        let blocks = chain.blocks().iter().map(wire::encode).collect();
        (chain, blocks)
    }

    fn height(part: &ExportPart) -> usize {
        part.last().map_or(0, |(height, _)| height.0 as usize)
    }

    fn add_all(part: &mut ExportPart, blocks: &[Vec<u8>]) {
        blocks.iter().for_each(|block| part.add(block).expect("room"));
    }

    /// Cut off anywhere, which is what a kill leaves, it goes on from its last whole block to the same file; and until
    /// then what lay there before is there.
    #[test]
    fn what_a_kill_left_is_gone_on_with_from_its_last_whole_block() {
        let (chain, blocks) = story();
        let (network, whole) = (chain.network_file(), chain.export());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.export");
        // Where each block begins, and where the last ends.
        let ends: Vec<usize> = blocks
            .iter()
            .scan(opening(&network).len(), |at, block| {
                *at += block_bytes(block) as usize;
                Some(*at)
            })
            .collect();
        let near = |cut: &usize| ends.iter().chain([&whole.len(), &0]).any(|end| end.abs_diff(*cut) < 3);
        for cut in (0..=whole.len()).filter(|cut| cut % 97 == 0 || near(cut)) {
            fs::write(&path, b"the one before").expect("room");
            fs::write(beside(&path), &whole[..cut]).expect("room");
            let mut part = ExportPart::open(&path, &network).expect("opens");
            let there = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(height(&part), there, "cut at {cut}");
            assert_eq!(part.last().map(|(_, block)| block), there.checked_sub(1).map(|at| &blocks[at][..]));
            add_all(&mut part, &blocks[there..]);
            assert_eq!(fs::read(&path).expect("it is there"), b"the one before");
            let bytes = part.finish(Height(blocks.len() as u64)).expect("room");
            assert_eq!((bytes, fs::read(&path).expect("it is there")), (whole.len() as u64, whole.clone()));
            assert!(!beside(&path).exists());
        }
    }

    #[test]
    fn nothing_that_was_damaged_or_is_of_another_network_is_gone_on_with() {
        let (chain, blocks) = story();
        let (network, mut damaged) = (chain.network_file(), chain.export());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.export");
        let second = opening(&network).len() + block_bytes(&blocks[0]) as usize;
        damaged[second + 100] ^= 1;
        fs::write(beside(&path), &damaged).expect("room");
        assert_eq!(height(&ExportPart::open(&path, &network).expect("opens")), 1, "up to the damage");
        let mut swapped = opening(&network);
        [1, 0].iter().for_each(|at| swapped.extend(frame(FrameKind::Block, &blocks[*at])));
        fs::write(beside(&path), &swapped).expect("room");
        assert_eq!(height(&ExportPart::open(&path, &network).expect("opens")), 0, "blocks out of order");
        let other = key(9).sign(network.body.clone());
        fs::write(beside(&path), chain.export()).expect("room");
        let mut part = ExportPart::open(&path, &other).expect("opens");
        assert_eq!(height(&part), 0);
        add_all(&mut part, &blocks);
        part.finish(Height(blocks.len() as u64)).expect("room");
        assert!(fs::read(&path).expect("it is there").starts_with(&opening(&other)));
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let (chain, _) = story();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.export");
        let first = ExportPart::open(&path, &chain.network_file()).expect("opens");
        let refused = ExportPart::open(&path, &chain.network_file()).expect_err("it is being written");
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        ExportPart::open(&path, &chain.network_file()).expect("opens");
    }
}
