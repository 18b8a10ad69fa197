//! The public log: it follows the ledger, is what a stranger can prove from, and is built again where it is not.

use std::sync::Arc;

use gridhour_contracts_sim::{
    checkpoint::Checkpoint,
    harness::{Chain, key},
    ledger::{admit::Admitted, entry::Entry},
    tx::Call,
};
use gridhour_node::store::{
    disk::Disk,
    journal::Journal,
    tiles::{ShelfError, TileLog, TileShelf},
};
use gridhour_protocol::{
    merkle::{
        TreeHead, leaf_hash,
        tile::{Row, Tile},
        tiled::{TileReader, TiledTree},
        verify_consistency, verify_inclusion,
    },
    units::Credits,
    wire,
};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::scale;

/// A ledger whose entries come block by block, its journal and its public log.
struct World {
    chain: Chain,
    entries: Vec<Entry>,
    journal: Journal,
    disk: SimDisk,
}

impl World {
    fn new() -> Self {
        let chain = Chain::new();
        let network = chain.state().network().0;
        let (journal, _) = Journal::open(Arc::new(SimDisk::new(1)), network, 1).expect("an empty disk opens");
        Self { chain, entries: Vec::new(), journal, disk: SimDisk::new(2) }
    }

    /// A block of `count` entries in the ledger and its journal. Returns them.
    fn block(&mut self, count: u64) -> Vec<Entry> {
        let issuer = self.chain.issuer().clone();
        let call = Call::Mint { to: key(1).public(), amount: Credits(1) };
        let sign = |_| Admitted::check(self.chain.sign(&issuer, call.clone())).expect("signed");
        let txs = (0..count).map(sign).collect();
        let entries: Vec<Entry> =
            self.chain.block(txs).into_iter().map(|answer| answer.expect("applied")).collect();
        let block = self.chain.blocks().last().expect("a block");
        self.journal.append(&wire::encode(block)).expect("it fits");
        self.journal.sync().expect("the disk works");
        self.entries.extend(entries.clone());
        entries
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::of(self.chain.state())
    }

    /// The public log on `disk`, opened.
    fn open_on(&self, disk: &SimDisk) -> TileLog {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        TileLog::open(disk, self.chain.state(), &self.journal.reader()).expect("it opens or is built")
    }

    /// A log of blocks of these sizes, written as they came.
    fn grown(blocks: &[u64]) -> Self {
        let mut world = Self::new();
        let mut log = world.open_on(&world.disk);
        for count in blocks {
            let entries = world.block(*count);
            log.add(&entries, world.checkpoint()).expect("the disk works");
        }
        world
    }

    /// The published log is that of the ledger: head, proofs from tiles, and every entry.
    fn check(&self, shelf: &TileShelf) {
        let head = self.checkpoint().log;
        assert_eq!(shelf.checkpoint(), self.checkpoint());
        let tree = TiledTree::new(shelf, head.size);
        assert_eq!(tree.head().expect("the tiles are there"), head);
        for (index, entry) in (0..).zip(&self.entries).step_by(37) {
            let proof = tree.inclusion_proof(index).expect("the tiles are there");
            assert!(verify_inclusion(&entry.leaf_hash(), index, head.size, &proof, &head.root), "{index}");
            let old = tree.head_of(index + 1).expect("the tiles are there");
            let proof = tree.consistency_proof(index + 1).expect("the tiles are there");
            assert!(verify_consistency(&old, &head, &proof), "{index}");
        }
        assert_eq!(
            served(shelf, head),
            self.entries.iter().map(Entry::layout).map(|e| e.as_bytes().to_vec()).collect::<Vec<_>>()
        );
    }
}

/// Every entry that the bundles hold, each of which must hash to its leaf in the tiles.
fn served(shelf: &TileShelf, head: TreeHead) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while (entries.len() as u64) < head.size {
        let tile = |row| Tile::holding(row, entries.len() as u64, head.size).expect("within the log");
        let leaves = shelf.read(tile(Row::Hashes(0))).expect("the tile is there");
        let bundle = shelf.bytes(tile(Row::Entries)).expect("the bundle is there");
        let mut rest = bundle.as_slice();
        for leaf in leaves {
            let (len, behind) = rest.split_first_chunk::<2>().expect("a length");
            let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*len)));
            assert_eq!(leaf_hash(entry), leaf);
            entries.push(entry.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty(), "nothing stands behind the last entry");
    }
    entries
}

