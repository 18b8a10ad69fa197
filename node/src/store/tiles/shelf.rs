//! Reading tiles while the writer goes on.

use std::{io, sync::Arc};

use gridhour_contracts_sim::checkpoint::Checkpoint;
use gridhour_protocol::merkle::{
    Hash,
    tile::{Row, TILE_WIDTH, Tile},
    tiled::TileReader,
};
use tokio::sync::watch;

use super::growth::{BUNDLES, ENTRY_BYTES_MAX, PARTS, first_entry, part_of};
use crate::store::disk::Disk;

/// Bytes of the longest bundle.
const BUNDLE_BYTES_MAX: u64 = TILE_WIDTH as u64 * (2 + ENTRY_BYTES_MAX as u64);
/// Bytes of a hash.
const HASH_BYTES: u64 = 32;

/// Why a tile could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The published log has no such tile (yet).
    #[error("the log has no {0}")]
    NoTile(Tile),
    /// The disk refused, or the files are damaged: the next start builds them again.
    #[error("the public log's files cannot be read: {0}")]
    Disk(#[from] io::Error),
}

/// Reads what is published. Cheap to clone.
#[derive(Clone)]
pub struct TileShelf {
    disk: Arc<dyn Disk>,
    published: watch::Receiver<Checkpoint>,
}

impl TileShelf {
    pub(super) fn new(disk: Arc<dyn Disk>, published: watch::Receiver<Checkpoint>) -> Self {
        Self { disk, published }
    }

    /// The newest checkpoint whose tiles are all there.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        *self.published.borrow()
    }

    /// The same, to wait for a newer one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Checkpoint> {
        self.published.clone()
    }

    /// The bytes of a tile, as they are served. Blocks on the disk.
    ///
    /// # Errors
    /// If there is no such tile, or the disk refuses.
    pub fn bytes(&self, tile: Tile) -> Result<Vec<u8>, ShelfError> {
        if !tile.is_within(self.checkpoint().log.size) {
            return Err(ShelfError::NoTile(tile));
        }
        match tile.row() {
            Row::Entries => self.bundle(tile),
            row => Ok(self.read(
                part_of(row),
                tile.first() * HASH_BYTES,
                u64::from(tile.width()) * HASH_BYTES,
            )?),
        }
    }

    fn bundle(&self, tile: Tile) -> Result<Vec<u8>, ShelfError> {
        let start = self.read(BUNDLES, tile.index() * 8, 8)?;
        let start = u64::from_le_bytes(core::array::from_fn(|i| start[i]));
        let size = self.disk.open(PARTS[part_of(Row::Entries)])?.size()?;
        let mut bytes =
            self.read(part_of(Row::Entries), start, size.saturating_sub(start).min(BUNDLE_BYTES_MAX))?;
        let mut rest = bytes.as_slice();
        for _ in 0..tile.width() {
            rest = first_entry(rest).ok_or_else(|| io::Error::other("a bundle ends within an entry"))?.1;
        }
        bytes.truncate(bytes.len() - rest.len());
        Ok(bytes)
    }

    fn read(&self, part: usize, from: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.disk.open(PARTS[part])?.read_at(from, &mut bytes)?;
        Ok(bytes)
    }
}

impl TileReader for TileShelf {
    type Error = ShelfError;

    fn read(&self, tile: Tile) -> Result<Vec<Hash>, ShelfError> {
        Ok(self.bytes(tile)?.as_chunks().0.to_vec())
    }
}
