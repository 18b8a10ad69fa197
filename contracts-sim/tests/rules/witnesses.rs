//! Witnesses of the public log: whom a network may name, whose cosignatures count, and what a request for one
//! must show.

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, SignedCheckpoint},
    fraud::{Conflict, Fraud},
    harness::{Chain, key},
    network_file::NetworkFile,
    witness::{AddRefusal, admit},
    witnesses::{Cosignature, LogKeys, NamedWitness, Witnesses},
};
use gridhour_protocol::{
    add_checkpoint::AddCheckpoint,
    merkle::{Hash, consistency_proof},
    note::{KeyKind, Note, VerifierKey},
    units::Credits,
    wire::Wire,
};

fn named(name: &str, n: u8) -> NamedWitness {
    NamedWitness { name: name.into(), key: key(n).public() }
}

fn three() -> Witnesses {
    Witnesses {
        named: vec![named("w.example/1", 1), named("w.example/2", 2), named("w.example/3", 3)],
        required: 2,
    }
}

fn file(witnesses: Witnesses) -> NetworkFile {
    NetworkFile { witnesses, ..Chain::new().network_file().body }
}

fn keys() -> LogKeys {
    LogKeys::of(&file(three())).expect("good keys")
}

/// A ledger that grows by one entry a step, with the leaves of its log.
struct Grown {
    chain: Chain,
    leaves: Vec<Hash>,
}

impl Grown {
    fn new() -> Self {
        Self { chain: Chain::new(), leaves: Vec::new() }
    }

    /// Pays `amount` to somebody, and signs the checkpoint.
    fn pay(&mut self, amount: u64) -> SignedCheckpoint {
        self.leaves.push(self.chain.fund(&key(1).public(), Credits(amount)).leaf_hash());
        self.signed()
    }

    fn signed(&self) -> SignedCheckpoint {
        Checkpoint::of(self.chain.state()).sign(self.chain.operator())
    }

    /// What this log would send to a witness that has `old` entries.
    fn request(&self, old: usize) -> AddCheckpoint {
        let proof = consistency_proof(&self.leaves, old).filter(|_| old > 0).unwrap_or_default();
        AddCheckpoint { old: old as u64, proof, note: self.signed().note().clone() }
    }
}

/// A way to spoil a list of witnesses.
type Change = fn(&mut Witnesses);

#[test]
fn a_network_names_nobody_twice_and_can_have_what_it_requires() {
    let with = |change: Change| {
        let mut witnesses = three();
        change(&mut witnesses);
        file(witnesses).check_bounds()
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|all| *all = Witnesses::default()), Ok(()), "a network may have none");
    let faults: [(&str, Change); 8] = [
        ("are called", |all| all.named[1].name = "w.example/1".into()),
        ("the key of another", |all| all.named[1].key = key(1).public()),
        ("the operator's key", |all| all.named[2].key = key(254).public()),
        ("a word without spaces", |all| all.named[0].name = "w example".into()),
        ("not a usable ed25519 key", |all| all.named[0].key.0 = [0; 32]),
        ("4 of 3", |all| all.required = 4),
        ("0 of 3", |all| all.required = 0),
        ("17 is over the limit", |all| all.named = (1..=17).map(|n| named(&format!("w/{n}"), n)).collect()),
    ];
    for (said, change) in faults {
        let fault = with(change).expect_err(said);
        assert!(fault.contains(said), "{said}: {fault}");
    }
    let changed = file(Witnesses { required: 1, ..three() });
    assert_eq!(changed.id(), file(three()).id(), "the network is the same whoever its witnesses are");
}

#[test]
fn cosignatures_of_named_witnesses_count_and_nobody_elses() {
    let (keys, mut grown) = (keys(), Grown::new());
    let signed = grown.pay(1);
    let mut note = signed.note().clone();
    for (name, n) in [("w.example/2", 2), ("stranger", 9), ("w.example/1", 9), ("w.example/3", 3)] {
        note.add(note.cosignature(name, &key(n), 100 + u64::from(n)).expect("a name")).expect("room");
    }
    let quorum = keys.count(&note);
    let said: Vec<_> =
        quorum.cosigned.iter().map(|Cosignature { name, seconds }| (&**name, *seconds)).collect();
    assert_eq!(said, [("w.example/2", 102), ("w.example/3", 103)]);
    assert!(quorum.is_enough() && (quorum.required, quorum.named) == (2, 3));

    let opened =
        SignedCheckpoint::open(note.to_string().as_bytes(), keys.operator()).expect("the operator's");
    let known = keys.known_lines(&opened);
    assert_eq!(known.note().signatures().len(), 3, "the operator and two witnesses: {known}");
    assert_eq!(keys.merge(&signed, &note), known);
    let moved = grown.pay(1);
    assert_eq!(keys.merge(&moved, &note), moved, "a cosignature is of one text");
    assert_eq!(keys.count(&moved.note().with_lines(note.signatures().to_vec())).cosigned, []);
}

