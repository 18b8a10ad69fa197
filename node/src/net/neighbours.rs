//! Peers that announce themselves on our own network by mDNS. Pure.
//!
//! Whoever is on the network can announce what it likes, so a few are kept, and they are dialled like any others: who
//! they are shows in the handshake, and of which network in what they say then.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};

use crate::net::limits::{KADEMLIA_ADDRESSES_MAX, MDNS_PEERS_MAX};

/// Announced peers and where they say they are, at most [`MDNS_PEERS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    announced: BTreeMap<PeerId, Vec<Multiaddr>>,
}

impl Neighbours {
    /// Notes an announcement; `false` if there is no room for one more peer.
    pub(crate) fn announce(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        if self.announced.len() >= MDNS_PEERS_MAX && !self.announced.contains_key(&peer) {
            return false;
        }
        let addresses = self.announced.entry(peer).or_default();
        if addresses.len() < KADEMLIA_ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
        true
    }

    /// An announcement was not repeated.
    pub(crate) fn expire(&mut self, peer: &PeerId, address: &Multiaddr) {
        if let Some(addresses) = self.announced.get_mut(peer) {
            addresses.retain(|old| old != address);
            if addresses.is_empty() {
                self.announced.remove(peer);
            }
        }
    }

    /// All that are announced.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PeerId, Vec<Multiaddr>)> {
        self.announced.iter().map(|(peer, addresses)| (*peer, addresses.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/192.168.0.7/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn however_many_are_announced_a_few_are_kept_until_they_expire() {
        let mut neighbours = Neighbours::default();
        let first = PeerId::random();
        for port in 1..=2 * KADEMLIA_ADDRESSES_MAX {
            assert!(neighbours.announce(first, address(port)));
        }
        let kept = (0..2 * MDNS_PEERS_MAX).filter(|_| neighbours.announce(PeerId::random(), address(1)));
        assert_eq!(kept.count(), MDNS_PEERS_MAX - 1);
        let of_first = neighbours.all().find(|(peer, _)| *peer == first).expect("kept");
        assert_eq!(of_first.1.len(), KADEMLIA_ADDRESSES_MAX);
        for port in 1..=KADEMLIA_ADDRESSES_MAX {
            neighbours.expire(&first, &address(port));
        }
        assert!(neighbours.all().all(|(peer, _)| peer != first));
        assert!(neighbours.announce(PeerId::random(), address(1)), "there is room again");
    }
}
