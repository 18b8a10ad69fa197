//! What someone saw before: a checkpoint in a file.

use std::{fmt::Display, path::Path};

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, operator_key},
    state::State,
};
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
    pub(super) fn load(path: &Path) -> Result<Self> {
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
}
