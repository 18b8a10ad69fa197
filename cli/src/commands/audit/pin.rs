//! What someone saw before: a checkpoint in a file, or the one that a public log shows now.

use std::{fmt::Display, path::Path};

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, operator_key, origin},
    state::State,
    witnesses::{LogKeys, Quorum},
};
use gridhour_node::http::client::LogClient;
use gridhour_protocol::note::{NOTE_BYTES_MAX, Note};

use super::read_at_most;
use crate::error::{CommandError, Result};

/// A checkpoint that was seen before, and the note that it stands in if it was handed on signed.
pub(super) struct Pin {
    /// What it says.
    pub(super) checkpoint: Checkpoint,
    note: Option<Note>,
}

impl Pin {
    /// The checkpoint in the file at `place`, or of the public log at that URL. `keys` are those of the network, if it
    /// is known.
    pub(super) fn load(place: &str, keys: Option<&LogKeys>) -> Result<Self> {
        if !place.starts_with("http://") && !place.starts_with("https://") {
            return Self::read(Path::new(place));
        }
        let keys = keys.ok_or_else(|| {
            CommandError::usage("whose checkpoint that URL must show is not known")
                .hint("name it with --network FILE")
        })?;
        let signed = LogClient::new(place).checkpoint(keys.operator())?;
        Ok(Self { checkpoint: *signed.checkpoint(), note: Some(signed.note().clone()) })
    }

    fn read(path: &Path) -> Result<Self> {
        let refuse = |why: &dyn Display| CommandError::usage(format!("{}: {why}", path.display()));
        let bytes = read_at_most(path, NOTE_BYTES_MAX)?;
        let note = Note::parse(&bytes).ok();
        // What you saw yourself, and wrote with `--save-checkpoint`, is signed by nobody.
        let lines = note.as_ref().map_or_else(|| String::from_utf8_lossy(&bytes), |note| note.text().into());
        let checkpoint = Checkpoint::parse(&lines).map_err(|error| refuse(&error))?;
        Ok(Self { checkpoint, note })
    }

    /// A note must be the operator's, whom the replayed ledger names.
    pub(super) fn check_signature(&self, state: &State) -> Result {
        let Some(note) = &self.note else { return Ok(()) };
        let key = operator_key(&state.network(), state.genesis().operator).map_err(CommandError::internal)?;
        note.verify(&key)
            .map(|_| ())
            .map_err(|error| CommandError::refused(format!("the checkpoint: {error}")))
    }

    /// Who has cosigned the note. `None` for what you saw yourself: that needs no witness.
    pub(super) fn quorum(&self, keys: &LogKeys) -> Option<Quorum> {
        self.note.as_ref().map(|note| keys.count(note))
    }

    /// Whether it is of the network whose keys these are.
    pub(super) fn is_of(&self, keys: &LogKeys) -> bool {
        keys.operator().name() == origin(&self.checkpoint.network)
    }
}