#[test]
fn the_public_log_follows_the_ledger() {
    let world = World::grown(&[1, 254, 1, 1, 255, 300, 7]);
    let again = world.open_on(&world.disk);
    assert!(!again.was_built(), "it is opened as it was left");
    world.check(&again.shelf());
    let empty = World::new();
    let log = empty.open_on(&empty.disk);
    assert!(!log.was_built(), "there is nothing to build");
    assert_eq!(log.shelf().checkpoint(), empty.checkpoint());
}

#[test]
fn only_what_is_published_is_served() {
    let mut world = World::new();
    let mut log = world.open_on(&world.disk);
    let shelf = log.shelf();
    let entries = world.block(5);
    log.add(&entries, world.checkpoint()).expect("the disk works");
    let absent = |path: &str| {
        let tile: Tile = path.parse().expect("a path");
        assert!(matches!(shelf.bytes(tile), Err(ShelfError::NoTile(_))), "{path}");
    };
    for path in ["tile/0/000", "tile/0/000.p/6", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/1"]
    {
        absent(path);
    }
    // A client with an older checkpoint still finds its partial tiles.
    for width in 1..=5 {
        let tile: Tile = format!("tile/0/000.p/{width}").parse().expect("a path");
        assert_eq!(shelf.bytes(tile).expect("it is there").len(), 32 * width);
        let bundle: Tile = format!("tile/entries/000.p/{width}").parse().expect("a path");
        let (bundle, next) = (shelf.bytes(bundle).expect("it is there"), world.entries[0].layout());
        assert!(bundle[2..].starts_with(next.as_bytes()));
    }
}

/// Missing, shorter, longer, or with any bit changed: the log is built again, byte by byte as it was.
#[test]
fn a_damaged_public_log_is_built_again_from_the_journal() {
    let world = World::grown(&[255, 3, 40]);
    let whole = world.disk.contents();
    let mut rng = Rng::new(7);
    for name in whole.keys().cycle().take(10 * (10 + 10 * scale() as usize)) {
        let mut files = whole.clone();
        let bytes = files.get_mut(name).expect("the file is there");
        match (rng.below(5), bytes.len() as u64) {
            (0, _) => bytes.push(0),
            (1, 1..) => bytes.truncate(rng.below(bytes.len() as u64) as usize),
            (_, len @ 1..) => bytes[rng.below(len) as usize] ^= 1 << rng.below(8),
            (_, 0) => bytes.extend([0; 32]),
        }
        let disk = SimDisk::holding(3, files);
        let log = world.open_on(&disk);
        assert!(log.was_built(), "{name}");
        assert_eq!(disk.contents(), whole, "{name}");
    }
    let missing = SimDisk::new(4);
    assert!(world.open_on(&missing).was_built());
    assert_eq!(missing.contents(), whole);
}

#[test]
fn a_public_log_that_lags_or_runs_ahead_is_built_again() {
    let mut world = World::grown(&[10, 10]);
    let ahead = world.disk.contents();
    world.block(1);
    assert!(world.open_on(&world.disk).was_built(), "a block that never reached the log");
    world.check(&world.open_on(&world.disk).shelf());
    let shorter = World::grown(&[10]);
    let disk = SimDisk::holding(5, ahead);
    assert!(shorter.open_on(&disk).was_built(), "blocks that are not the ledger's");
    shorter.check(&shorter.open_on(&disk).shelf());
}

/// Nothing is synced, so a power cut may leave anything: whatever it is, the log that opens is right.
#[test]
fn a_power_cut_never_leaves_a_wrong_public_log() {
    for seed in 0..20 * scale() {
        let mut world = World::new();
        world.disk = SimDisk::new(seed);
        let mut log = world.open_on(&world.disk);
        for count in [3, 250, 9] {
            let entries = world.block(count);
            log.add(&entries, world.checkpoint()).expect("the disk works");
        }
        let disk = world.disk.after_power_cut();
        let log = world.open_on(&disk);
        world.check(&log.shelf());
        assert!(!world.open_on(&disk).was_built(), "seed {seed}: once is enough");
    }
}
