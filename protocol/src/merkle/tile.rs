//! Where the parts of a public log lie (c2sp.org/tlog-tiles): runs of up to 256 hashes of one level, and of as many
//! entries, each under a path of its own.
//!
//! A tile of level L holds the roots of complete subtrees of 256^L leaves, one after the other. Whatever the log
//! becomes, a full tile stays as it is; the last of each level is partial, and its width is part of its path.

use core::{fmt, str::FromStr};

use crate::note::decimal;

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Levels that a log of fewer than 2^64 leaves can have.
pub const TILE_LEVELS: u8 = 8;
/// Bytes of the longest path: `tile/entries/`, seven groups of digits, and a width.
pub const TILE_PATH_BYTES_MAX: usize = 64;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// Hashes of this level, below [`TILE_LEVELS`].
    Hashes(u8),
    /// The entries themselves: a bundle.
    Entries,
}

impl Row {
    /// Items that the row has in a log of `size` leaves.
    #[must_use]
    pub const fn items(self, size: u64) -> u64 {
        match self {
            Self::Hashes(level) => size >> (8 * level as u32),
            Self::Entries => size,
        }
    }
}

/// A run of items of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    row: Row,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile with item number `item` of `row`, as wide as it is in a log of `size` leaves. `None` if the log has no
    /// such item.
    #[must_use]
    pub fn holding(row: Row, item: u64, size: u64) -> Option<Self> {
        let items = row.items(size);
        let index = item / u64::from(TILE_WIDTH);
        let width = (items.checked_sub(index * u64::from(TILE_WIDTH))?).min(u64::from(TILE_WIDTH));
        (item < items).then_some(Self { row, index, width: u16::try_from(width).ok()? })
    }

    /// What it holds.
    #[must_use]
    pub const fn row(&self) -> Row {
        self.row
    }

    /// Its number in the row.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many items it holds: 1 to [`TILE_WIDTH`].
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// The number of its first item in the row.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.index * TILE_WIDTH as u64
    }

    /// Whether a log of `size` leaves has all its items.
    #[must_use]
    pub const fn is_within(&self, size: u64) -> bool {
        match self.first().checked_add(self.width as u64) {
            Some(end) => end <= self.row.items(size),
            None => false,
        }
    }
}

impl fmt::Display for Tile {
    /// The path, without a slash before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Row::Hashes(level) => write!(f, "tile/{level}/")?,
            Row::Entries => write!(f, "tile/entries/")?,
        }
        let mut groups = vec![self.index % 1_000];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            groups.push(rest % 1_000);
            rest /= 1_000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// A path that names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct TilePathError;

impl FromStr for Tile {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        let tile = (path.len() <= TILE_PATH_BYTES_MAX).then(|| parse(path)).flatten();
        // One tile, one path: what is read must be printed so again.
        tile.filter(|tile| tile.to_string() == path).ok_or(TilePathError)
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (row, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let row = match row {
        "entries" => Row::Entries,
        level => Row::Hashes(level.parse().ok().filter(|level| *level < TILE_LEVELS)?),
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, decimal(width).filter(|width| (1..256).contains(width))?),
        None => (rest, u64::from(TILE_WIDTH)),
    };
    let index = number.split('/').try_fold(0u64, |sum, group| {
        let group: u64 = group.trim_start_matches('x').parse().ok().filter(|group| *group < 1_000)?;
        sum.checked_mul(1_000)?.checked_add(group)
    })?;
    index.checked_mul(u64::from(TILE_WIDTH))?;
    Some(Tile { row, index, width: u16::try_from(width).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_the_published_text() {
        let whole = Tile { row: Row::Hashes(0), index: 1_234_067, width: 256 };
        assert_eq!(whole.to_string(), "tile/0/x001/x234/067");
        let partial = Tile { row: Row::Entries, index: 5, width: 112 };
        assert_eq!(partial.to_string(), "tile/entries/005.p/112");
    }

    /// "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112, one
    /// full level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1."
    #[test]
    fn tiles_of_the_published_sizes() {
        let last = |level, size| {
            let row = Row::Hashes(level);
            let tile = Tile::holding(row, row.items(size).checked_sub(1)?, size)?;
            Some((tile.index(), tile.width()))
        };
        assert_eq!(
            [0, 1, 2, 3].map(|level| last(level, 70_000)),
            [Some((273, 112)), Some((1, 17)), Some((0, 1)), None]
        );
        assert_eq!([0, 1, 2].map(|level| last(level, 256)), [Some((0, 256)), Some((0, 1)), None]);
    }

    #[test]
    fn other_paths_are_refused() {
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/0",
            "tile/0/0000",
            "tile/8/000",
            "tile/00/000",
            "tile/-1/000",
            "tile/data/000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/xx01/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/+00",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(bad.parse::<Tile>(), Err(TilePathError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn paths_come_back(level in 0..=8u8, index in 0..=u64::MAX >> 8, small: bool, width in 1..=256u16) {
            let row = if level == 8 { Row::Entries } else { Row::Hashes(level) };
            let tile = Tile { row, index: if small { index % 5_000 } else { index }, width };
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
            prop_assert!(tile.to_string().len() <= TILE_PATH_BYTES_MAX);
        }

        #[test]
        fn a_held_item_is_within(level in 0..8u8, size: u64, item: u64) {
            let row = Row::Hashes(level);
            let item = item % row.items(size).max(1);
            match Tile::holding(row, item, size) {
                Some(tile) => {
                    prop_assert!(tile.is_within(size));
                    prop_assert!(tile.first() <= item && item - tile.first() < u64::from(tile.width()));
                }
                None => prop_assert_eq!(row.items(size), 0),
            }
        }
    }
}
