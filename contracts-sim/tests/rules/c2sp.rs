//! The public log as others read it: checkpoints that an independent implementation verifies, and what is no checkpoint.

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, operator_key, origin},
    fraud::{CompareError, Conflict, Fraud, FraudError, compare},
    harness::{Chain, key},
    ledger::{admit::Admitted, entry::Entry},
    tx::Call,
};
use gridhour_protocol::{
    id::{BlockHash, NetworkId},
    merkle::{
        Hash, TreeHead,
        tile::{Row, Tile},
        tiled::{TileGrower, TileReader, TiledTree},
    },
    note::{NoteError, VerifierKey, to_base64},
    units::{Credits, Height},
};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{TileHashReader, prove_record, prove_tree};

/// A chain with `entries` entries, and two blocks that leave the log as it was.
fn chain(entries: u64) -> Chain {
    let mut chain = Chain::new();
    for _ in 0..entries {
        chain.fund(&key(1).public(), Credits(1));
    }
    chain.idle(2);
    chain
}

#[test]
fn another_implementation_verifies_our_checkpoints() {
    for entries in [0, 1, 5] {
        let chain = chain(entries);
        let checkpoint = Checkpoint::of(chain.state());
        let vkey = operator_key(&checkpoint.network, chain.operator().public()).unwrap();
        let ours = checkpoint.sign(chain.operator()).to_string();

        let theirs = signed_note::Note::from_bytes(ours.as_bytes()).expect("a note by their rules");
        let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey.to_string()).unwrap())]);
        let (good, unknown) = theirs.verify(&known).expect("the operator's signature");
        assert_eq!((good.len(), unknown.len()), (1, 0));
        let read = tlog_tiles::Checkpoint::from_bytes(theirs.text()).expect("a checkpoint by their rules");
        assert_eq!((read.origin(), read.size()), (origin(&checkpoint.network).as_str(), entries));
        assert_eq!(read.hash().0, checkpoint.log.root);
        assert_eq!(read.extension(), format!("height {}\nblock {}\n", entries + 2, checkpoint.hash));
    }
}

