//! The public log as others read it: checkpoints that an independent implementation verifies, and what is no checkpoint.

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, operator_key, origin},
    harness::{Chain, key},
};
use gridhour_protocol::{
    id::NetworkId,
    note::{NoteError, to_base64},
    units::Credits,
};
use signed_note::{StandardVerifier, VerifierList};

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