mod never {
    use super::*;

    /// One key may have many lines, many times and, if a file says so, many names: it is one witness.
    #[test]
    fn one_signer_never_counts_twice_in_a_quorum() {
        let mut grown = Grown::new();
        let signed = grown.pay(1);
        let line = |name: &str, seconds| signed.note().cosignature(name, &key(1), seconds).expect("a name");
        let lines = |name: &str| (0..5).map(|seconds| line(name, seconds)).collect::<Vec<_>>();
        let note = signed.note().with_lines([lines("w.example/1"), lines("w.example/2")].concat());
        assert_eq!(keys().count(&note).cosigned.len(), 1, "its lines under another's name are nobody's");

        let twice = Witnesses { named: vec![named("w.example/1", 1), named("w.example/2", 1)], required: 2 };
        assert!(file(twice.clone()).check_bounds().is_err(), "no network file may say so");
        let keys = LogKeys::of(&file(twice)).expect("good keys");
        let quorum = keys.count(&note);
        assert_eq!(quorum.cosigned.len(), 1, "{quorum:?}");
        assert!(!quorum.is_enough());
    }
}

#[test]
fn a_witness_admits_what_continues_and_answers_the_rest_as_the_text_says() {
    let (keys, mut grown) = (keys(), Grown::new());
    let operator = keys.operator();
    assert_eq!(admit(None, &grown.request(0), operator), Ok(grown.signed()), "an empty log begins");
    let seen = [1, 2, 3, 4, 5].map(|amount| grown.pay(amount));
    let last = Some(&seen[2]);
    let status =
        |last: Option<&SignedCheckpoint>, request: &AddCheckpoint| match admit(last, request, operator) {
            Ok(signed) => {
                assert_eq!(signed.note().text(), request.note.text());
                200
            }
            Err(refusal) => refusal.status(),
        };
    let good = grown.request(3);
    assert_eq!(status(last, &good), 200);
    assert_eq!(status(None, &grown.request(0)), 200);
    let mut decorated = good.clone();
    decorated.note.add(good.note.cosignature("w", &key(9), 1).expect("a name")).expect("room");
    assert_eq!(status(last, &decorated), 200, "lines of strangers are ignored");

    let text = good.note.text();
    let note_of = |text: String, n| Note::signed(text, operator.name(), &key(n)).expect("a note");
    let with_note = |note| AddCheckpoint { note, ..good.clone() };
    let other_log = text.replacen("gridhour/", "example.com/", 1);
    assert_eq!(status(last, &with_note(note_of(other_log, 254))), 404);
    assert_eq!(status(last, &with_note(note_of(text.into(), 66))), 403);
    let longer = note_of(format!("{text}more\n"), 254);
    assert_eq!(status(last, &with_note(longer)), 400, "signed, but no checkpoint of a ledger");
    assert_eq!(status(last, &AddCheckpoint { old: 6, ..good.clone() }), 400);
    assert_eq!(status(None, &good), 409);
    for old in [0, 2, 4] {
        let refused = admit(last, &grown.request(old), operator).expect_err("another size");
        assert_eq!(refused, AddRefusal::OtherSize { last: 3, old: old as u64 });
        assert_eq!(refused.status(), 409);
    }
    for proof in
        [vec![], good.proof[1..].to_vec(), [good.proof.clone(), vec![[7; 32]]].concat(), vec![[7; 32]; 63]]
    {
        assert_eq!(status(last, &AddCheckpoint { proof, ..good.clone() }), 422);
    }
    let with_hash = AddCheckpoint { proof: vec![[7; 32]], ..grown.request(0) };
    assert_eq!(status(None, &with_hash), 422, "nothing is proven of an empty log");
}

#[test]
fn a_quiet_ledger_is_admitted_again_and_never_back() {
    let (keys, mut grown) = (keys(), Grown::new());
    let early = grown.pay(1);
    let request = grown.request(1);
    grown.chain.idle(1);
    let late = grown.signed();
    assert_eq!(admit(Some(&early), &grown.request(1), keys.operator()), Ok(late.clone()));
    assert_eq!(admit(Some(&early), &request, keys.operator()), Ok(early), "the same again");
    let refused = admit(Some(&late), &request, keys.operator()).expect_err("an older block");
    assert_eq!((refused.status(), matches!(refused, AddRefusal::Older { .. })), (409, true));
}

