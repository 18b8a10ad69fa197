//! Trees kept as tiles: how rows of hashes grow with the log, and roots and proofs computed from the few tiles that they
//! need. Nobody has to hold the leaves.

use core::cell::RefCell;
use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    Hash, TreeHead, empty_root, node_hash, root, split_u64,
    tile::{Row, TILE_LEVELS, TILE_WIDTH, Tile},
};

/// Says which hashes a new leaf adds to which rows. Holds at most 255 hashes of each level.
#[derive(Clone, Debug, Default)]
pub struct TileGrower {
    rows: [Vec<Hash>; TILE_LEVELS as usize],
}

impl TileGrower {
    /// Takes the next leaf's hash, and tells `add` the level of each row and what is appended to it.
    pub fn push(&mut self, leaf: Hash, mut add: impl FnMut(u8, Hash)) {
        let mut hash = leaf;
        for (level, row) in (0..).zip(&mut self.rows) {
            add(level, hash);
            row.push(hash);
            if row.len() < usize::from(TILE_WIDTH) {
                return;
            }
            hash = root(row);
            row.clear();
        }
    }
}

/// Where tiles come from: a disk, a server, a test's memory. What it gives need not be true; what is computed from it
/// is checked against a head that is believed.
pub trait TileReader {
    /// Why a tile could not be had.
    type Error;

    /// The hashes of `tile`, whose row is [`Row::Hashes`].
    ///
    /// # Errors
    /// If it cannot be had.
    fn read(&self, tile: Tile) -> Result<Vec<Hash>, Self::Error>;
}

/// Why a root or a proof could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TiledError<E> {
    /// The tree has no such leaf, or no such beginning.
    #[error("a tree of {size} leaves has none numbered {asked}")]
    Range {
        /// The tree's size.
        size: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A tile did not hold as many hashes as its path says.
    #[error("{tile} holds {found} hashes")]
    Width {
        /// The tile.
        tile: Tile,
        /// Hashes that came.
        found: usize,
    },
    /// A tile could not be had.
    #[error(transparent)]
    Read(#[from] E),
}

/// The tree of the first `size` leaves, read as it is needed. Each tile is read once, and there are few: two of a level
/// for a root or a proof.
#[derive(Debug)]
pub struct TiledTree<'r, R> {
    reader: &'r R,
    size: u64,
    tiles: RefCell<BTreeMap<Tile, Vec<Hash>>>,
}

impl<'r, R: TileReader> TiledTree<'r, R> {
    /// The tree of the first `size` leaves.
    #[must_use]
    pub fn new(reader: &'r R, size: u64) -> Self {
        Self { reader, size, tiles: RefCell::default() }
    }

    /// Size and root.
    ///
    /// # Errors
    /// If a tile cannot be had.
    pub fn head(&self) -> Result<TreeHead, TiledError<R::Error>> {
        self.head_of(self.size)
    }

    /// Size and root of the first `size` leaves alone.
    ///
    /// # Errors
    /// If there are not as many, or a tile cannot be had.
    pub fn head_of(&self, size: u64) -> Result<TreeHead, TiledError<R::Error>> {
        if size > self.size {
            return Err(self.range(size));
        }
        let root = if size == 0 { empty_root() } else { self.hash(0, size)? };
        Ok(TreeHead { size, root })
    }

    /// Proof that leaf `index` is in the tree, as [`super::inclusion_proof`] makes it.
    ///
    /// # Errors
    /// If there is no such leaf, or a tile cannot be had.
    pub fn inclusion_proof(&self, index: u64) -> Result<Vec<Hash>, TiledError<R::Error>> {
        if index >= self.size {
            return Err(self.range(index));
        }
        let (mut from, mut to) = (0, self.size);
        let mut proof = Vec::new();
        while to - from > 1 {
            let middle = from + split_u64(to - from);
            let in_left = index < middle;
            proof.push(if in_left { self.hash(middle, to)? } else { self.hash(from, middle)? });
            (from, to) = if in_left { (from, middle) } else { (middle, to) };
        }
        proof.reverse();
        Ok(proof)
    }

    /// Proof that the first `old` leaves are a beginning of the tree, as [`super::consistency_proof`] makes it.
    ///
    /// # Errors
    /// If `old` is zero or more than there are, or a tile cannot be had.
    pub fn consistency_proof(&self, old: u64) -> Result<Vec<Hash>, TiledError<R::Error>> {
        if old == 0 || old > self.size {
            return Err(self.range(old));
        }
        let (mut from, mut to, mut known) = (0, self.size, true);
        let mut proof = Vec::new();
        while old < to {
            let middle = from + split_u64(to - from);
            if old <= middle {
                proof.push(self.hash(middle, to)?);
                to = middle;
            } else {
                proof.push(self.hash(from, middle)?);
                from = middle;
                known = false;
            }
        }
        if !known {
            proof.push(self.hash(from, to)?);
        }
        proof.reverse();
        Ok(proof)
    }

    fn range(&self, asked: u64) -> TiledError<R::Error> {
        TiledError::Range { size: self.size, asked }
    }

