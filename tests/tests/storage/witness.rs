//! A witness never cosigns two histories, whoever asks in whatever order, and wherever the power is cut.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, SignedCheckpoint, operator_key},
    fraud::compare,
    harness::{Chain, key},
    witness::{AddRefusal, WitnessRefusal},
};
use gridhour_node::store::witness::{Cosigner, Witness, WitnessError};
use gridhour_protocol::{
    add_checkpoint::AddCheckpoint,
    merkle::{
        Hash, consistency_proof,
        tile::{Row, Tile},
        tiled::{TileGrower, TileReader},
    },
    note::{KeyKind, Note, NoteSignature, VerifierKey},
    units::Credits,
};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::scale;

const NAME: &str = "witness.example/w1";
/// Checkpoints of each history.
const LENGTH: u64 = 12;
/// Of them, those that both histories share.
const SHARED: u64 = 4;
/// Requests to a witness in one run.
const REQUESTS: u64 = 40;

/// Level 0 of a short log.
struct Leaves(Vec<Hash>);

impl TileReader for Leaves {
    type Error = Tile;

    fn read(&self, tile: Tile) -> Result<Vec<Hash>, Tile> {
        let width = usize::from(tile.width());
        self.0.get(..width).filter(|_| tile.row() == Row::Hashes(0)).map(<[Hash]>::to_vec).ok_or(tile)
    }
}

/// One history: its checkpoints, each with the log at that time.
fn history(branch: u8) -> Vec<(SignedCheckpoint, Leaves)> {
    let (mut chain, mut grower, mut leaves) = (Chain::new(), TileGrower::default(), Vec::new());
    let mut grown = |n: u64| {
        let to = if n < SHARED { 1 } else { branch };
        // Every third block leaves the log as it was.
        if n % 3 == 2 {
            chain.idle(1);
        } else {
            let entry = chain.fund(&key(to).public(), Credits(1));
            grower.push(entry.leaf_hash(), |_, hash| leaves.push(hash));
        }
        (Checkpoint::of(chain.state()).sign(chain.operator()), Leaves(leaves.clone()))
    };
    (0..LENGTH).map(&mut grown).collect()
}

fn operator() -> VerifierKey {
    let chain = Chain::new();
    operator_key(&chain.state().network(), chain.operator().public()).expect("a good key")
}

fn witness(disk: &SimDisk) -> Witness {
    Witness::new(Arc::new(disk.clone()), operator(), Cosigner { name: NAME.into(), key: key(77) })
}

/// What the log of a history sends to a witness that has `old` entries.
fn request((signed, leaves): &(SignedCheckpoint, Leaves), old: u64) -> AddCheckpoint {
    let proof = consistency_proof(&leaves.0, old as usize).unwrap_or_default();
    AddCheckpoint { old, proof, note: signed.note().clone() }
}

/// Sends a checkpoint as a log does: what the witness cosigned last is learned from its refusal.
fn send(
    witness: &Witness,
    asked: &(SignedCheckpoint, Leaves),
    seconds: u64,
) -> Result<NoteSignature, WitnessError<AddRefusal>> {
    match witness.add(&request(asked, 0), seconds) {
        Err(WitnessError::Refused(AddRefusal::OtherSize { last, .. })) => {
            witness.add(&request(asked, last), seconds)
        }
        answer => answer,
    }
}

/// That no two of the checkpoints that were cosigned are of two histories.
fn check_one_history(cosigned: &[&(SignedCheckpoint, Leaves)], run: &str) {
    for (at, (earlier, _)) in cosigned.iter().enumerate() {
        for (later, tiles) in &cosigned[at..] {
            assert!(earlier.checkpoint().height <= later.checkpoint().height, "{run}");
            let fraud = compare(earlier, later, &operator(), tiles).expect("the tiles are there");
            assert_eq!(fraud, None, "{run}: two histories were cosigned");
        }
    }
}

/// The note with the cosignature, which whoever knows the witness verifies.
fn check(signed: &SignedCheckpoint, cosignature: NoteSignature, seconds: u64) {
    let vkey = VerifierKey::new(NAME, KeyKind::Witness, key(77).public()).expect("a good key");
    let mut note = signed.note().clone();
    note.add(cosignature).expect("room");
    let note = Note::parse(note.to_string().as_bytes()).expect("a note");
    assert_eq!(note.verify(&vkey), Ok(Some(seconds)));
    assert_eq!(note.verify(&operator()), Ok(None));
}

#[test]
fn a_witness_follows_a_ledger_that_grows_and_accuses_one_that_does_not() {
    let disk = SimDisk::new(1);
    let [one, other] = [2, 3].map(history);
    for (seconds, (signed, tiles)) in (1_679_315_147..).zip(&one) {
        let cosignature = witness(&disk).cosign(signed, tiles, seconds).expect("it continues");
        check(signed, cosignature, seconds);
        let again = witness(&disk).cosign(signed, tiles, seconds + 9).expect("the same again");
        check(signed, again, seconds + 9);
    }
    let (last, tiles) = &one[0];
    let older = witness(&disk).cosign(last, tiles, 0);
    assert!(matches!(older, Err(WitnessError::Refused(WitnessRefusal::Older { .. }))), "{older:?}");
    for (signed, tiles) in &other[SHARED as usize + 1..] {
        let refused = witness(&disk).cosign(signed, tiles, 0);
        assert!(matches!(refused, Err(WitnessError::Refused(_))), "{refused:?}");
    }
    let (signed, tiles) = other.last().expect("it has some");
    let Err(WitnessError::Refused(WitnessRefusal::Fraud(fraud))) = witness(&disk).cosign(signed, tiles, 0)
    else {
        panic!("two blocks of one height are proof");
    };
    assert_eq!(fraud.checkpoints()[1], signed.checkpoint());
}

