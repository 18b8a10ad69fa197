//! Connected peers: who they are, and what each holds of what is limited per peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use gridhour_protocol::signed::PublicKey;
use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, swarm::ConnectionId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::{
    identity::Address,
    job_stream::Place,
    limits::{JOBS_MAX, JOBS_PER_PEER_MAX, LINGER, PEERS_TRACKED_MAX, REQUESTS_IN_MAX},
    scoped::Scope,
    service::Service,
};

/// One connection.
#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    remote: Multiaddr,
    /// Whether this node began it: a protocol that dials because the peer asked for it does not.
    is_ours: bool,
    /// Whether a relay passes it on.
    is_relayed: bool,
}

#[derive(Debug)]
struct Peer {
    key: PublicKey,
    connections: Vec<Connection>,
    since: Instant,
    /// Whether this node itself asked for the peer, and not only a search.
    wanted: bool,
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
        Self {
            key,
            connections: Vec::new(),
            since: Instant::now(),
            wanted: false,
            identified: false,
            jobs: places(JOBS_PER_PEER_MAX),
            ledger,
            asset,
        }
    }

    /// The connection that we began, if there is one.
    fn dialled(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.is_ours)
    }

    /// Whether the peer has us do something.
    fn is_busy(&self) -> bool {
        self.jobs.available_permits() < JOBS_PER_PEER_MAX
            || self.ledger.available_permits() < REQUESTS_IN_MAX
            || self.asset.available_permits() < REQUESTS_IN_MAX
    }
}

/// Peers with at least one connection; their number is bounded by that of connections.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    /// Peers that this node itself asked for and that are not here yet.
    awaited: BTreeSet<PeerId>,
    all_jobs: Arc<Semaphore>,
}

impl Default for Peers {
    fn default() -> Self {
        let all_jobs = Arc::new(Semaphore::new(JOBS_MAX));
        Self { peers: BTreeMap::new(), awaited: BTreeSet::new(), all_jobs }
    }
}

impl Peers {
    /// A connection was made. `is_begun` says that this node's own dial made it.
    pub(crate) fn connected(
        &mut self,
        peer: PeerId,
        key: PublicKey,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        is_begun: bool,
    ) {
        let remote = endpoint.get_remote_address().clone();
        let awaited = self.awaited.remove(&peer);
        let peer = self.peers.entry(peer).or_insert_with(|| Peer::new(key));
        peer.wanted |= awaited;
        // Protocols dial peers that this node asks for, too: at first, or to replace the way through a relay by a direct one.
        let is_ours = endpoint.is_dialer() && (is_begun || peer.wanted);
        peer.connections.push(Connection { id, remote, is_ours, is_relayed: endpoint.is_relayed() });
    }

    /// One connection is gone; with the last one the peer is. What it still holds is given back as it is dropped.
    pub(crate) fn disconnected(&mut self, peer: &PeerId, id: ConnectionId, left: u32) {
        if left == 0 {
            self.peers.remove(peer);
        } else if let Some(peer) = self.peers.get_mut(peer) {
            peer.connections.retain(|connection| connection.id != id);
        }
    }

