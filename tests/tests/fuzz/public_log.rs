//! What is said about the public log, by whoever says it: notes, keys, checkpoints, paths of tiles, proofs of fraud.

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, operator_key},
    fraud::{Fraud, compare},
    harness::{Chain, key},
    witness::admit,
    witnesses::LogKeys,
};
use gridhour_protocol::{
    add_checkpoint::AddCheckpoint,
    merkle::{
        Hash, consistency_proof,
        tile::{Row, TILE_PATH_BYTES_MAX, Tile},
        tiled::{TileGrower, TileReader},
    },
    note::{Note, NoteError, NoteSignature, VerifierKey},
    units::Credits,
};
use testkit::fuzz::Target;

use crate::{
    run,
    samples::{busy_chain, witnessed_network},
};

/// Feeds a decoder of texts: what it takes, it prints again byte by byte.
fn one_spelling<T: ToString, E: ToString>(
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static str],
    decode: impl Fn(&[u8]) -> Result<T, E>,
) {
    run(&Target::new(name, corpus).with_words(words), |bytes| {
        let value = decode(bytes).map_err(|error| error.to_string())?;
        assert_eq!(value.to_string().as_bytes(), bytes, "one value, one spelling");
        Ok(())
    });
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

fn signed() -> (SignedCheckpoint, VerifierKey) {
    let chain = busy_chain();
    let checkpoint = Checkpoint::of(chain.state());
    let vkey = operator_key(&checkpoint.network, chain.operator().public()).expect("a good key");
    (checkpoint.sign(chain.operator()), vkey)
}

#[test]
fn notes() {
    let (one, _) = signed();
    let mut cosigned = one.note().clone();
    cosigned.add(cosigned.cosignature("w.example", &key(9), 1_679_315_147).expect("a name")).expect("room");
    let corpus = vec![one.to_string().into_bytes(), cosigned.to_string().into_bytes()];
    one_spelling("note", corpus, &["\n\n", "\u{2014} ", "=", "+", " "], Note::parse);
}

#[test]
fn verifier_keys() {
    let (_, vkey) = signed();
    let peter = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let corpus = vec![vkey.to_string().into_bytes(), peter.as_bytes().to_vec()];
    one_spelling("vkey", corpus, &["+", "=", "/"], |bytes| {
        text(bytes)?.parse::<VerifierKey>().map_err(|error| error.to_string())
    });
}

#[test]
fn checkpoints() {
    let begin = Checkpoint::of(Chain::new().state());
    let corpus = [*signed().0.checkpoint(), begin].map(|checkpoint| checkpoint.to_string().into_bytes());
    one_spelling("checkpoint", corpus.to_vec(), &["gridhour/", "height ", "block ", "\n", "0"], |bytes| {
        Checkpoint::parse(text(bytes)?).map_err(|error| error.to_string())
    });
}

/// What a log sends to a witness. Whatever is admitted is what the operator signed, and continues what was cosigned.
#[test]
fn add_checkpoint_requests() {
    let (mut chain, mut leaves) = (Chain::new(), Vec::new());
    let mut grown = |amount| {
        leaves.push(chain.fund(&key(1).public(), Credits(amount)).leaf_hash());
        (Checkpoint::of(chain.state()).sign(chain.operator()), leaves.clone())
    };
    let heads = [1, 2, 3, 4, 5].map(&mut grown);
    let (last, _) = &heads[2];
    let request = |old: u64| {
        let (new, leaves) = &heads[4];
        let proof = consistency_proof(leaves, old as usize).unwrap_or_default();
        AddCheckpoint { old, proof, note: new.note().clone() }
    };
    let vkey = operator_key(&last.checkpoint().network, key(254).public()).expect("a good key");
    let corpus = [0, 3, 5].map(|old| request(old).to_string().into_bytes());
    one_spelling("add-checkpoint", corpus.to_vec(), &["old ", "\n\n", "\u{2014} ", "0", "="], |bytes| {
        let read = AddCheckpoint::parse(bytes)?;
        if let Ok(admitted) = admit(Some(last), &read, &vkey) {
            assert_eq!(admitted, heads[4].0, "the operator signed no other");
            assert_eq!((read.old, &read.proof), (3, &request(3).proof), "only this was proven to continue");
        }
        Ok::<_, NoteError>(read)
    });
}

/// Of whatever stands under a checkpoint, what is kept are the operator's line and good ones of witnesses, one of each.
#[test]
fn cosigned_checkpoints() {
    let (one, _) = signed();
    let keys = LogKeys::of(&witnessed_network().body).expect("good keys");
    let mut note = one.note().clone();
    for (name, n) in [("w.example/1", 1), ("w.example/2", 2), ("stranger.example", 9)] {
        note.add(note.cosignature(name, &key(n), 1_679_315_147).expect("a name")).expect("room");
    }
    let corpus = vec![note.to_string().into_bytes(), one.to_string().into_bytes()];
    one_spelling("cosigned-checkpoint", corpus, &["\u{2014} ", "\n", "w.example/1", "="], |bytes| {
        let opened = SignedCheckpoint::open(bytes, keys.operator())?;
        let known = keys.known_lines(&opened);
        let lines = known.note().signatures();
        assert!(lines.len() <= 1 + keys.witnesses().len(), "no more lines than witnesses");
        assert_eq!(keys.count(known.note()).cosigned.len() + 1, lines.len(), "each of them counts");
        let honest = |line: &NoteSignature| note.signatures().contains(line);
        assert!(lines.iter().all(honest), "nobody else can sign");
        Ok::<_, CheckpointError>(opened)
    });
}

/// Nothing but what the operator signed passes: other lines may come and go, its text and signature may not.
#[test]
fn signed_checkpoints() {
    let (one, vkey) = signed();
    one_spelling("signed-checkpoint", vec![one.to_string().into_bytes()], &["\u{2014} ", "\n"], |bytes| {
        let opened = SignedCheckpoint::open(bytes, &vkey)?;
        assert_eq!(opened.bare(&vkey), one, "only one was ever signed");
        Ok::<_, CheckpointError>(opened)
    });
}

#[test]
fn tile_paths() {
    let corpus = ["tile/0/x001/x234/067", "tile/entries/000.p/255", "tile/7/003.p/1"];
    let corpus = corpus.map(|path| path.as_bytes().to_vec()).to_vec();
    one_spelling("tile-path", corpus, &["tile/", "entries/", ".p/", "/x", "000"], |bytes| {
        let tile: Tile = text(bytes)?.parse().map_err(|_| format!("{} bytes", bytes.len().min(40)))?;
        assert!(tile.to_string().len() <= TILE_PATH_BYTES_MAX);
        Ok::<_, String>(tile)
    });
}

struct Rows(Vec<Hash>);

impl TileReader for Rows {
    type Error = Tile;

    fn read(&self, tile: Tile) -> Result<Vec<Hash>, Tile> {
        let level_0 = tile.row() == Row::Hashes(0) && tile.first() == 0;
        if level_0 { Ok(self.0[..usize::from(tile.width())].to_vec()) } else { Err(tile) }
    }
}

/// Two histories of one chain, the second longer by two entries; and the proof.
fn fraud() -> (Fraud, VerifierKey) {
    let (mut chain, mut rows) = (Chain::new(), Rows(Vec::new()));
    chain.fund(&key(1).public(), Credits(1));
    let fork = chain.snapshot();
    chain.fund(&key(1).public(), Credits(2));
    let one = Checkpoint::of(chain.state()).sign(chain.operator());
    chain.revert(fork);
    let issuance = [3, 4, 5].map(|amount| chain.fund(&key(1).public(), Credits(amount)).leaf_hash());
    let other = Checkpoint::of(chain.state()).sign(chain.operator());
    let vkey = operator_key(&one.checkpoint().network, chain.operator().public()).expect("a good key");
    let mut grower = TileGrower::default();
    let first = {
        let mut again = Chain::new();
        again.fund(&key(1).public(), Credits(1)).leaf_hash()
    };
    for leaf in [first].into_iter().chain(issuance) {
        grower.push(leaf, |_, hash| rows.0.push(hash));
    }
    (compare(&one, &other, &vkey, &rows).expect("the tiles are there").expect("two histories"), vkey)
}

/// Whatever is taken convicts an operator that signed both.
#[test]
fn fraud_proofs() {
    let (fraud, vkey) = fraud();
    let corpus = vec![fraud.to_string().into_bytes()];
    one_spelling("fraud", corpus, &["gridhour/fraud/v1\n", "note ", "prefix ", "\n"], |bytes| {
        let opened = Fraud::open(bytes, &vkey)?;
        assert_eq!(opened.checkpoints(), fraud.checkpoints(), "the operator signed no other two");
        Ok::<_, gridhour_contracts_sim::fraud::FraudError>(opened)
    });
}
