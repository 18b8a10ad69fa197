//! One checkpoint on its way to the public: who has cosigned it, and when it is shown. Pure: time is an input.

use std::time::Duration;

use gridhour_contracts_sim::{checkpoint::SignedCheckpoint, witnesses::LogKeys};
use gridhour_protocol::note::Note;
use tokio::time::Instant;

/// How long a checkpoint waits for its witnesses; then it is published as it is.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(2);
/// Time between the beginnings of two rounds, at least.
pub(super) const ROUND_MIN: Duration = Duration::from_secs(1);

/// A checkpoint that witnesses are asked to cosign.
pub(super) struct Round {
    signed: SignedCheckpoint,
    begun: Instant,
    published: bool,
    /// Whether a cosignature came after it was published.
    grown: bool,
}

impl Round {
    pub(super) fn new(signed: SignedCheckpoint, now: Instant) -> Self {
        Self { signed, begun: now, published: false, grown: false }
    }

    /// The checkpoint with the cosignatures so far.
    pub(super) fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// Takes what a witness answered. An answer to another round changes nothing.
    pub(super) fn add(&mut self, keys: &LogKeys, note: &Note) {
        let merged = keys.merge(&self.signed, note);
        self.grown |= merged != self.signed;
        self.signed = merged;
    }

    /// Whether the checkpoint is to be published now: for the first time, or with more cosignatures. Once for each.
    pub(super) fn publish(&mut self, keys: &LogKeys, now: Instant) -> bool {
        let due = keys.count(self.signed.note()).is_enough() || now >= self.begun + WAIT_MAX;
        let publish = if self.published { self.grown } else { due };
        if publish {
            (self.published, self.grown) = (true, false);
        }
        publish
    }

    /// When to look again; `None` if the next round may begin.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let at = self.begun + if self.published { ROUND_MIN } else { WAIT_MAX };
        (!self.published || now < at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sample::{OPERATOR, WITNESSES, checkpoint, log_keys, secret, witness_name};

    fn round(now: Instant) -> Round {
        Round::new(checkpoint(5, 0).sign(&secret(OPERATOR)), now)
    }

    fn answer(height: u64, seed: u8) -> Note {
        let mut note = checkpoint(height, 0).sign(&secret(OPERATOR)).note().clone();
        note.add(note.cosignature(&witness_name(seed), &secret(seed), 7).expect("a name")).expect("room");
        note
    }

    #[test]
    fn a_checkpoint_is_published_once_enough_have_cosigned_and_again_with_those_who_come_later() {
        let (keys, now) = (log_keys(), Instant::now());
        let mut round = round(now);
        assert!(!round.publish(&keys, now));
        assert_eq!(round.next_at(now), Some(now + WAIT_MAX));
        round.add(&keys, &answer(5, WITNESSES[0]));
        round.add(&keys, &answer(5, WITNESSES[0]));
        round.add(&keys, &answer(4, WITNESSES[1]));
        round.add(&keys, &answer(5, 9));
        assert!(!round.publish(&keys, now), "one of two, however often it says so");
        round.add(&keys, &answer(5, WITNESSES[2]));
        assert!(round.publish(&keys, now), "two of two");
        assert!(!round.publish(&keys, now), "once");
        assert_eq!(round.next_at(now), Some(now + ROUND_MIN));
        round.add(&keys, &answer(5, WITNESSES[1]));
        assert!(round.publish(&keys, now) && !round.publish(&keys, now), "once more with the third");
        assert_eq!(keys.count(round.signed().note()).cosigned.len(), 3);
        assert_eq!(round.next_at(now + ROUND_MIN), None, "the next may begin");
    }

    #[test]
    fn a_checkpoint_without_witnesses_is_published_when_its_time_is_over() {
        let (keys, now) = (log_keys(), Instant::now());
        let mut round = round(now);
        round.add(&keys, &answer(5, WITNESSES[0]));
        assert!(!round.publish(&keys, now + WAIT_MAX - Duration::from_millis(1)));
        assert!(round.publish(&keys, now + WAIT_MAX));
        assert_eq!(round.next_at(now + WAIT_MAX), None);
        assert_eq!(keys.count(round.signed().note()).cosigned.len(), 1);
        round.add(&keys, &answer(5, WITNESSES[1]));
        assert!(round.publish(&keys, now + WAIT_MAX), "a witness that came back is shown at once");
    }
}
