//! Connected peers: who they are, and what each holds of what is limited per peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gridhour_protocol::signed::PublicKey;
use libp2p::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::{
    job_stream::Place,
    limits::{JOBS_MAX, JOBS_PER_PEER_MAX, REQUESTS_IN_MAX},
    service::Service,
};

#[derive(Debug)]
struct Peer {
    key: PublicKey,
    /// Whether it named our network and version.
    identified: bool,
    jobs: Arc<Semaphore>,
    ledger: Arc<Semaphore>,
    asset: Arc<Semaphore>,
}

impl Peer {
    fn new(key: PublicKey) -> Self {
        let places = |max| Arc::new(Semaphore::new(max));
        let (ledger, asset) = (places(REQUESTS_IN_MAX), places(REQUESTS_IN_MAX));
        Self { key, identified: false, jobs: places(JOBS_PER_PEER_MAX), ledger, asset }
    }
}

/// Peers with at least one connection; their number is bounded by that of connections.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    all_jobs: Arc<Semaphore>,
}

impl Default for Peers {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), all_jobs: Arc::new(Semaphore::new(JOBS_MAX)) }
    }
}

impl Peers {
    /// A connection was made.
    pub(crate) fn connected(&mut self, peer: PeerId, key: PublicKey) {
        self.peers.entry(peer).or_insert_with(|| Peer::new(key));
    }

    /// The last connection is gone. What the peer still holds is given back as it is dropped.
    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// The peer named our network; `true` the first time.
    pub(crate) fn identified(&mut self, peer: &PeerId) -> bool {
        match self.peers.get_mut(peer) {
            Some(peer) => !std::mem::replace(&mut peer.identified, true),
            None => false,
        }
    }

    pub(crate) fn key(&self, peer: &PeerId) -> Option<PublicKey> {
        self.peers.get(peer).map(|peer| peer.key)
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    pub(crate) fn is_identified(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.identified)
    }

    /// Keys of the peers that named our network.
    pub(crate) fn keys(&self) -> BTreeSet<PublicKey> {
        self.peers.values().filter(|peer| peer.identified).map(|peer| peer.key).collect()
    }

    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }

    /// A place for one more job stream of the peer's, if it and all peers together hold few enough.
    pub(crate) fn take_job(&self, peer: &PeerId) -> Option<(PublicKey, Place)> {
        let peer = self.peers.get(peer)?;
        let own = Arc::clone(&peer.jobs).try_acquire_owned().ok()?;
        let shared = Arc::clone(&self.all_jobs).try_acquire_owned().ok()?;
        Some((peer.key, Arc::new(vec![own, shared])))
    }

    /// A place for one more unanswered request of the peer's.
    pub(crate) fn take_request(
        &self,
        peer: &PeerId,
        service: Service,
    ) -> Option<(PublicKey, OwnedSemaphorePermit)> {
        let peer = self.peers.get(peer)?;
        let places = match service {
            Service::Ledger => &peer.ledger,
            Service::Asset => &peer.asset,
        };
        Some((peer.key, Arc::clone(places).try_acquire_owned().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{identity::peer_of, sample::secret};

    fn peers(seeds: impl IntoIterator<Item = u8>) -> (Peers, Vec<PeerId>) {
        let mut peers = Peers::default();
        let ids = seeds.into_iter().map(|seed| {
            let key = secret(seed).public();
            let id = peer_of(&key).expect("a public key is a point");
            peers.connected(id, key);
            id
        });
        let ids = ids.collect();
        (peers, ids)
    }

    #[test]
    fn places_are_per_peer_and_come_back() {
        let (peers, ids) = peers([1, 2]);
        let held: Vec<_> = (0..2 * JOBS_PER_PEER_MAX).filter_map(|_| peers.take_job(&ids[0])).collect();
        assert_eq!(held.len(), JOBS_PER_PEER_MAX);
        assert!(peers.take_job(&ids[1]).is_some());
        drop(held);
        assert!(peers.take_job(&ids[0]).is_some());
    }

    #[test]
    fn all_peers_together_hold_no_more_than_the_total() {
        let (peers, ids) = peers(1..=u8::try_from(JOBS_MAX / JOBS_PER_PEER_MAX + 2).expect("small"));
        let held: Vec<_> = ids
            .iter()
            .flat_map(|id| (0..JOBS_PER_PEER_MAX).filter_map(|_| peers.take_job(id)).collect::<Vec<_>>())
            .collect();
        assert_eq!(held.len(), JOBS_MAX);
    }

    #[test]
    fn services_do_not_take_each_others_places() {
        let (peers, ids) = peers([1]);
        let held: Vec<_> = (0..9).filter_map(|_| peers.take_request(&ids[0], Service::Asset)).collect();
        assert_eq!(held.len(), REQUESTS_IN_MAX);
        assert!(peers.take_request(&ids[0], Service::Ledger).is_some());
    }
}
