//! Adverts: judged, remembered, forwarded, and pushed to peers that just subscribed.

use std::{collections::VecDeque, time::Instant};

use gridhour_protocol::{
    market::advert::Advert,
    signed::{PublicKey, Signed, Verified},
    wire,
};
use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, TopicHash},
    request_response::{self, Message, ResponseChannel},
};

use super::{Pushed, Task};
use crate::net::{
    codec::{Answer, Asked},
    error::PublishError,
    gossip::{self, Refusal},
    identity::key_of,
    limits::{BACKLOG_MAX, FORWARDS_MAX, PUSH_BYTES_MAX},
    passing_on::Passage,
    peer_score::{Offence, Rate},
    push,
    scoped::Scope,
};

/// A good advert that is kept now.
#[derive(Clone, Copy)]
struct Kept {
    provider: PublicKey,
    /// Whether an earlier one of the provider's was known.
    is_renewal: bool,
}

impl Task {
    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source: peer, message_id, message } => {
                // Judged even if the peer has left or is shut out by now: gossip counts the message as seen,
                // so to drop it would be to drop every honest peer's copy.
                let verdict = key_of(&peer).map_or(MessageAcceptance::Ignore, |key| {
                    self.judge_message(key, &message.topic, &message.data)
                });
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &peer, verdict);
            }
            gossipsub::Event::Subscribed { peer_id, topic } if topic == self.names.adverts_topic_hash() => {
                self.push_to(peer_id);
            }
            _ => {}
        }
    }

    fn judge_message(&mut self, from: PublicKey, topic: &TopicHash, bytes: &[u8]) -> MessageAcceptance {
        if *topic == self.names.checkpoints_topic().hash() {
            self.judge_checkpoint(from, bytes)
        } else if *topic == self.names.postings_topic().hash() {
            self.judge_posting(from, bytes)
        } else if *topic == self.names.quotes_topic().hash() {
            self.judge_quote(from, bytes)
        } else {
            self.judge_gossiped(from, bytes)
        }
    }

    fn judge_gossiped(&mut self, from: PublicKey, bytes: &[u8]) -> MessageAcceptance {
        if !self.state.scores.admit(from, Rate::Gossip, Instant::now()) {
            self.shown.metrics.send_modify(|metrics| metrics.count_over_rate(from));
            self.charge(from, Offence::OverRate);
        }
        match self.judge(from, self.scope_of(&from), bytes) {
            Ok(Kept { provider, is_renewal }) => {
                let passage = Passage { bringer: from, provider, is_renewal };
                let passes = self.state.passing_on.take(passage, Instant::now());
                if passes { MessageAcceptance::Accept } else { MessageAcceptance::Ignore }
            }
            Err(refusal) if refusal.is_misbehavior() => MessageAcceptance::Reject,
            Err(_) => MessageAcceptance::Ignore,
        }
    }

    /// Judges one advert that `from`, a peer of this reach, brought, and keeps it if it is good.
    fn judge(&mut self, from: PublicKey, scope: Scope, bytes: &[u8]) -> Result<Kept, Refusal> {
        let verdict = self.admit(bytes, Some(from), scope);
        self.shown.metrics.send_modify(|metrics| metrics.count_advert(from, verdict.map(drop)));
        if let Err(refusal) = verdict {
            self.charge(from, Offence::Advert(refusal));
        }
        verdict
    }

    fn admit(&mut self, bytes: &[u8], from: Option<PublicKey>, scope: Scope) -> Result<Kept, Refusal> {
        let (now, table) = ((self.clock)(), &mut self.state.adverts);
        let advert = gossip::validate(bytes, &self.network, now, |provider| table.newest(provider))?;
        let provider = advert.provider;
        let is_renewal = table.newest(&provider).is_some();
        table.make_room(&provider, from, now)?;
        table.insert(advert, from, now);
        table.told_by(&provider, scope);
        Ok(Kept { provider, is_renewal })
    }

    /// Keeps the node's own advert and gossips it.
    pub(super) fn publish(&mut self, advert: &Signed<Advert>) -> Result<(), PublishError> {
        let bytes = wire::encode(advert);
        self.admit(&bytes, None, Scope::Near)?;
        let topic = self.names.adverts_topic_hash();
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            Err(gossipsub::PublishError::AllQueuesFull(_)) => Err(PublishError::QueuesFull),
            // Nobody listens yet: who subscribes later is sent what is kept.
            Ok(_) | Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "advert kept for later peers, but not gossiped");
                Ok(())
            }
        }
    }

    /// Sends all live adverts to a peer, at the moment from which gossip will reach it: nothing falls
    /// between.
    fn push_to(&mut self, peer: PeerId) {
        let Some(key) = self.state.peers.key(&peer) else { return };
        let live = self.state.adverts.live((self.clock)());
        if live.is_empty() {
            return;
        }
        let packed = push::pack(live.into_iter().map(Verified::signed).map(wire::encode));
        if !self.state.scores.admit_push(key, Rate::PushOut, packed.len(), Instant::now()) {
            return;
        }
        self.swarm.behaviour_mut().adverts.send_request(&peer, Asked::Bytes(packed));
    }

    pub(super) fn on_push(&mut self, event: request_response::Event<Asked, Answer>) {
        let request_response::Event::Message {
            peer, message: Message::Request { request, channel, .. }, ..
        } = event
        else {
            return;
        };
        let Some(key) = self.state.peers.key(&peer) else { return };
        let answer = match self.take_push(key, request) {
            Ok(()) => Answer::Served(Vec::new()),
            Err(why) => {
                self.shown.metrics.send_modify(|metrics| metrics.pushes_refused_total += 1);
                Answer::Refused(why.into())
            }
        };
        self.answer_push(channel, answer);
    }

    fn answer_push(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        // Fails only if the peer is gone.
        let _ = self.swarm.behaviour_mut().adverts.send_response(channel, answer);
    }

    /// Puts the pushed adverts into the backlog, to be judged a few at a time.
    fn take_push(&mut self, from: PublicKey, pushed: Asked) -> Result<(), &'static str> {
        let len = match &pushed {
            Asked::Bytes(bytes) => bytes.len(),
            Asked::Oversized { .. } => PUSH_BYTES_MAX,
        };
        if !self.state.scores.admit_push(from, Rate::PushIn, len, Instant::now()) {
            self.charge(from, Offence::OverRate);
            return Err("too many pushes");
        }
        let messages = match &pushed {
            Asked::Bytes(bytes) => push::unpack(bytes).ok(),
            Asked::Oversized { .. } => None,
        };
        let Some(messages) = messages else {
            self.charge(from, Offence::Push);
            return Err("not a list of adverts");
        };
        if self.state.backlog.len() + messages.len() > BACKLOG_MAX {
            return Err("busy");
        }
        let scope = self.scope_of(&from);
        let pushed = messages.into_iter().map(|message| Pushed { from, scope, bytes: message.to_vec() });
        self.state.backlog.extend(pushed);
        Ok(())
    }

    /// Judges the first `count` adverts of the backlog. A banned peer's are dropped.
    pub(super) fn judge_pushed(&mut self, count: usize) {
        for Pushed { from, scope, bytes } in take_first(&mut self.state.backlog, count) {
            if self.is_banned(&from) || self.judge(from, scope, &bytes).is_err() {
                continue;
            }
            if self.state.forwards.len() < FORWARDS_MAX {
                self.state.forwards.push_back(bytes);
            }
        }
    }

    /// Gossips on what was learned from a push, as two parts of a network that meet learn of each other only
    /// by pushes. Slowly, as most peers know most of it; those that do drop it unread.
    pub(super) fn forward_pushed(&mut self, count: usize) {
        let topic = self.names.adverts_topic_hash();
        for bytes in take_first(&mut self.state.forwards, count) {
            if let Err(error) = self.swarm.behaviour_mut().gossip.publish(topic.clone(), bytes) {
                tracing::debug!(%error, "pushed advert not gossiped on");
            }
        }
    }
}

fn take_first<T>(queue: &mut VecDeque<T>, count: usize) -> Vec<T> {
    let count = count.min(queue.len());
    queue.drain(..count).collect()
}
