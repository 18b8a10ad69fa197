//! The checkpoint that an observer showed last, in a file, so that it can be shown again after a restart before a peer
//! brings one: beside a quiet ledger that may take a minute and a half.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use gridhour_contracts_sim::{
    checkpoint::{CHECKPOINT_NOTE_BYTES_MAX, SignedCheckpoint},
    witnesses::LogKeys,
};

use crate::drivers::results::write_whole;

/// The file, and who may sign what is in it.
#[derive(Clone, Debug)]
pub(super) struct ShownFile {
    pub(super) path: PathBuf,
    pub(super) keys: LogKeys,
}

impl ShownFile {
    /// What was shown last, with its signatures checked anew; nothing if nothing good is there, as another one will come.
    pub(super) fn read(&self) -> Option<SignedCheckpoint> {
        let mut bytes = Vec::new();
        let most = CHECKPOINT_NOTE_BYTES_MAX as u64;
        let read = File::open(&self.path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "the checkpoint that was shown last cannot be read");
                return None;
            }
        }
        match SignedCheckpoint::open(&bytes, self.keys.operator()) {
            Ok(signed) => Some(self.keys.known_lines(&signed)),
            Err(error) => {
                tracing::warn!(%error, "the checkpoint that was shown last is damaged; another will come");
                None
            }
        }
    }

    /// Remembers what is shown from now on.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn keep(&self, signed: &SignedCheckpoint) -> io::Result<()> {
        write_whole(&self.path, signed.to_string().as_bytes())
    }

    /// What is to be shown once `new` is known to be of this ledger, if that is anything else than `shown`: the higher of
    /// both, and of one checkpoint every cosignature.
    pub(super) fn next(
        &self,
        shown: Option<&SignedCheckpoint>,
        new: SignedCheckpoint,
    ) -> Option<SignedCheckpoint> {
        let Some(shown) = shown else { return Some(new) };
        if shown.checkpoint() != new.checkpoint() {
            return (new.checkpoint().height > shown.checkpoint().height).then_some(new);
        }
        let merged = self.keys.merge(shown, new.note());
        (merged != *shown).then_some(merged)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::sample::{OPERATOR, WITNESSES, checkpoint, log_keys, secret, witness_name};

    fn signed(height: u64) -> SignedCheckpoint {
        checkpoint(height, 0).sign(&secret(OPERATOR))
    }

    #[test]
    fn what_was_shown_is_read_again_unless_it_was_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = ShownFile { path: folder.path().join("deep/shown"), keys: log_keys() };
        assert_eq!(file.read(), None);
        file.keep(&signed(7)).expect("room");
        assert_eq!(file.read(), Some(signed(7)));
        let text = fs::read(&file.path).expect("it is there");
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            fs::write(&file.path, &changed).expect("room");
            assert_eq!(file.read(), None, "byte {at}");
            fs::write(&file.path, &text[..at]).expect("room");
            assert_eq!(file.read(), None, "cut at {at}");
        }
        fs::write(&file.path, [b'a'; 2 * CHECKPOINT_NOTE_BYTES_MAX]).expect("room");
        assert_eq!(file.read(), None);
    }

    #[test]
    fn a_lower_one_or_fewer_cosignatures_take_no_ones_place() {
        let file = ShownFile { path: PathBuf::new(), keys: log_keys() };
        assert_eq!(file.next(None, signed(5)), Some(signed(5)));
        assert_eq!(file.next(Some(&signed(5)), signed(4)), None);
        assert_eq!(file.next(Some(&signed(5)), signed(5)), None);
        assert_eq!(file.next(Some(&signed(5)), signed(6)), Some(signed(6)));
        let witness = WITNESSES[0];
        let line = signed(5).note().cosignature(&witness_name(witness), &secret(witness), 9).expect("a name");
        let bare = signed(5);
        let note = bare.note().with_lines(bare.note().signatures().iter().cloned().chain([line]).collect());
        let more = file.keys.merge(&bare, &note);
        assert_ne!(more, bare);
        assert_eq!(file.next(Some(&more), bare.clone()), None, "a peer that has not heard of it yet");
        assert_eq!(file.next(Some(&bare), more.clone()), Some(more));
    }
}
