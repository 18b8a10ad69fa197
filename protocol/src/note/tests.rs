//! The published notes, and what is not a note.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::key;

// Key, secret seed and note of the documentation of Go's golang.org/x/mod/sumdb/note, which the C2SP text describes.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_LINE: &str = "\u{2014} PeterNeumann \
    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
// The notes printed in c2sp.org/signed-note, tlog-checkpoint and tlog-cosignature. Their keys are not published.
const QUASIMODO: &str = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned \u{e8} subito sera.\n\n\
    \u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
const SOFA: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn peters() -> Note {
    Note::parse(format!("{PETER_TEXT}\n{PETER_LINE}").as_bytes()).unwrap()
}

#[test]
fn the_published_note_verifies_and_is_signed_again_byte_by_byte() {
    let peter: VerifierKey = PETER.parse().unwrap();
    assert_eq!((peter.name(), peter.id(), peter.to_string().as_str()), ("PeterNeumann", 0xc74f_20a3, PETER));
    assert_eq!(peters().verify(&peter), Ok(None));
    let seed = from_base64(PETER_SECRET).unwrap()[1..].try_into().unwrap();
    let secret = SecretKey::from_seed(seed);
    assert_eq!(secret.public(), peter.key());
    assert_eq!(Note::signed(PETER_TEXT.into(), "PeterNeumann", &secret), Ok(peters()));
}

#[test]
fn printed_notes_have_one_spelling() {
    for text in [QUASIMODO, SOFA] {
        assert_eq!(Note::parse(text.as_bytes()).unwrap().to_string(), text);
    }
    let quasimodo = Note::parse(QUASIMODO.as_bytes()).unwrap();
    assert!(quasimodo.text().ends_with("subito sera.\n"), "the last empty line ends the text");
    // The time in the text of tlog-cosignature.
    let sofa = Note::parse(SOFA.as_bytes()).unwrap();
    assert_eq!(sofa.signatures()[1].bytes[..TIME_BYTES], 1_679_315_147u64.to_be_bytes());
}

#[test]
fn other_texts_are_no_notes() {
    let good = peters().to_string();
    for (what, bad) in [
        ("nothing", String::new()),
        ("no signature", PETER_TEXT.into()),
        ("an empty line alone", format!("{PETER_TEXT}\n")),
        ("no newline at the end", good.trim_end().into()),
        ("something behind", format!("{good}x")),
        ("a tab", good.replacen(' ', "\t", 1)),
        ("a hyphen", good.replace('\u{2014}', "-")),
        ("two spaces", good.replace("PeterNeumann ", "PeterNeumann  ")),
        ("a plus in the name", good.replace("PeterN", "Peter+")),
        ("no padding", good.replace("AM=", "AM")),
        ("bits behind the last byte", good.replace("AM=", "AN=")),
        ("three bytes", format!("{PETER_TEXT}\n\u{2014} a AAAA\n")),
    ] {
        assert!(matches!(Note::parse(bad.as_bytes()), Err(NoteError::Malformed(_))), "{what}");
    }
    let many = format!("{PETER_TEXT}\n{}", PETER_LINE.repeat(NOTE_SIGNATURES_MAX + 1));
    assert_eq!(Note::parse(many.as_bytes()), Err(NoteError::Malformed("too many signatures")));
    assert_eq!(Note::parse(&vec![b'a'; NOTE_BYTES_MAX + 1]), Err(NoteError::TooLong(NOTE_BYTES_MAX + 1)));
}

#[test]
fn a_signature_counts_only_for_its_text_name_kind_and_key() {
    let note = Note::signed("one\n".into(), "log.example", &key(1)).unwrap();
    let vkey = |name, kind, n| VerifierKey::new(name, kind, key(n).public()).unwrap();
    assert_eq!(note.verify(&vkey("log.example", KeyKind::Log, 1)), Ok(None));
    let strangers = [
        ("log.exampl", KeyKind::Log, 1),
        ("log.example", KeyKind::Witness, 1),
        ("log.example", KeyKind::Log, 2),
    ];
    for (name, kind, n) in strangers {
        assert_eq!(note.verify(&vkey(name, kind, n)), Err(NoteError::Unsigned(name.into())));
    }
    let moved = Note { text: "two\n".into(), ..note.clone() };
    let refused = Err(NoteError::BadSignature("log.example".into()));
    assert_eq!(moved.verify(&vkey("log.example", KeyKind::Log, 1)), refused);
    let mut both = note.clone();
    both.signatures.push(NoteSignature { bytes: vec![0; 64], ..note.signatures[0].clone() });
    let known = vkey("log.example", KeyKind::Log, 1);
    assert_eq!(both.verify(&known), refused, "a bad line spoils the note");
    both.signatures.reverse();
    assert_eq!(both.good_line(&known), Some((&note.signatures[0], None)), "and hides no good one");
    assert_eq!(moved.good_line(&known), None);
}

#[test]
fn a_cosignature_carries_its_time() {
    let mut note = Note::signed("one\n".into(), "log.example", &key(1)).unwrap();
    let witness = VerifierKey::new("w.example", KeyKind::Witness, key(2).public()).unwrap();
    for time in [1_679_315_147, 1_679_315_148] {
        note.add(note.cosignature("w.example", &key(2), time).unwrap()).unwrap();
        let again = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(again.verify(&witness), Ok(Some(time)));
        assert_eq!(again.signatures().len(), 2, "the newer line takes the place of the older");
    }
    assert_eq!(note.only(&witness).signatures().len(), 1);
    let far = note.cosignature("w.example", &key(2), 1 << 63).unwrap();
    note.add(far).unwrap();
    assert!(note.verify(&witness).is_err(), "no time is after 2^63 - 1");
}

#[test]
fn vkeys_have_one_spelling() {
    for bad in [
        "",
        "PeterNeumann",
        &PETER.replace("c74f20a3", "c74f20a4"),
        &PETER.replace("c74f20a3", "C74F20A3"),
        &PETER.replace("PeterNeumann", "Peter Neumann"),
        &PETER.replace("+AR", "+Ah"),
        &format!("{PETER}="),
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    let weak = crate::signed::PublicKey([0; 32]);
    assert!(VerifierKey::new("weak.example", KeyKind::Log, weak).is_err());
}

#[test]
fn numbers_have_one_spelling() {
    assert_eq!(decimal("0"), Some(0));
    assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
    for bad in ["", "00", "01", "+1", "-1", " 1", "1 ", "18446744073709551616", "0x1"] {
        assert_eq!(decimal(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_note_comes_back(text in "[^\\x00-\\x1f]{1,40}(\n[^\\x00-\\x1f]{0,40}){0,4}", name in "[a-z./]{1,20}", n: u8) {
        let text = text + "\n";
        let note = Note::signed(text, &name, &key(n)).unwrap();
        let vkey = VerifierKey::new(&name, KeyKind::Log, key(n).public()).unwrap();
        let again = Note::parse(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&again, &note);
        prop_assert_eq!(again.verify(&vkey), Ok(None));
        prop_assert_eq!(vkey.to_string().parse(), Ok(vkey));
    }
}
