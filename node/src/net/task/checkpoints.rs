//! Checkpoints of the ledger: judged, kept, forwarded, and repeated for peers that came later.

use std::time::Instant;

use gridhour_contracts_sim::checkpoint::SignedCheckpoint;
use gridhour_protocol::signed::PublicKey;
use libp2p::gossipsub::MessageAcceptance;

use super::Task;
use crate::net::{
    checkpoint_table::Taken,
    limits::REPEAT_EVERY,
    peer_score::{Offence, Rate},
};

impl Task {
    pub(super) fn judge_checkpoint(&mut self, from: PublicKey, bytes: &[u8]) -> MessageAcceptance {
        if !self.state.scores.admit(from, Rate::Gossip, Instant::now()) {
            self.charge(from, Offence::OverRate);
        }
        match self.state.checkpoints.take(bytes) {
            Ok(Taken::News) => {
                self.show_checkpoints();
                MessageAcceptance::Accept
            }
            Ok(Taken::Stripped(known)) => {
                self.show_checkpoints();
                self.gossip_checkpoint(&known);
                MessageAcceptance::Ignore
            }
            Ok(Taken::Known) => MessageAcceptance::Ignore,
            Err(refusal) => {
                self.shown.metrics.send_modify(|metrics| metrics.checkpoints_refused_total += 1);
                if !refusal.is_misbehavior() {
                    return MessageAcceptance::Ignore;
                }
                self.charge(from, Offence::Checkpoint);
                MessageAcceptance::Reject
            }
        }
    }

    fn show_checkpoints(&mut self) {
        self.shown.metrics.send_modify(|metrics| metrics.checkpoints_accepted_total += 1);
        self.shown.checkpoints.send_replace(self.state.checkpoints.seen());
    }

    /// Keeps the node's own checkpoint and gossips it.
    pub(super) fn publish_checkpoint(&mut self, checkpoint: &SignedCheckpoint) {
        match self.state.checkpoints.take(checkpoint.to_string().as_bytes()) {
            Ok(taken) => {
                if taken != Taken::Known {
                    self.show_checkpoints();
                }
                self.gossip_checkpoint(checkpoint);
            }
            Err(refusal) => tracing::error!(?refusal, "our own checkpoint is not one that peers would take"),
        }
    }

    /// Gossips anew what peers that came later have not heard. Peers that know it drop it unread.
    pub(super) fn repeat_checkpoints(&mut self, now: Instant) {
        let due = *self.state.repeat_at.get_or_insert(now + REPEAT_EVERY);
        if now < due {
            return;
        }
        self.state.repeat_at = Some(now + REPEAT_EVERY);
        for checkpoint in self.state.checkpoints.to_repeat() {
            self.gossip_checkpoint(&checkpoint);
        }
    }

    fn gossip_checkpoint(&mut self, checkpoint: &SignedCheckpoint) {
        let topic = self.names.checkpoints_topic().hash();
        let bytes = checkpoint.to_string().into_bytes();
        if let Err(error) = self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            // Nobody listens yet, or everybody has heard it a moment ago.
            tracing::debug!(%error, "checkpoint not gossiped");
        }
    }
}