#[test]
fn we_verify_what_another_implementation_signs() {
    let chain = chain(3);
    let checkpoint = Checkpoint::of(chain.state());
    let vkey = operator_key(&checkpoint.network, chain.operator().public()).unwrap();
    let seed = to_base64(&[&[1], chain.operator().seed().as_slice()].concat());
    let skey = format!("PRIVATE+KEY+{}+{:08x}+{seed}", vkey.name(), vkey.id());
    let signer = signed_note::StandardSigner::new(&skey).expect("a key by their rules");
    let mut theirs = signed_note::Note::new(checkpoint.to_string().as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let signed = SignedCheckpoint::open(&theirs.to_bytes(), &vkey).expect("it is the operator's");
    assert_eq!(signed, checkpoint.sign(chain.operator()));
}

#[test]
fn one_checkpoint_has_one_text() {
    let checkpoint = Checkpoint::of(chain(2).state());
    let text = checkpoint.to_string();
    assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));
    let lines: Vec<&str> = text.lines().collect();
    for line in 0..lines.len() {
        let without: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != line).map(|(_, l)| *l).collect();
        assert!(Checkpoint::parse(&(without.join("\n") + "\n")).is_err(), "without line {line}");
    }
    for bad in [
        text.replace("\n2\n", "\n02\n"),
        text.replace("\n2\n", "\n9223372036854775808\n"),
        text.replace("height ", "height  "),
        text.replace("gridhour/", "example.com/"),
        text.to_uppercase(),
        text.trim_end().to_owned(),
        format!("{text}more\n"),
        format!("{text}\n"),
    ] {
        assert!(matches!(Checkpoint::parse(&bad), Err(CheckpointError::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_beginning_is_empty() {
    let begin = Checkpoint::of(Chain::new().state());
    assert_eq!(Checkpoint::parse(&begin.to_string()), Ok(begin));
    let other = Checkpoint { log: Checkpoint::of(chain(1).state()).log, ..begin };
    assert!(Checkpoint::parse(&other.to_string()).is_err(), "height 0 has no entries");
    let mut root = begin;
    root.log.root = [7; 32];
    assert!(Checkpoint::parse(&root.to_string()).is_err(), "an empty log has one root");
}

#[test]
fn strangers_sign_nothing() {
    let chain = chain(1);
    let checkpoint = Checkpoint::of(chain.state());
    let vkey = operator_key(&checkpoint.network, chain.operator().public()).unwrap();
    let open = |text: String| SignedCheckpoint::open(text.as_bytes(), &vkey);
    let forged = checkpoint.sign(&key(66)).to_string();
    assert_eq!(open(forged), Err(CheckpointError::Note(NoteError::Unsigned(vkey.name().into()))));
    let good = checkpoint.sign(chain.operator()).to_string();
    let moved = good.replacen("height 3", "height 4", 1);
    assert_eq!(open(moved), Err(CheckpointError::Note(NoteError::BadSignature(vkey.name().into()))));
    let network = NetworkId([9; 32]);
    let foreign = Checkpoint { network, ..checkpoint }.sign(chain.operator()).to_string();
    assert_eq!(open(foreign), Err(CheckpointError::Network(network)));
    assert_eq!(open(good.clone()).unwrap().to_string(), good);
}

/// The rows of a chain's log, as a server would have them.
struct Rows(Vec<Vec<Hash>>);

impl Rows {
    fn of(entries: &[Entry]) -> Self {
        let (mut rows, mut grower) = (vec![Vec::new(); 8], TileGrower::default());
        entries.iter().for_each(|entry| {
            grower.push(entry.leaf_hash(), |level, hash| rows[usize::from(level)].push(hash))
        });
        Self(rows)
    }
}

impl TileReader for Rows {
    type Error = Tile;

    fn read(&self, tile: Tile) -> Result<Vec<Hash>, Tile> {
        let Row::Hashes(level) = tile.row() else { return Err(tile) };
        let first = tile.first() as usize;
        let hashes = self.0[usize::from(level)].get(first..first + usize::from(tile.width()));
        hashes.map(<[Hash]>::to_vec).ok_or(tile)
    }
}

/// Theirs reads our tiles by the path that it asks for, and checks each against the root.
impl tlog_tiles::TileReader for Rows {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            // Their paths name the height, which c2sp.org/tlog-tiles fixes at 8 and leaves out.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let ours: Tile = path.parse().expect("a path by our rules");
            TileReader::read(self, ours).expect("a tile that a log of this size has").concat()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// A chain of `entries` entries, many in a block, and the entries.
fn long_chain(entries: u64) -> (Chain, Vec<Entry>) {
    let mut chain = Chain::new();
    let issuer = chain.issuer().clone();
    let mut log = Vec::new();
    while (log.len() as u64) < entries {
        let call = Call::Mint { to: key(1).public(), amount: Credits(1) };
        let left = (entries - log.len() as u64).min(200);
        let txs = (0..left).map(|_| Admitted::check(chain.sign(&issuer, call.clone())).unwrap()).collect();
        log.extend(chain.block(txs).into_iter().map(|answer| answer.expect("applied")));
    }
    (chain, log)
}

#[test]
fn another_implementation_proves_from_our_tiles_what_we_prove() {
    let (chain, entries) = long_chain(700);
    let log = Checkpoint::of(chain.state()).log;
    let rows = Rows::of(&entries);
    let theirs = TileHashReader::new(log.size, tlog_tiles::Hash(log.root), &rows);
    let tree = TiledTree::new(&rows, log.size);
    assert_eq!(tree.head(), Ok(log));
    for index in [0, 1, 255, 256, 511, 512, 699] {
        let ours: Vec<_> = tree.inclusion_proof(index).unwrap().into_iter().map(tlog_tiles::Hash).collect();
        assert_eq!(prove_record(log.size, index, &theirs).unwrap(), ours, "entry {index}");
        let ours: Vec<_> =
            tree.consistency_proof(index + 1).unwrap().into_iter().map(tlog_tiles::Hash).collect();
        assert_eq!(prove_tree(log.size, index + 1, &theirs).unwrap(), ours, "{index} and one");
    }
}

/// Two histories with a common beginning of 300 entries: the first goes on to 310, the second to `second`.
fn two_histories(second: u64) -> [(SignedCheckpoint, Rows); 2] {
    let (mut chain, common) = long_chain(300);
    let fork = chain.snapshot();
    let mut grown = |to: u8, count: u64| {
        chain.revert(fork.clone());
        let mut log = common.clone();
        log.extend((0..count).map(|_| chain.fund(&key(to).public(), Credits(1))));
        (Checkpoint::of(chain.state()).sign(chain.operator()), Rows::of(&log))
    };
    [grown(2, 10), grown(3, second - 300)]
}

fn vkey_of(signed: &SignedCheckpoint) -> VerifierKey {
    operator_key(&signed.checkpoint().network, Chain::new().operator().public()).unwrap()
}

#[test]
fn two_histories_are_a_proof_of_fraud_that_anyone_can_check() {
    for (second, conflict) in [(310, Conflict::Height), (330, Conflict::Rewritten)] {
        let [(one, _), (other, tiles)] = two_histories(second);
        let vkey = vkey_of(&one);
        for fraud in [compare(&one, &other, &vkey, &tiles), compare(&other, &one, &vkey, &tiles)] {
            let fraud = fraud.unwrap().expect("two histories");
            assert_eq!(fraud.conflict(), conflict);
            assert_eq!(
                Fraud::open(fraud.to_string().as_bytes(), &vkey),
                Ok(fraud),
                "a file, and nothing else"
            );
        }
    }
}

#[test]
fn what_two_texts_alone_contradict_each_other_in_has_a_name() {
    let one = Checkpoint::of(chain(5).state());
    let log = |size| TreeHead { size, ..one.log };
    let (height, hash) = (Height(one.height.0 + 1), BlockHash([9; 32]));
    let later = Checkpoint { height, hash, ..one };
    let root = [9; 32];
    let others = [
        (Checkpoint { hash, ..one }, Some(Conflict::Height)),
        (Checkpoint { height, ..one }, Some(Conflict::Block)),
        (Checkpoint { log: log(4), ..later }, Some(Conflict::Shrunk)),
        (Checkpoint { log: TreeHead { root, ..one.log }, ..later }, Some(Conflict::Size)),
        (Checkpoint { network: NetworkId([9; 32]), hash, ..one }, None),
        (Checkpoint { log: log(6), ..later }, None),
        (later, None),
        (one, None),
    ];
    for (other, conflict) in others {
        assert_eq!(Conflict::between(&one, &other), conflict, "{other:?}");
        assert_eq!(Conflict::between(&other, &one), conflict, "{other:?}");
    }
}

#[test]
fn one_history_is_no_fraud() {
    let (mut chain, mut log) = long_chain(300);
    let older = Checkpoint::of(chain.state()).sign(chain.operator());
    let vkey = vkey_of(&older);
    log.extend((0..30).map(|_| chain.fund(&key(2).public(), Credits(1))));
    let newer = Checkpoint::of(chain.state()).sign(chain.operator());
    chain.idle(1);
    let idle = Checkpoint::of(chain.state()).sign(chain.operator());
    let tiles = Rows::of(&log);
    for (one, other) in [(&older, &newer), (&newer, &idle), (&newer, &older), (&newer, &newer)] {
        assert_eq!(compare(one, other, &vkey, &tiles), Ok(None));
    }
    let nothing = Rows::of(&[]);
    assert!(matches!(compare(&older, &newer, &vkey, &nothing), Err(CompareError::Tiles(_))));
    // Whole tiles of as long a log, which begins alike and is another.
    let [_, (_, others)] = two_histories(330);
    let wrong = compare(&older, &newer, &vkey, &others);
    assert_eq!(wrong, Err(CompareError::OtherLog(newer.checkpoint().log)));
}

#[test]
fn no_honest_operator_is_convicted() {
    let [(one, _), (other, tiles)] = two_histories(330);
    let vkey = vkey_of(&one);
    let fraud = compare(&one, &other, &vkey, &tiles).unwrap().unwrap().to_string();
    let refused = |text: &str| Fraud::open(text.as_bytes(), &vkey).expect_err("no proof");
    // The same checkpoint twice, and two checkpoints without what shows that the one does not go before the other.
    let same = format!("note {}\n{one}", one.to_string().len());
    assert_eq!(refused(&format!("gridhour/fraud/v1\n{same}{same}")), FraudError::NoConflict);
    let alone = fraud.split("prefix").next().unwrap();
    assert_eq!(refused(alone), FraudError::NoConflict);
    // A checkpoint that another key signed.
    let forged = Checkpoint { height: Height(9), ..*one.checkpoint() }.sign(&key(66)).to_string();
    let forged = format!("gridhour/fraud/v1\n{same}note {}\n{forged}", forged.len());
    assert!(matches!(refused(&forged), FraudError::Checkpoint(_)));
    // The same proof, spelled with more.
    assert!(Fraud::open(format!("{fraud}\n").as_bytes(), &vkey).is_err());
    let padded = fraud.replacen("note ", "note 0", 1);
    assert!(matches!(refused(&padded), FraudError::Malformed(_)));
    // Any changed byte.
    for at in 0..fraud.len() {
        let mut bytes = fraud.clone().into_bytes();
        bytes[at] ^= 1;
        assert!(Fraud::open(&bytes, &vkey).is_err(), "byte {at}");
    }
}
