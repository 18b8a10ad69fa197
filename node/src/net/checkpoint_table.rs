//! The checkpoints of the ledger that this node has seen, so that an operator that shows two histories is found out.
//! Pure.
//!
//! What is gossiped is the note with the operator's line and those of the network's witnesses. Others can
//! write under it what they like: their lines are neither kept nor passed on, and a message that adds no
//! witness says nothing new. So nobody can make more messages of one checkpoint than it has witnesses.
//! Nothing is kept before the signatures were checked, and no more than [`CHECKPOINTS_MAX`] are.

use std::{collections::BTreeMap, sync::Arc};

use gridhour_contracts_sim::{checkpoint::SignedCheckpoint, fraud::Fraud, witnesses::LogKeys};
use gridhour_protocol::units::Height;

use crate::net::limits::{CHECKPOINT_BYTES_MAX, CHECKPOINTS_MAX};

/// What a checkpoint that a peer brought is to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// New, to be passed on as it came.
    News,
    /// New, but with lines that are nobody's here: this is to be passed on instead. A node with a newer
    /// network file may know them.
    Stripped(Box<SignedCheckpoint>),
    /// Nothing new.
    Known,
}

/// Why a checkpoint that a peer brought was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointRefusal {
    /// Too long, malformed, not the operator's, or with a line that is falsely a witness's.
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
    /// The checkpoint of the highest block, with the cosignatures that came with it.
    pub newest: Option<SignedCheckpoint>,
    /// Proof that the operator signed two histories.
    pub fraud: Option<Arc<Fraud>>,
}

/// Checkpoints by height, the newest of them, and the first contradiction.
#[derive(Debug, Default)]
pub(crate) struct CheckpointTable {
    keys: Option<LogKeys>,
    kept: BTreeMap<Height, SignedCheckpoint>,
    fraud: Option<Arc<Fraud>>,
}

impl CheckpointTable {
    pub(crate) fn new(keys: Option<LogKeys>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Takes a checkpoint that someone brought.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Taken, CheckpointRefusal> {
        let keys = self.keys.clone().ok_or(CheckpointRefusal::NotFollowed)?;
        if bytes.len() > CHECKPOINT_BYTES_MAX {
            return Err(CheckpointRefusal::Forged);
        }
        let signed = SignedCheckpoint::open(bytes, keys.operator()).map_err(|_| CheckpointRefusal::Forged)?;
        let known = keys.known_lines(&signed);
        let strangers = lines_of_strangers(&signed, &keys);
        // Who knows a key sees that a line is not its own, or one too many: no honest node has passed it on.
        if known.note().signatures().len() + strangers != signed.note().signatures().len() {
            return Err(CheckpointRefusal::Forged);
        }
        if !self.learn(&keys, known.clone())? {
            return Ok(Taken::Known);
        }
        Ok(if strangers == 0 { Taken::News } else { Taken::Stripped(Box::new(known)) })
    }

    /// Whether it says something new: another checkpoint, or one more of its witnesses.
    fn learn(&mut self, keys: &LogKeys, signed: SignedCheckpoint) -> Result<bool, CheckpointRefusal> {
        let height = signed.checkpoint().height;
        if let Some(kept) = self.kept.get_mut(&height).filter(|kept| kept.checkpoint() == signed.checkpoint())
        {
            let merged = keys.merge(kept, signed.note());
            let news = merged != *kept;
            *kept = merged;
            return Ok(news);
        }
        let contradiction =
            self.kept.values().find_map(|known| Fraud::between(known, &signed, keys.operator()));
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

/// Lines under it that name neither the operator nor a witness.
fn lines_of_strangers(signed: &SignedCheckpoint, keys: &LogKeys) -> usize {
    let known = || keys.witnesses().iter().chain([keys.operator()]);
    signed.note().signatures().iter().filter(|line| !known().any(|key| line.is_of(key))).count()
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::checkpoint::{CHECKPOINT_NOTE_BYTES_MAX, Checkpoint};
    use gridhour_protocol::note::Note;

    use super::*;
    use crate::net::sample::{OPERATOR, WITNESSES, checkpoint, log_keys, secret, witness_name};

    fn table() -> CheckpointTable {
        CheckpointTable::new(Some(log_keys()))
    }

    fn take(table: &mut CheckpointTable, checkpoint: &Checkpoint) -> Result<bool, CheckpointRefusal> {
        let taken = table.take(checkpoint.sign(&secret(OPERATOR)).to_string().as_bytes());
        taken.map(|taken| taken == Taken::News)
    }

    /// The checkpoint of block 5 with these lines under it: name, key and time.
    fn with_lines(lines: &[(&str, u8, u64)]) -> Note {
        let note = checkpoint(5, 0).sign(&secret(OPERATOR)).note().clone();
        let more = lines.iter().map(|(name, key, time)| {
            note.cosignature(name, &secret(*key), *time).expect("a name that a key may have")
        });
        note.with_lines(note.signatures().iter().cloned().chain(more).collect())
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
        let [one, _, _] = WITNESSES;
        let name = witness_name(one);
        let own = signed.note().signatures()[0].clone();
        for forged in [
            checkpoint(5, 0).sign(&secret(66)).to_string(),
            signed.to_string().replacen("height 5", "height 6", 1),
            with_lines(&[(&name, one, 1 << 63)]).to_string(),
            with_lines(&[(&name, one, 1), (&name, one, 2)]).to_string(),
            signed.note().with_lines(vec![own.clone(), own]).to_string(),
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

    /// What a witness adds is news once, whoever brings it, however often it signs; what a stranger adds never is.
    #[test]
    fn a_decorated_checkpoint_is_kept_with_known_lines_alone() {
        let mut table = table();
        let names = WITNESSES.map(witness_name);
        let [one, two, _] = [0, 1, 2].map(|i| (names[i].as_str(), WITNESSES[i], 7));
        let stranger = ("stranger.example", 9, 7);
        let other_key = (names[2].as_str(), 9, 7);
        let stripped =
            |lines| SignedCheckpoint::open(with_lines(lines).to_string().as_bytes(), log_keys().operator());
        let stripped = |lines| Ok(Taken::Stripped(Box::new(stripped(lines).expect("the operator's"))));
        let cases: [(&[_], _); 8] = [
            (&[one], Ok(Taken::News)),
            (&[one], Ok(Taken::Known)),
            (&[], Ok(Taken::Known)),
            (&[(one.0, one.1, 8)], Ok(Taken::Known)),
            (&[one, stranger], Ok(Taken::Known)),
            (&[two, stranger, other_key], stripped(&[two])),
            (&[two, one], Ok(Taken::Known)),
            (&[stranger, other_key], Ok(Taken::Known)),
        ];
        for (lines, taken) in cases {
            assert_eq!(table.take(with_lines(lines).to_string().as_bytes()), taken, "{lines:?}");
            assert!(table.seen().newest.unwrap().note().signatures().len() <= 1 + lines.len().max(2));
        }
        let newest = table.seen().newest.unwrap();
        assert_eq!(newest.note(), &with_lines(&[one, two]), "one line of each, the first that came");
        assert!(newest.to_string().len() <= CHECKPOINT_BYTES_MAX);
        let many: Vec<_> = (0..31).map(|_| stranger).collect();
        assert_eq!(table.take(with_lines(&many).to_string().as_bytes()), Ok(Taken::Known), "a crowd");
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
