//! What the next entry adds to each file. Pure.

use gridhour_protocol::merkle::{
    Frontier, TreeHead, leaf_hash,
    tile::{Row, TILE_LEVELS, TILE_WIDTH},
    tiled::TileGrower,
};

/// Bytes of the longest entry.
pub const ENTRY_BYTES_MAX: usize = 2 * 1024;

/// The files: entries, where their bundles start, and the rows of hashes.
pub(super) const PARTS: [&str; 2 + TILE_LEVELS as usize] = [
    "entries", "bundles", "hashes-0", "hashes-1", "hashes-2", "hashes-3", "hashes-4", "hashes-5", "hashes-6",
    "hashes-7",
];
/// Place of the entries among [`PARTS`].
pub(super) const ENTRIES: usize = 0;
/// Place of the bundles' starts among [`PARTS`].
pub(super) const BUNDLES: usize = 1;

/// Place among [`PARTS`] of the file with what `row` holds.
pub(super) const fn part_of(row: Row) -> usize {
    match row {
        Row::Entries => ENTRIES,
        Row::Hashes(level) => 2 + level as usize,
    }
}

/// The log so far, as far as the next entry needs it.
#[derive(Default)]
pub(super) struct Growth {
    log: Frontier,
    rows: TileGrower,
    entry_bytes: u64,
}

/// Bytes to be written behind each file.
#[derive(Default)]
pub(super) struct Added([Vec<u8>; PARTS.len()]);

impl Added {
    pub(super) fn parts(&self) -> &[Vec<u8>] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}

impl Growth {
    pub(super) fn head(&self) -> TreeHead {
        TreeHead { size: self.log.size(), root: self.log.root() }
    }

    pub(super) fn push(&mut self, entry: &[u8], added: &mut Added) {
        let len = u16::try_from(entry.len()).expect("an entry is far below 64 KiB");
        if self.log.size().is_multiple_of(u64::from(TILE_WIDTH)) {
            added.0[BUNDLES].extend(self.entry_bytes.to_le_bytes());
        }
        added.0[ENTRIES].extend(len.to_be_bytes());
        added.0[ENTRIES].extend(entry);
        self.entry_bytes += 2 + u64::from(len);
        let leaf = leaf_hash(entry);
        self.log.push(leaf);
        self.rows.push(leaf, |level, hash| added.0[part_of(Row::Hashes(level))].extend(hash));
    }
}

/// The first entry of `bytes`, and what follows it; `None` if it is not whole.
pub(super) fn first_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
