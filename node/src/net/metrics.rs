//! Counters of the network room. Each says exactly when it counts.

use std::collections::{BTreeMap, VecDeque};

use gridhour_protocol::signed::PublicKey;

use crate::net::{auction_table::AuctionRefusal, gossip::Refusal, limits::PEERS_TRACKED_MAX};

/// What became of adverts that peers brought, by gossip or by push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertCounts {
    /// Verified, remembered, and forwarded if it came by gossip.
    pub accepted_total: u64,
    /// Longer than a gossiped message may be.
    pub oversized_total: u64,
    /// Not the encoding of an advert, or beyond its bounds.
    pub malformed_total: u64,
    /// For another network.
    pub wrong_network_total: u64,
    /// Expired, or replaced by a known one with a higher sequence number.
    pub stale_total: u64,
    /// Signed later than clocks may differ.
    pub from_future_total: u64,
    /// Sequence number already known. Copies of the very same bytes within a minute are dropped before and
    /// not counted.
    pub duplicate_total: u64,
    /// The signature did not verify.
    pub bad_signature_total: u64,
    /// It showed a calibration that does not speak for it.
    pub false_calibration_total: u64,
    /// Valid, but as many providers are known as are kept.
    pub table_full_total: u64,
    /// Over the peer's rate; counted beside one of the others, as it is judged all the same.
    pub over_rate_total: u64,
}

impl AdvertCounts {
    pub(crate) fn count(&mut self, verdict: Result<(), Refusal>) {
        let counter = match verdict {
            Ok(()) => &mut self.accepted_total,
            Err(Refusal::Oversized) => &mut self.oversized_total,
            Err(Refusal::Malformed) => &mut self.malformed_total,
            Err(Refusal::WrongNetwork) => &mut self.wrong_network_total,
            Err(Refusal::Stale) => &mut self.stale_total,
            Err(Refusal::FromFuture) => &mut self.from_future_total,
            Err(Refusal::Duplicate) => &mut self.duplicate_total,
            Err(Refusal::BadSignature) => &mut self.bad_signature_total,
            Err(Refusal::FalseCalibration(_)) => &mut self.false_calibration_total,
            Err(Refusal::TableFull) => &mut self.table_full_total,
        };
        *counter += 1;
    }
}

/// A snapshot of all counters since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetMetrics {
    /// Adverts of all peers.
    pub adverts: AdvertCounts,
    /// Checkpoints that said something new, our own among them.
    pub checkpoints_accepted_total: u64,
    /// Checkpoints of peers that were forged, too old, or not followed.
    pub checkpoints_refused_total: u64,
    /// Postings and quotes of peers that were new and good.
    pub auctions_accepted_total: u64,
    /// Postings and quotes of peers that were known, late, unasked for, too many, or forged.
    pub auctions_refused_total: u64,
    /// Adverts by the peer that brought them; the last peers heard of.
    pub adverts_by_peer: BTreeMap<PublicKey, AdvertCounts>,
    /// Pushes that were not lists of adverts, or came faster than their rate.
    pub pushes_refused_total: u64,
    /// Peers shut out for using up their budget, or for sending many gossip envelopes with a forged
    /// signature.
    pub bans_total: u64,
    /// Peers disconnected because they named another network or version.
    pub other_network_total: u64,
    /// Connections denied by a limit or a ban.
    pub connections_denied_total: u64,
    /// Connections through relays that became direct ones.
    pub direct_upgrades_total: u64,
    /// Connections closed because a ping was not answered.
    pub ping_timeouts_total: u64,
    /// Echoes not answered because the peer was over its rate.
    pub echoes_refused_total: u64,
    /// Inbound requests refused for their size, for the peer's number of unanswered ones, or because the node
    /// is busy.
    pub requests_refused_total: u64,
    /// Inbound job streams closed at once for the peer's number of open ones, or because the node is busy.
    pub jobs_refused_total: u64,
    heard: VecDeque<PublicKey>,
}

impl NetMetrics {
    /// What `peer` brought.
    #[must_use]
    pub fn adverts_of(&self, peer: &PublicKey) -> AdvertCounts {
        self.adverts_by_peer.get(peer).copied().unwrap_or_default()
    }

    pub(crate) fn count_advert(&mut self, peer: PublicKey, verdict: Result<(), Refusal>) {
        self.adverts.count(verdict);
        self.peer(peer).count(verdict);
    }

    pub(crate) fn count_auction(&mut self, verdict: Result<(), AuctionRefusal>) {
        match verdict {
            Ok(()) => self.auctions_accepted_total += 1,
            Err(_) => self.auctions_refused_total += 1,
        }
    }

    pub(crate) fn count_over_rate(&mut self, peer: PublicKey) {
        self.adverts.over_rate_total += 1;
        self.peer(peer).over_rate_total += 1;
    }

    fn peer(&mut self, peer: PublicKey) -> &mut AdvertCounts {
        if !self.adverts_by_peer.contains_key(&peer) {
            if self.heard.len() == PEERS_TRACKED_MAX {
                self.heard.pop_front().map(|oldest| self.adverts_by_peer.remove(&oldest));
            }
            self.heard.push_back(peer);
        }
        self.adverts_by_peer.entry(peer).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_by_peer_are_bounded() {
        let mut metrics = NetMetrics::default();
        for n in 0..2 * PEERS_TRACKED_MAX as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            metrics.count_advert(PublicKey(key), Err(Refusal::Malformed));
        }
        assert_eq!(metrics.adverts_by_peer.len(), PEERS_TRACKED_MAX);
        assert_eq!(metrics.adverts.malformed_total, 2 * PEERS_TRACKED_MAX as u64);
    }
}
