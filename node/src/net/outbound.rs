//! Which of the peers that were found we stay connected to. Pure: what is random is an input.
//!
//! Strangers choose whom they dial, and can fill our places for inbound connections. These places are ours: they go to
//! peers that we dialled, of many groups of addresses, in an order that nobody else can foretell, and a peer keeps its
//! place for as long as it is here. Whoever wants them all must have addresses in as many networks, and be there first.

use std::collections::BTreeMap;

use gridhour_protocol::signed::PublicKey;
use libp2p::Multiaddr;

use crate::net::{
    limits::{OUTBOUND_KEPT, OUTBOUND_PER_GROUP_MAX},
    reach::Group,
};

/// A peer that we dialled and that could be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) key: PublicKey,
    pub(crate) group: Group,
}

/// The peers that are kept, at most [`OUTBOUND_KEPT`].
#[derive(Debug)]
pub(crate) struct Outbound {
    /// Known to nobody else: the order in which candidates are taken depends on it.
    salt: [u8; 32],
    kept: BTreeMap<PublicKey, Group>,
}

impl Outbound {
    pub(crate) fn new(salt: [u8; 32]) -> Self {
        Self { salt, kept: BTreeMap::new() }
    }

    pub(crate) fn keeps(&self, key: &PublicKey) -> bool {
        self.kept.contains_key(key)
    }

    /// Places that are free.
    pub(crate) fn free(&self) -> usize {
        OUTBOUND_KEPT.saturating_sub(self.kept.len())
    }

    /// Frees the places of peers that are gone.
    pub(crate) fn retain(&mut self, is_here: impl Fn(&PublicKey) -> bool) {
        self.kept.retain(|key, _| is_here(key));
    }

    /// Gives the free places to candidates; says whether any was given.
    pub(crate) fn fill(&mut self, mut candidates: Vec<Candidate>) -> bool {
        candidates.retain(|candidate| !self.keeps(&candidate.key));
        let before = self.kept.len();
        while self.free() > 0
            && let Some(at) = self.next(&candidates)
        {
            let Candidate { key, group } = candidates.swap_remove(at);
            self.kept.insert(key, group);
        }
        self.kept.len() > before
    }

    /// Whom to take: of the group that has the fewest places, of equal ones the first in our order.
    fn next(&self, candidates: &[Candidate]) -> Option<usize> {
        let open = candidates.iter().enumerate().filter_map(|(at, candidate)| {
            let held = self.kept.values().filter(|group| **group == candidate.group).count();
            let rank = (held, self.rank(&candidate.group.bytes()), self.rank(&candidate.key.0));
            (held < OUTBOUND_PER_GROUP_MAX).then_some((rank, at))
        });
        open.min().map(|(_, at)| at)
    }

    /// The order in which peers are dialled for places: nobody can get in front by the name or the address it chooses.
    pub(crate) fn order(&self, peer: &[u8], address: Option<&Multiaddr>) -> impl Ord + use<> {
        let group = address.map(|address| self.rank(&Group::of(address).bytes()));
        (group, self.rank(peer))
    }

    fn rank(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.salt, bytes).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(peer: u64, group: u16) -> Candidate {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&peer.to_le_bytes());
        Candidate { key: PublicKey(key), group: Group::V4(group.to_be_bytes()) }
    }

    #[test]
    fn a_thousand_keys_of_one_network_get_no_more_places_than_a_network_may_have() {
        let mut outbound = Outbound::new([1; 32]);
        outbound.fill((0..1000).map(|peer| candidate(peer, 7)).collect());
        assert_eq!(outbound.kept.len(), OUTBOUND_PER_GROUP_MAX);
        outbound.fill((1000..1000 + OUTBOUND_KEPT as u64).map(|peer| candidate(peer, peer as u16)).collect());
        assert_eq!(outbound.free(), 0);
    }

    #[test]
    fn who_is_here_stays_however_many_come_later() {
        let mut outbound = Outbound::new([1; 32]);
        let honest: Vec<_> = (0..OUTBOUND_KEPT as u16).map(|n| candidate(n.into(), n)).collect();
        assert!(outbound.fill(honest.clone()));
        assert!(!outbound.fill((100..5000).map(|n| candidate(n, n as u16)).collect()));
        assert!(honest.iter().all(|candidate| outbound.keeps(&candidate.key)));
        outbound.retain(|key| *key != honest[0].key);
        assert_eq!(outbound.free(), 1);
    }

    #[test]
    fn two_nodes_choose_differently_among_the_same() {
        let candidates: Vec<_> = (0..200).map(|n| candidate(n, n as u16)).collect();
        let chosen = |salt| {
            let mut outbound = Outbound::new([salt; 32]);
            outbound.fill(candidates.clone());
            outbound.kept.into_keys().collect::<Vec<_>>()
        };
        assert_ne!(chosen(1), chosen(2));
        assert_eq!(chosen(1), chosen(1));
    }

    proptest! {
        /// An attacker with any number of keys in `g` networks never has more than its networks' places, as long as
        /// there are others to choose from.
        #[test]
        fn places_go_round_the_groups(salt: [u8; 32], hostile in 0_u16..4, keys in 0_u64..300) {
            let honest = (0..64_u16).map(|n| candidate(n.into(), 1000 + n));
            let hostiles = (0..keys)
                .filter(|_| hostile > 0)
                .map(|n| candidate(1000 + n, u16::try_from(n % u64::from(hostile.max(1))).unwrap_or(0)));
            let mut outbound = Outbound::new(salt);
            outbound.fill(honest.chain(hostiles).collect());
            let theirs = outbound.kept.values().filter(|group| group.bytes()[1] == 0).count();
            prop_assert!(theirs <= usize::from(hostile), "{theirs} places for {hostile} networks");
            prop_assert_eq!(outbound.free(), 0);
        }
    }
}
