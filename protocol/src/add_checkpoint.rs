//! What a log asks of a witness (c2sp.org/tlog-witness, `add-checkpoint`): its newest checkpoint, and the proof that it
//! continues the one that the witness cosigned last.
//!
//! ```text
//! old 5                      entries of what the witness cosigned last, as far as the log knows
//! <hash in base64>           the RFC 6962 consistency proof, at most 63 of them
//!
//! <a signed checkpoint>
//! ```
//! Every request has one spelling: what [`AddCheckpoint::parse`] takes, it prints again byte by byte.

use core::fmt;

use crate::{
    merkle::Hash,
    note::{NOTE_BYTES_MAX, Note, NoteError, decimal, hash_from_base64, to_base64},
};

/// Hashes of the longest proof that may be sent.
pub const ADD_HASHES_MAX: usize = 63;
/// Bytes of the longest request: the old size, the proof, an empty line and a note.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = 26 + 45 * ADD_HASHES_MAX + NOTE_BYTES_MAX;
/// The content type of an answer that names the size which the witness cosigned last.
pub const TLOG_SIZE_TYPE: &str = "text/x.tlog.size";

/// A request for a cosignature. Nobody has checked the note yet, nor the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Entries of the checkpoint that the witness cosigned last; 0 if it never did.
    pub old: u64,
    /// The proof that the log continues that one.
    pub proof: Vec<Hash>,
    /// The new checkpoint.
    pub note: Note,
}

impl AddCheckpoint {
    /// Parses the body of a request.
    ///
    /// # Errors
    /// If it is over a limit, or not the form of one.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let text = str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        let (head, note) =
            text.split_once("\n\n").ok_or(NoteError::Malformed("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old = old.ok_or(NoteError::Malformed("the first line is `old` and a size"))?;
        let proof = parse_proof(lines)?;
        Ok(Self { old, proof, note: Note::parse(note.as_bytes())? })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", to_base64(hash)))?;
        write!(f, "\n{}", self.note)
    }
}

fn parse_proof<'l>(lines: impl Iterator<Item = &'l str>) -> Result<Vec<Hash>, NoteError> {
    let mut proof = Vec::new();
    for line in lines {
        if proof.len() == ADD_HASHES_MAX {
            return Err(NoteError::Malformed("a proof of more than 63 hashes"));
        }
        proof.push(hash_from_base64(line).ok_or(NoteError::Malformed("a line of the proof is no hash"))?);
    }
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request that c2sp.org/tlog-witness prints.
    const PRINTED: &str = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";

    #[test]
    fn the_printed_request_comes_back() {
        let request = AddCheckpoint::parse(PRINTED.as_bytes()).unwrap();
        assert_eq!((request.old, request.proof.len(), request.note.signatures().len()), (20_852_014, 4, 2));
        assert!(request.note.text().starts_with("example.com/behind-the-sofa\n20852163\n"));
        assert_eq!(request.to_string(), PRINTED);
    }

    #[test]
    fn the_longest_request_is_within_its_bound() {
        let longest = AddCheckpoint {
            old: u64::MAX,
            proof: vec![[7; 32]; ADD_HASHES_MAX],
            note: AddCheckpoint::parse(PRINTED.as_bytes()).unwrap().note,
        };
        let text = longest.to_string();
        assert_eq!(AddCheckpoint::parse(text.as_bytes()), Ok(longest.clone()));
        assert_eq!(text.len() - longest.note.to_string().len() + NOTE_BYTES_MAX, ADD_CHECKPOINT_BYTES_MAX);
        let longer = AddCheckpoint { proof: vec![[7; 32]; ADD_HASHES_MAX + 1], ..longest };
        assert!(AddCheckpoint::parse(longer.to_string().as_bytes()).is_err());
        let bytes = vec![b'a'; ADD_CHECKPOINT_BYTES_MAX + 1];
        assert_eq!(AddCheckpoint::parse(&bytes), Err(NoteError::TooLong(bytes.len())));
    }

    #[test]
    fn other_texts_are_no_requests() {
        for (what, bad) in [
            ("nothing", String::new()),
            ("no old size", PRINTED.replacen("old 20852014\n", "", 1)),
            ("a zero before it", PRINTED.replacen("old 2", "old 02", 1)),
            ("two spaces", PRINTED.replacen("old ", "old  ", 1)),
            ("a size behind 64 bits", PRINTED.replacen("old 2", "old 99999999999992", 1)),
            ("half a hash", PRINTED.replacen("PlRNCrwH", "", 1)),
            ("no empty line", PRINTED.replacen("\n\n", "\n", 1)),
            ("a carriage return", PRINTED.replacen("\n", "\r\n", 1)),
            ("no signature", PRINTED[..PRINTED.find('\u{2014}').unwrap()].to_owned()),
        ] {
            assert!(matches!(AddCheckpoint::parse(bad.as_bytes()), Err(NoteError::Malformed(_))), "{what}");
        }
    }
}