    /// Root over the leaves from `from` to before `to`, where the tree splits so.
    fn hash(&self, from: u64, to: u64) -> Result<Hash, TiledError<R::Error>> {
        let len = to - from;
        if len.is_power_of_two() {
            return self.complete(from, len.trailing_zeros());
        }
        let middle = from + split_u64(len);
        Ok(node_hash(&self.hash(from, middle)?, &self.hash(middle, to)?))
    }

    /// Root of the complete subtree of 2^`height` leaves that begins at `from`: over a few hashes of one tile.
    fn complete(&self, from: u64, height: u32) -> Result<Hash, TiledError<R::Error>> {
        let level = u8::try_from(height / 8).map_err(|_| self.range(from))?;
        let (row, item) = (Row::Hashes(level), from >> (8 * u32::from(level)));
        let tile = Tile::holding(row, item, self.size).ok_or_else(|| self.range(from))?;
        let mut tiles = self.tiles.borrow_mut();
        let hashes = match tiles.entry(tile) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.fetch(tile)?),
        };
        let at = usize::try_from(item - tile.first()).unwrap_or(usize::MAX);
        hashes.get(at..at + (1 << (height % 8))).map(root).ok_or_else(|| self.range(from))
    }

    fn fetch(&self, tile: Tile) -> Result<Vec<Hash>, TiledError<R::Error>> {
        let hashes = self.reader.read(tile)?;
        let found = hashes.len();
        if found == usize::from(tile.width()) { Ok(hashes) } else { Err(TiledError::Width { tile, found }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{
        Frontier, consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion,
    };

    /// The rows of a log in memory, and how often a tile was read.
    #[derive(Default)]
    struct Rows {
        rows: [Vec<Hash>; TILE_LEVELS as usize],
        reads: RefCell<usize>,
    }

    impl Rows {
        fn grown(leaves: &[Hash]) -> Self {
            let (mut rows, mut grower) = (Self::default(), TileGrower::default());
            leaves
                .iter()
                .for_each(|leaf| grower.push(*leaf, |level, hash| rows.rows[usize::from(level)].push(hash)));
            rows
        }
    }

    impl TileReader for Rows {
        type Error = Tile;

        fn read(&self, tile: Tile) -> Result<Vec<Hash>, Tile> {
            *self.reads.borrow_mut() += 1;
            let Row::Hashes(level) = tile.row() else { return Err(tile) };
            let first = tile.first() as usize;
            let hashes = self.rows[usize::from(level)].get(first..first + usize::from(tile.width()));
            hashes.map(<[Hash]>::to_vec).ok_or(tile)
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect()
    }

    #[test]
    fn every_root_is_that_of_the_tree() {
        let all = leaves(600);
        let rows = Rows::grown(&all);
        let mut frontier = Frontier::new();
        for size in 0..=600 {
            let head = TiledTree::new(&rows, size).head().unwrap();
            assert_eq!(head, TreeHead { size, root: frontier.root() });
            frontier.extend(all.get(size as usize).copied());
        }
    }

    #[test]
    fn there_are_no_proofs_about_nothing() {
        let rows = Rows::grown(&leaves(3));
        let tree = TiledTree::new(&rows, 3);
        assert_eq!(tree.inclusion_proof(3), Err(TiledError::Range { size: 3, asked: 3 }));
        assert_eq!(tree.consistency_proof(0), Err(TiledError::Range { size: 3, asked: 0 }));
        assert_eq!(tree.consistency_proof(4), Err(TiledError::Range { size: 3, asked: 4 }));
        assert!(
            matches!(TiledTree::new(&rows, 4).head(), Err(TiledError::Read(_))),
            "a tile that is not there"
        );
    }

    #[test]
    fn a_tile_of_another_width_is_refused() {
        struct Short;
        impl TileReader for Short {
            type Error = Tile;
            fn read(&self, _: Tile) -> Result<Vec<Hash>, Tile> {
                Ok(vec![[0; 32]])
            }
        }
        assert!(matches!(TiledTree::new(&Short, 5).head(), Err(TiledError::Width { found: 1, .. })));
    }

    /// Sizes up to 600, and around the powers of 256 that fit a test.
    fn sizes() -> impl Strategy<Value = u64> {
        prop_oneof![1..600u64, 65_500..65_600u64, Just(65_536), 66_000..70_000u64]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn proofs_are_those_of_the_leaves(size in sizes(), at in any::<prop::sample::Index>()) {
            let all = leaves(size);
            let rows = Rows::grown(&all);
            let index = at.index(all.len());
            let new = TreeHead { size, root: root(&all) };

            let tree = TiledTree::new(&rows, size);
            let inclusion = tree.inclusion_proof(index as u64).unwrap();
            prop_assert_eq!(Some(inclusion.clone()), inclusion_proof(&all, index));
            prop_assert!(verify_inclusion(&all[index], index as u64, size, &inclusion, &new.root));
            prop_assert!(*rows.reads.borrow() <= 6, "two tiles of a level at most, not {}", rows.reads.borrow());

            let tree = TiledTree::new(&rows, size);
            let consistency = tree.consistency_proof(index as u64 + 1).unwrap();
            prop_assert_eq!(Some(consistency.clone()), consistency_proof(&all, index + 1));
            let old = tree.head_of(index as u64 + 1).unwrap();
            prop_assert!(verify_consistency(&old, &new, &consistency));
        }
    }
}
