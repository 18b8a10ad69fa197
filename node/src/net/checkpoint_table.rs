//! The checkpoints of the ledger that this node has seen, so that an operator that shows two histories is found out.
//! Pure.
//!
//! What is gossiped is the note with the operator's line alone: nobody else can make two messages that say one thing.
//! Nothing is kept before the signature was checked, and no more than [`CHECKPOINTS_MAX`] are.

use std::{collections::BTreeMap, sync::Arc};

use gridhour_contracts_sim::{
    checkpoint::{CHECKPOINT_NOTE_BYTES_MAX, SignedCheckpoint},
    fraud::Fraud,
};
use gridhour_protocol::{note::VerifierKey, units::Height};

use crate::net::limits::CHECKPOINTS_MAX;

/// Why a checkpoint that a peer brought was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointRefusal {
    /// Too long, malformed, not the operator's, or with lines of others.
    Forged,
    /// Older than all that are kept, or one more contradiction when one is proven.
    Stale,
    /// This node was not told who the operator is.
    NotFollowed,
}

impl CheckpointRefusal {
    /// Whether every honest node refuses it: then who brought it is at fault.
    pub(crate) fn is_misbehavior(self) -> bool {
        self == Self::Forged
    }
}

/// What a node knows of its ledger's history.
#[derive(Clone, Debug, Default)]
pub struct SeenCheckpoints {
    /// The checkpoint of the highest block.
    pub newest: Option<SignedCheckpoint>,
    /// Proof that the operator signed two histories.
    pub fraud: Option<Arc<Fraud>>,
}

/// Checkpoints by height, the newest of them, and the first contradiction.
#[derive(Debug, Default)]
pub(crate) struct CheckpointTable {
    operator: Option<VerifierKey>,
    kept: BTreeMap<Height, SignedCheckpoint>,
    fraud: Option<Arc<Fraud>>,
}

impl CheckpointTable {
    pub(crate) fn new(operator: Option<VerifierKey>) -> Self {
        Self { operator, ..Self::default() }
    }

    /// Takes a checkpoint that someone brought. `true` if it says something new.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<bool, CheckpointRefusal> {
        let operator = self.operator.as_ref().ok_or(CheckpointRefusal::NotFollowed)?;
        if bytes.len() > CHECKPOINT_NOTE_BYTES_MAX {
            return Err(CheckpointRefusal::Forged);
        }
        let signed = SignedCheckpoint::open(bytes, operator).map_err(|_| CheckpointRefusal::Forged)?;
        if signed.bare(operator) != signed {
            return Err(CheckpointRefusal::Forged);
        }
        let height = signed.checkpoint().height;
        if self.kept.get(&height) == Some(&signed) {
            return Ok(false);
        }
        let contradiction = self.kept.values().find_map(|known| Fraud::between(known, &signed, operator));
        match (contradiction, &self.fraud) {
            (Some(_), Some(_)) => return Err(CheckpointRefusal::Stale),
            (Some(fraud), None) => self.fraud = Some(Arc::new(fraud)),
            (None, _) => self.keep(height, signed)?,
        }
        Ok(true)
    }

    fn keep(&mut self, height: Height, signed: SignedCheckpoint) -> Result<(), CheckpointRefusal> {
        if self.kept.len() >= CHECKPOINTS_MAX {
            if self.kept.first_key_value().is_some_and(|(lowest, _)| height < *lowest) {
                return Err(CheckpointRefusal::Stale);
            }
            self.kept.pop_first();
        }
        self.kept.insert(height, signed);
        Ok(())
    }

    /// What is shown to the node.
    pub(crate) fn seen(&self) -> SeenCheckpoints {
        let newest = self.kept.last_key_value().map(|(_, signed)| signed.clone());
        SeenCheckpoints { newest, fraud: self.fraud.clone() }
    }

    /// What peers that came later should hear: the newest checkpoint, and both sides of a contradiction.
    pub(crate) fn to_repeat(&self) -> Vec<SignedCheckpoint> {
        let sides = self.fraud.iter().flat_map(|fraud| fraud.notes().to_vec());
        sides.chain(self.seen().newest).collect()
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::checkpoint::Checkpoint;

    use super::*;
    use crate::net::sample::{OPERATOR, checkpoint, operator_vkey, secret};

    fn table() -> CheckpointTable {
        CheckpointTable::new(Some(operator_vkey()))
    }

    fn take(table: &mut CheckpointTable, checkpoint: &Checkpoint) -> Result<bool, CheckpointRefusal> {
        table.take(checkpoint.sign(&secret(OPERATOR)).to_string().as_bytes())
    }

    #[test]
    fn the_newest_is_known_and_repeated() {
        let mut table = table();
        for height in [5, 9, 7] {
            assert_eq!(take(&mut table, &checkpoint(height, 0)), Ok(true));
            assert_eq!(take(&mut table, &checkpoint(height, 0)), Ok(false), "nothing new");
        }
        let newest = table.seen().newest.unwrap();
        assert_eq!((newest.checkpoint(), table.to_repeat()), (&checkpoint(9, 0), vec![newest.clone()]));
        assert!(table.seen().fraud.is_none());
    }

    #[test]
    fn two_blocks_of_one_height_are_proof_once() {
        let mut table = table();
        for (height, view, said) in [
            (5, 0, Ok(true)),
            (9, 0, Ok(true)),
            (5, 1, Ok(true)),
            (5, 2, Err(CheckpointRefusal::Stale)),
            (11, 0, Ok(true)),
        ] {
            assert_eq!(take(&mut table, &checkpoint(height, view)), said, "{height} {view}");
        }
        let seen = table.seen();
        let fraud = seen.fraud.unwrap();
        assert_eq!(fraud.checkpoints(), [&checkpoint(5, 0), &checkpoint(5, 1)]);
        assert_eq!(seen.newest.unwrap().checkpoint(), &checkpoint(11, 0), "it goes on");
        assert_eq!(table.to_repeat().len(), 3, "whoever comes later hears both sides");
    }

    #[test]
    fn nothing_but_the_operators_own_note_is_kept() {
        let mut table = table();
        let signed = checkpoint(5, 0).sign(&secret(OPERATOR));
        let mut decorated = signed.note().clone();
        decorated.add(decorated.cosignature("w.example", &secret(9), 1).unwrap()).unwrap();
        for forged in [
            checkpoint(5, 0).sign(&secret(66)).to_string(),
            signed.to_string().replacen("height 5", "height 6", 1),
            decorated.to_string(),
            signed.to_string() + &" ".repeat(CHECKPOINT_NOTE_BYTES_MAX),
            String::new(),
        ] {
            let refusal = table.take(forged.as_bytes()).unwrap_err();
            assert!(refusal.is_misbehavior(), "{forged}");
        }
        assert!(table.seen().newest.is_none());
        let mut stranger = CheckpointTable::new(None);
        assert_eq!(take(&mut stranger, &checkpoint(5, 0)), Err(CheckpointRefusal::NotFollowed));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = table();
        for height in 10..20 + CHECKPOINTS_MAX as u64 {
            assert_eq!(take(&mut table, &checkpoint(height, 0)), Ok(true));
        }
        assert_eq!(table.kept.len(), CHECKPOINTS_MAX);
        assert_eq!(take(&mut table, &checkpoint(3, 0)), Err(CheckpointRefusal::Stale));
        assert!(!CheckpointRefusal::Stale.is_misbehavior());
    }
}
