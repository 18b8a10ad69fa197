//! Whom a network names as witnesses of its public log, and whether enough of them have cosigned.
//!
//! What is counted are keys, not lines and not names: the text that a witness signs does not hold its name, so one key
//! under two names could sign once and stand for two.

use std::collections::BTreeSet;

use gridhour_protocol::{
    layout::Layout,
    note::{KeyKind, Note, NoteError, VerifierKey},
    signed::PublicKey,
    wire::at_most,
};
use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{SignedCheckpoint, operator_key},
    limits::WITNESSES_MAX,
    network_file::NetworkFile,
};

/// A witness that a network names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedWitness {
    /// The name of its key: a URL without its scheme, which need not be reachable.
    pub name: String,
    /// Its key, of kind [`KeyKind::Witness`].
    pub key: PublicKey,
}

impl NamedWitness {
    /// The key as tools for C2SP notes know it.
    ///
    /// # Errors
    /// If no key may have this name, or the key is a weak one.
    pub fn vkey(&self) -> Result<VerifierKey, NoteError> {
        VerifierKey::new(&self.name, KeyKind::Witness, self.key)
    }
}

impl TryFrom<VerifierKey> for NamedWitness {
    type Error = NoteError;

    /// # Errors
    /// If the key is not one of a witness.
    fn try_from(vkey: VerifierKey) -> Result<Self, NoteError> {
        match vkey.kind() {
            KeyKind::Witness => Ok(Self { name: vkey.name().to_owned(), key: vkey.key() }),
            KeyKind::Log => Err(NoteError::Malformed("a log's key, not a witness's (kind 0x04)")),
        }
    }
}

/// The witnesses of a network: so many of those named must cosign. None are named where none are required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnesses {
    /// All of them, no key and no name twice.
    pub named: Vec<NamedWitness>,
    /// How many must have cosigned a checkpoint.
    pub required: u16,
}

impl Witnesses {
    pub(crate) fn lay_out(&self, out: &mut Layout) {
        out.u16(self.required).count(self.named.len());
        for witness in &self.named {
            out.bytes(witness.name.as_bytes()).fixed(&witness.key.0);
        }
    }

    /// Checks that enough can cosign, and that nobody is there twice: neither under two names, nor as the operator.
    ///
    /// # Errors
    /// With a sentence about the first fault.
    pub fn check(&self, operator: &PublicKey) -> Result<(), String> {
        at_most("witnesses", self.named.len(), WITNESSES_MAX)?;
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::from([operator]));
        for witness in &self.named {
            witness.vkey().map_err(|error| format!("witness {:?}: {error}", witness.name))?;
            if !names.insert(&witness.name) {
                return Err(format!("two witnesses are called {}", witness.name));
            }
            if witness.key == *operator {
                return Err(format!("witness {} has the operator's key", witness.name));
            }
            if !keys.insert(&witness.key) {
                return Err(format!("witness {} has the key of another one", witness.name));
            }
        }
        self.check_required()
    }

    fn check_required(&self) -> Result<(), String> {
        let (required, named) = (usize::from(self.required), self.named.len());
        if required > named || (required == 0) != (named == 0) {
            return Err(format!("{required} of {named} witnesses cannot be required"));
        }
        Ok(())
    }
}

/// A cosignature that is a named witness's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness's name.
    pub name: String,
    /// When it cosigned, in seconds after 1970, by its own clock.
    pub seconds: u64,
}

/// Who has cosigned a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The witnesses that did, each once.
    pub cosigned: Vec<Cosignature>,
    /// How many must have.
    pub required: usize,
    /// How many there are.
    pub named: usize,
}

impl Quorum {
    /// Whether as many have cosigned as must have.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.cosigned.len() >= self.required
    }
}

/// The keys under a network's checkpoints: the operator's and its witnesses'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    operator: VerifierKey,
    witnesses: Vec<VerifierKey>,
    required: usize,
}

impl LogKeys {
    /// The keys that a network file names.
    ///
    /// # Errors
    /// If one of them may not sign notes; no network file that was decoded names such a one.
    pub fn of(file: &NetworkFile) -> Result<Self, NoteError> {
        Self::new(operator_key(&file.id(), file.genesis.operator)?, &file.witnesses)
    }

    /// The keys of this operator and these witnesses.
    ///
    /// # Errors
    /// If a witness's key may not sign notes.
    pub fn new(operator: VerifierKey, witnesses: &Witnesses) -> Result<Self, NoteError> {
        let required = witnesses.required.into();
        let witnesses = witnesses.named.iter().map(NamedWitness::vkey).collect::<Result<_, _>>()?;
        Ok(Self { operator, witnesses, required })
    }

    /// The key that signs checkpoints.
    #[must_use]
    pub fn operator(&self) -> &VerifierKey {
        &self.operator
    }

    /// The keys that cosign them.
    #[must_use]
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// Counts the witnesses whose cosignature is under `note`. A line that does not verify counts for nothing.
    #[must_use]
    pub fn count(&self, note: &Note) -> Quorum {
        let mut signers = BTreeSet::new();
        let found = |witness: &VerifierKey| {
            let seconds = note.good_line(witness)?.1?;
            signers.insert(witness.key()).then(|| Cosignature { name: witness.name().to_owned(), seconds })
        };
        let cosigned = self.witnesses.iter().filter_map(found).collect();
        Quorum { cosigned, required: self.required, named: self.witnesses.len() }
    }

    /// The same checkpoint with the operator's line and a good one of each witness that has any, in the order in which
    /// the network names them. So whatever others write under it, there are as many lines as witnesses at most.
    #[must_use]
    pub fn known_lines(&self, signed: &SignedCheckpoint) -> SignedCheckpoint {
        self.merge(signed, signed.note())
    }

    /// [`LogKeys::known_lines`], with the cosignatures that are under `other` as well, if that is a note of the same
    /// text. Where both have one of a witness, that of `signed` stays.
    #[must_use]
    pub fn merge(&self, signed: &SignedCheckpoint, other: &Note) -> SignedCheckpoint {
        let same = (other.text() == signed.note().text()).then_some(other);
        let good = |witness: &VerifierKey| {
            let ours = signed.note().good_line(witness);
            ours.or_else(|| same?.good_line(witness)).map(|(line, _)| line.clone())
        };
        signed.with_lines(&self.operator, self.witnesses.iter().filter_map(good).collect())
    }
}