/// Whatever a forked log sends, it is refused; and where its own proof or the two texts show it, its operator
/// is convicted.
#[test]
fn a_forked_log_is_refused_and_convicts_its_operator() {
    let keys = keys();
    let operator = keys.operator();
    let (mut proven, mut refused) = (0, 0);
    for shared in 0..5 {
        for (ours, theirs) in [(1, 1), (1, 4), (4, 1), (3, 9)] {
            let mut grown = Grown::new();
            (0..shared).for_each(|_| drop(grown.pay(1)));
            let fork = grown.chain.snapshot();
            let last = (0..ours).map(|_| grown.pay(2)).last().expect("some");
            let size = grown.leaves.len();
            grown.chain.revert(fork);
            grown.leaves.truncate(shared);
            (0..theirs).for_each(|_| drop(grown.pay(3)));
            let request = grown.request(size.min(grown.leaves.len()));
            let refusal = admit(Some(&last), &request, operator).expect_err("another history");
            assert!([409, 422].contains(&refusal.status()), "{shared} {ours} {theirs}: {refusal}");
            refused += 1;
            let AddRefusal::Fraud(fraud) = refusal else { continue };
            proven += 1;
            assert_eq!(
                Fraud::open(fraud.to_string().as_bytes(), operator),
                Ok(*fraud.clone()),
                "a file for anyone"
            );
            let texts = Conflict::between(fraud.checkpoints()[0], fraud.checkpoints()[1]);
            assert_eq!(fraud.conflict(), texts.unwrap_or(Conflict::Rewritten));
        }
    }
    assert!(proven > 10, "{proven} of {refused}");
}

/// A witness written by another hand, as far as there is one: it reads our request by their notes and their proofs.
#[test]
fn another_implementation_takes_our_requests() {
    let mut grown = Grown::new();
    let sizes = 40;
    let heads: Vec<_> = (0..sizes).map(|amount| *grown.pay(amount + 1).checkpoint()).collect();
    let vkey = keys().operator().to_string();
    for old in &heads {
        let body = grown.request(old.log.size as usize).to_string();
        let (head, note) = body.split_once("\n\n").expect("an empty line");
        let note = signed_note::Note::from_bytes(note.as_bytes()).expect("a note by their rules");
        let known = signed_note::StandardVerifier::new(&vkey).expect("a key by their rules");
        note.verify(&signed_note::VerifierList::new(vec![Box::new(known)])).expect("the log's signature");
        let read = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("a checkpoint by their rules");
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some(format!("old {}", old.log.size).as_str()));
        let proof = lines.map(|line| tlog_tiles::Hash::parse_hash(line).expect("a hash")).collect();
        let before = tlog_tiles::Hash(old.log.root);
        tlog_tiles::check_tree(&proof, read.size(), *read.hash(), old.log.size, before)
            .expect("it continues");
    }
}

/// Their verifiers see what ours counts: the key id of kind 0x04, and a signature over header, time and text.
#[test]
fn another_implementation_verifies_our_cosignatures() {
    struct Theirs(VerifierKey);
    impl signed_note::Verifier for Theirs {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn key_id(&self) -> u32 {
            signed_note::key_id(self.0.name(), &[&[4], self.0.key().0.as_slice()].concat())
        }
        fn verify(&self, text: &[u8], line: &[u8]) -> bool {
            let (time, signature) = line.split_first_chunk::<8>().expect("a time");
            let header = format!("cosignature/v1\ntime {}\n", u64::from_be_bytes(*time));
            let plain = VerifierKey::new(self.0.name(), KeyKind::Log, self.0.key()).expect("a good key");
            let plain = signed_note::StandardVerifier::new(&plain.to_string()).expect("a key by their rules");
            plain.verify(&[header.as_bytes(), text].concat(), signature)
        }
    }
    let signed = Grown::new().pay(1);
    let mut note = signed.note().clone();
    note.add(note.cosignature("w.example/1", &key(1), 1_679_315_147).expect("a name")).expect("room");
    let witness = VerifierKey::new("w.example/1", KeyKind::Witness, key(1).public()).expect("a good key");
    let read = signed_note::Note::from_bytes(note.to_string().as_bytes()).expect("a note by their rules");
    let known = signed_note::VerifierList::new(vec![Box::new(Theirs(witness))]);
    let (good, unknown) = read.verify(&known).expect("the witness's");
    assert_eq!((good.len(), unknown.len()), (1, 1));
}