    /// This node itself asks for the peer: it is not left as one that only a search dialled.
    pub(crate) fn want(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.wanted = true;
            return;
        }
        if self.awaited.len() >= PEERS_TRACKED_MAX {
            self.awaited.clear();
        }
        self.awaited.insert(*peer);
    }

    fn connection(&self, peer: &PeerId, id: ConnectionId) -> Option<&Connection> {
        self.peers.get(peer)?.connections.iter().find(|connection| connection.id == id)
    }

    /// Where the other end of a connection is.
    pub(crate) fn remote(&self, peer: &PeerId, id: ConnectionId) -> Option<&Multiaddr> {
        self.connection(peer, id).map(|connection| &connection.remote)
    }

    /// The reach of a peer: near if one of its connections is.
    pub(crate) fn scope(&self, peer: &PeerId, is_near: fn(&Address) -> bool) -> Scope {
        let mut connections = self.peers.get(peer).into_iter().flat_map(|peer| &peer.connections);
        let is_near = connections.any(|connection| Scope::of(&connection.remote, is_near) == Scope::Near);
        if is_near { Scope::Near } else { Scope::Far }
    }

    /// Whether a relay passes the connection on.
    pub(crate) fn is_relayed(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.connection(peer, id).is_some_and(|connection| connection.is_relayed)
    }

    /// Whether this node began the connection.
    pub(crate) fn is_ours(&self, id: ConnectionId) -> bool {
        let mut connections = self.peers.values().flat_map(|peer| &peer.connections);
        connections.any(|connection| connection.id == id && connection.is_ours)
    }

    /// Connections that others began, or had us begin.
    pub(crate) fn of_others(&self) -> usize {
        let connections = self.peers.values().flat_map(|peer| &peer.connections);
        connections.filter(|connection| !connection.is_ours).count()
    }

    /// Peers of our network that we dialled, and where.
    pub(crate) fn dialled(&self) -> impl Iterator<Item = (PublicKey, &Multiaddr)> {
        self.peers
            .values()
            .filter(|peer| peer.identified)
            .filter_map(|peer| Some((peer.key, &peer.dialled()?.remote)))
    }

    /// Connections that we began a while ago to peers that nobody here asked for, that have nothing to do with us,
    /// and that `keeps` does not name.
    pub(crate) fn idle_finds(&self, now: Instant, keeps: impl Fn(&PublicKey) -> bool) -> Vec<ConnectionId> {
        let idle = |peer: &&Peer| {
            let lingers = now.saturating_duration_since(peer.since) >= LINGER;
            lingers && !peer.wanted && !peer.is_busy() && !keeps(&peer.key)
        };
        let dialled = self.peers.values().filter(idle).filter_map(Peer::dialled);
        dialled.map(|connection| connection.id).collect()
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
    use libp2p::core::{Endpoint, transport::PortUse};

    use super::*;
    use crate::net::{identity::peer_of, sample::secret};

    fn dialled() -> ConnectedPoint {
        let address = "/memory/1".parse().expect("an address");
        ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, port_use: PortUse::Reuse }
    }

    fn peers(seeds: impl IntoIterator<Item = u8>) -> (Peers, Vec<PeerId>) {
        let mut peers = Peers::default();
        let ids = seeds.into_iter().map(|seed| {
            let key = secret(seed).public();
            let id = peer_of(&key).expect("a public key is a point");
            peers.connected(id, key, ConnectionId::new_unchecked(usize::from(seed)), &dialled(), true);
            id
        });
        let ids = ids.collect();
        (peers, ids)
    }

    #[test]
    fn a_found_peer_is_left_unless_it_is_wanted_kept_or_at_work() {
        let (mut peers, ids) = peers([1, 2, 3, 4]);
        peers.want(&ids[0]);
        let _job = peers.take_job(&ids[1]).expect("a place");
        let kept = secret(3).public();
        let later = Instant::now() + LINGER;
        assert_eq!(peers.idle_finds(later, |key| *key == kept), [ConnectionId::new_unchecked(4)]);
        assert!(peers.idle_finds(Instant::now(), |_| false).is_empty(), "not at once");
    }

    #[test]
    fn a_connection_that_a_peer_had_us_make_is_not_ours() {
        let (mut peers, ids) = peers([1]);
        let provoked = secret(2).public();
        let (id, connection) =
            (peer_of(&provoked).expect("a public key is a point"), ConnectionId::new_unchecked);
        peers.connected(id, provoked, connection(2), &dialled(), false);
        assert!(peers.identified(&ids[0]) && peers.identified(&id));
        assert_eq!(peers.dialled().map(|(key, _)| key).collect::<Vec<_>>(), [secret(1).public()]);
        assert_eq!(peers.of_others(), 1);
        let later = Instant::now() + LINGER;
        assert_eq!(peers.idle_finds(later, |_| false), [connection(1)], "it is the peer's to end");

        let asked = secret(3).public();
        let id = peer_of(&asked).expect("a public key is a point");
        peers.want(&id);
        peers.connected(id, asked, connection(3), &dialled(), false);
        assert_eq!(peers.of_others(), 1, "what a protocol dials for us is ours");
        peers.connected(id, asked, connection(4), &dialled(), false);
        assert_eq!(
            peers.of_others(),
            1,
            "so is the direct connection that replaces the one to a peer we asked for"
        );
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
