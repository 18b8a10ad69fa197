//! Posted orders and the quotes that answer them: judged, passed on while there is room for it, and handed to
//! the node's drivers. Nothing of it is kept for peers that come later, as it would be over by then.

use std::time::Instant;

use gridhour_protocol::{
    market::{advert::Advert, posting::Posting},
    signed::{PublicKey, Signed},
    wire,
};
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance};

use super::Task;
use crate::net::{
    auction_table::AuctionRefusal,
    error::PublishError,
    event::NetEvent,
    limits::EVENTS_MAX,
    peer_score::{Offence, Rate},
};

impl Task {
    pub(super) fn judge_posting(&mut self, from: PublicKey, bytes: &[u8]) -> MessageAcceptance {
        let taken = self.state.auctions.take_posting(bytes, &self.network, (self.clock)(), Some(from));
        let refused = taken.as_ref().map(drop).map_err(|refusal| *refusal);
        if let Ok(posting) = taken {
            self.tell_of_auction(NetEvent::Posting(posting));
        }
        self.acceptance(from, refused)
    }

    pub(super) fn judge_quote(&mut self, from: PublicKey, bytes: &[u8]) -> MessageAcceptance {
        let taken = self.state.auctions.take_quote(bytes, &self.network, (self.clock)(), Some(from));
        let refused = taken.as_ref().map(drop).map_err(|refusal| *refusal);
        if let Ok((quote, true)) = taken {
            self.tell_of_auction(NetEvent::Quote(quote));
        }
        self.acceptance(from, refused)
    }

    /// Whether what `from` brought is passed on; who brought what nobody takes is charged.
    fn acceptance(&mut self, from: PublicKey, taken: Result<(), AuctionRefusal>) -> MessageAcceptance {
        let now = Instant::now();
        if !self.state.scores.admit(from, Rate::Auction, now) {
            self.charge(from, Offence::OverRate);
        }
        self.shown.metrics.send_modify(|metrics| metrics.count_auction(taken));
        match taken {
            Ok(()) if self.state.auctions.passes(from, now) => MessageAcceptance::Accept,
            Err(refusal) if refusal.is_misbehavior() => {
                self.charge(from, Offence::Auction);
                MessageAcceptance::Reject
            }
            Ok(()) | Err(_) => MessageAcceptance::Ignore,
        }
    }

    /// Half of the room for events is kept for jobs and requests: a flood of postings refuses none of them.
    fn tell_of_auction(&self, event: NetEvent) {
        if self.events.capacity() > EVENTS_MAX / 2
            && let Err(error) = self.events.try_send(event)
        {
            tracing::debug!(%error, "an auction is not heard of");
        }
    }

    /// Gossips the node's own posting.
    pub(super) fn publish_posting(&mut self, posting: &Signed<Posting>) -> Result<(), PublishError> {
        let bytes = wire::encode(posting);
        self.state.auctions.take_posting(&bytes, &self.network, (self.clock)(), None)?;
        self.gossip_auction(&self.names.postings_topic(), bytes)
    }

    /// Gossips the node's own quote.
    pub(super) fn publish_quote(&mut self, quote: &Signed<Advert>) -> Result<(), PublishError> {
        let bytes = wire::encode(quote);
        self.state.auctions.take_quote(&bytes, &self.network, (self.clock)(), None)?;
        self.gossip_auction(&self.names.quotes_topic(), bytes)
    }

    fn gossip_auction(&mut self, topic: &IdentTopic, bytes: Vec<u8>) -> Result<(), PublishError> {
        match self.swarm.behaviour_mut().gossip.publish(topic.hash(), bytes) {
            Ok(_) => Ok(()),
            Err(gossipsub::PublishError::AllQueuesFull(_)) => Err(PublishError::QueuesFull),
            Err(error) => Err(PublishError::NotSent(error.to_string())),
        }
    }
}