#[test]
fn a_witness_that_cannot_read_what_it_cosigned_cosigns_nothing() {
    let disk = SimDisk::new(1);
    let one = history(2);
    witness(&disk).cosign(&one[3].0, &one[3].1, 0).expect("the first");
    let (name, whole) = disk.contents().pop_last().expect("one file");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        for bytes in [damaged, whole[..at].to_vec()] {
            let disk = SimDisk::holding(2, [(name.clone(), bytes)]);
            let refused = witness(&disk).cosign(&one[5].0, &one[5].1, 0);
            assert!(matches!(refused, Err(WitnessError::Damaged(_))), "byte {at}: {refused:?}");
        }
    }
}

/// Whether it was cosigned; an error only if the witness's own record is damaged.
fn damage_of<R>(answer: Result<NoteSignature, WitnessError<R>>) -> Result<bool, String> {
    match answer {
        Ok(_) => Ok(true),
        Err(WitnessError::Damaged(error)) => Err(error.to_string()),
        Err(_) => Ok(false),
    }
}

#[test]
fn a_witness_that_is_sent_checkpoints_cosigns_one_history() {
    let disk = SimDisk::new(1);
    let [one, other] = [2, 3].map(history);
    for (seconds, asked) in (1_679_315_147..).zip(&one) {
        check(&asked.0, send(&witness(&disk), asked, seconds).expect("it continues"), seconds);
        check(&asked.0, send(&witness(&disk), asked, seconds + 9).expect("the same again"), seconds + 9);
    }
    let older = send(&witness(&disk), &one[0], 0);
    assert!(matches!(older, Err(WitnessError::Refused(_))), "{older:?}");
    for asked in &other[SHARED as usize..] {
        let refused = send(&witness(&disk), asked, 0);
        assert!(matches!(refused, Err(WitnessError::Refused(_))), "{refused:?}");
    }
}

/// Both histories are sent from many threads at once: whichever comes first, the other is never cosigned.
#[test]
fn concurrent_requests_are_never_cosigned_on_two_histories() {
    let histories = [2, 3].map(history);
    for seed in 0..10 * scale() {
        let witness = witness(&SimDisk::new(seed));
        let cosigned = Mutex::new(Vec::new());
        thread::scope(|threads| {
            for at in 0..4 {
                let (witness, cosigned, histories) = (&witness, &cosigned, &histories);
                threads.spawn(move || {
                    for asked in histories[at % 2].iter().skip(at / 2) {
                        if send(witness, asked, seed).is_ok() {
                            cosigned.lock().expect("no thread panics").push(asked);
                        }
                    }
                });
            }
        });
        let mut cosigned = cosigned.into_inner().expect("no thread panics");
        // Who was answered first is not who was heard first.
        cosigned.sort_by_key(|(signed, _)| signed.checkpoint().height);
        assert!(!cosigned.is_empty(), "seed {seed}: somebody is served");
        check_one_history(&cosigned, &format!("seed {seed}"));
    }
}

/// Requests for checkpoints of both histories in a random order, the power cut at a random operation of each few: all
/// that was ever cosigned is one history.
#[test]
fn whatever_is_asked_and_wherever_the_power_is_cut_cosignatures_are_of_one_history() {
    let [one, other] = [2, 3].map(history);
    let (mut given, mut refused) = (0, 0);
    for seed in 0..60 * scale() {
        let mut rng = Rng::new(seed);
        let mut disk = SimDisk::new(seed);
        let mut cosigned: Vec<&(SignedCheckpoint, Leaves)> = Vec::new();
        for _ in 0..REQUESTS {
            let side = if rng.one_in(2) { &one } else { &other };
            // Mostly forward, so that there is something to cosign.
            let asked = &side[(rng.below(LENGTH).min(rng.below(LENGTH))) as usize];
            if rng.one_in(3) {
                disk.cut_power_at(disk.operations() + rng.below(7));
            }
            // Half of the checkpoints are fetched, half are sent.
            let damage = if rng.one_in(2) {
                damage_of(witness(&disk).cosign(&asked.0, &asked.1, seed))
            } else {
                damage_of(send(&witness(&disk), asked, seed))
            };
            match damage {
                Ok(true) => cosigned.push(asked),
                Ok(false) => refused += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
            if rng.one_in(3) {
                disk = disk.after_power_cut();
            }
            disk.restore_power();
        }
        given += cosigned.len();
        check_one_history(&cosigned, &format!("seed {seed}"));
    }
    assert!(given > 100 && refused > 100, "{given} given, {refused} refused");
}
