//! Finding peers: tables fed, searched, and a few of those that were found kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, identify, kad, mdns,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::Task;
use crate::net::{
    identity::{Address, peer_of},
    kademlia,
    limits::{
        KADEMLIA_ADDRESS_BYTES_MAX, KADEMLIA_ADDRESSES_MAX, OUTBOUND_AGAIN, OUTBOUND_DIALS_PER_SECOND,
        REMEMBERED_MAX, SEARCH_EVERY,
    },
    neighbours::Neighbours,
    outbound::Candidate,
    peer_score::Rate,
    reach::{Group, may_follow},
    scoped::Scope,
};

/// How often places are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When to look next, and whom we dialled for a place of late.
#[derive(Debug, Default)]
pub(super) struct Search {
    look_at: Option<Instant>,
    search_at: Option<Instant>,
    tried: BTreeMap<PeerId, Instant>,
    /// Dials for a place that are under way.
    dials: BTreeSet<ConnectionId>,
    neighbours: Neighbours,
}

/// Whether `moment` has come; then it is put off by `every`.
fn is_due(moment: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let due = moment.is_none_or(|at| at <= now);
    if due {
        *moment = Some(now + every);
    }
    due
}

impl Task {
    /// A peer of our network said where it listens and what it speaks: into the table of its connection's reach. What it
    /// says over its rate waits for the next time, which libp2p asks for every five minutes.
    pub(super) fn learn(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        let Some(remote) = self.state.peers.remote(&peer, connection) else { return };
        let scope = Scope::of(remote, self.is_near);
        if !info.protocols.contains(&scope.protocol(&self.names)) {
            return;
        }
        let told = info.listen_addrs.iter().filter(|address| is_fit(address, &peer));
        let told = told.filter(|address| may_follow(address, scope, self.is_near));
        let addresses: Vec<Multiaddr> = told.cloned().collect();
        // Each time, the table is searched soon after: as often as a peer likes it must not be.
        let is_rare = |key| self.state.scores.admit(key, Rate::Identity, Instant::now());
        if !self.state.peers.key(&peer).is_some_and(is_rare) {
            return;
        }
        kademlia::learn(self.swarm.behaviour_mut().peers_of(scope), peer, &addresses);
    }

    /// Keeps what a table holds of one peer within its bounds: libp2p adds each address that it dialled, a name that this
    /// node was configured with among them.
    pub(super) fn on_kademlia(&mut self, scope: Scope, event: kad::Event) {
        let kad::Event::RoutingUpdated { peer, addresses, .. } = event else { return };
        let Some(table) = self.swarm.behaviour_mut().peers_of(scope).inner() else { return };
        let excess = addresses.len().saturating_sub(KADEMLIA_ADDRESSES_MAX);
        let is_fit = |address| is_fit(address, &peer) && may_follow(address, scope, self.is_near);
        let surplus = addresses.iter().enumerate().filter(|(at, address)| *at < excess || !is_fit(address));
        for (_, address) in surplus {
            table.remove_address(&peer, address);
        }
    }

    /// Searches now and then, and sees to the places of found peers.
    pub(super) fn look_for_peers(&mut self, now: Instant) {
        if !is_due(&mut self.state.search.look_at, now, LOOK_EVERY) {
            return;
        }
        if self.finds_peers && is_due(&mut self.state.search.search_at, now, SEARCH_EVERY) {
            let behaviour = self.swarm.behaviour_mut();
            kademlia::search(&mut behaviour.near_peers);
            kademlia::search(&mut behaviour.far_peers);
        }
        self.fill_places();
        self.dial_neighbours(now);
        self.dial_for_places(now);
        let (outbound, bootstrap) = (&self.outbound, &self.bootstrap);
        let idle = self.state.peers.idle_finds(now, |key| outbound.keeps(key) || bootstrap.names(key));
        for connection in idle {
            self.swarm.close_connection(connection);
        }
    }

    /// Gives free places to peers that we dialled and that are here.
    fn fill_places(&mut self) {
        let bootstrap = &self.bootstrap;
        let found = self.state.peers.dialled().filter(|(key, _)| !bootstrap.names(key));
        let found: BTreeMap<_, _> = found.collect();
        self.outbound.retain(|key| found.contains_key(key));
        let candidate = |(key, remote): (&_, &&Multiaddr)| Candidate { key: *key, group: Group::of(remote) };
        self.outbound.fill(found.iter().map(candidate).collect());
        let kept = found.iter().filter(|(key, _)| self.outbound.keeps(key));
        let kept = kept.filter_map(|(key, remote)| Some(Address::of_peer((*remote).clone(), peer_of(key)?)));
        let kept: Vec<_> = kept.collect();
        self.remember(kept);
    }

    /// Remembers those that are kept, before those remembered already; and while there is room, others that are here.
    fn remember(&mut self, kept: Vec<Address>) {
        let tables = self.tables();
        let here = tables.iter().filter(|(peer, _)| self.state.peers.is_identified(peer));
        let here = here.filter_map(|(peer, told)| Some(Address::of_peer(told.first()?.clone(), *peer)));
        self.shown.remembered.send_if_modified(|known| {
            let before = known.clone();
            known.retain(|old| kept.iter().all(|new| new.peer() != old.peer()));
            known.splice(0..0, kept);
            for address in here {
                if known.iter().all(|old| old.peer() != address.peer()) {
                    known.push(address);
                }
            }
            known.truncate(REMEMBERED_MAX);
            *known != before
        });
    }

    /// Dials peers that could take the places still free: those remembered first, then those in the tables.
    fn dial_for_places(&mut self, now: Instant) {
        self.state.search.tried.retain(|_, until| *until > now);
        let count = self.outbound.free().min(OUTBOUND_DIALS_PER_SECOND);
        if count == 0 || !self.finds_peers {
            return;
        }
        let mut known: Vec<_> = self.remembered.iter().filter_map(named).collect();
        known.extend(self.tables());
        self.dial_some(known, count, now);
    }

    /// Dials peers on our own network, places or not: they are few, and near.
    fn dial_neighbours(&mut self, now: Instant) {
        let announced: Vec<_> = self.state.search.neighbours.all().collect();
        for (peer, _) in &announced {
            self.state.peers.want(peer);
        }
        self.dial_some(announced, OUTBOUND_DIALS_PER_SECOND, now);
    }

    /// Dials the first few that are not here and were not tried of late.
    fn dial_some(&mut self, mut known: Vec<(PeerId, Vec<Multiaddr>)>, count: usize, now: Instant) {
        let (state, own) = (&self.state, *self.swarm.local_peer_id());
        known.retain(|(peer, _)| {
            *peer != own && !state.peers.is_connected(peer) && !state.search.tried.contains_key(peer)
        });
        for (peer, addresses) in known.into_iter().take(count) {
            self.state.search.tried.insert(peer, now + OUTBOUND_AGAIN);
            let condition = PeerCondition::DisconnectedAndNotDialing;
            let opts = DialOpts::peer_id(peer).condition(condition).addresses(addresses).build();
            let connection = opts.connection_id();
            match self.swarm.dial(opts) {
                Ok(()) => drop(self.state.search.dials.insert(connection)),
                Err(error) => tracing::debug!(%peer, %error, "found peer not dialled"),
            }
        }
    }

    /// Whether a search made this connection, which is there now.
    pub(super) fn has_searched(&mut self, connection: ConnectionId) -> bool {
        self.forget_search(connection) || self.swarm.behaviour().has_searched(connection)
    }

    /// A dial is over; `true` if it was for a place.
    pub(super) fn forget_search(&mut self, connection: ConnectionId) -> bool {
        self.state.search.dials.remove(&connection)
    }

    /// Peers announced themselves on our own network, or did so no longer.
    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        let neighbours = &mut self.state.search.neighbours;
        match event {
            mdns::Event::Discovered(announced) => {
                for (peer, address) in announced {
                    let is_fit = is_fit(&address, &peer) && may_follow(&address, Scope::Near, self.is_near);
                    if is_fit && !neighbours.announce(peer, address) {
                        tracing::debug!(%peer, "announced, and no room for it");
                    }
                }
            }
            mdns::Event::Expired(expired) => {
                expired.iter().for_each(|(peer, address)| neighbours.expire(peer, address));
            }
        }
    }

    /// Peers of both tables, in the order in which they are dialled.
    fn tables(&mut self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let behaviour = self.swarm.behaviour_mut();
        let mut known = kademlia::known(&mut behaviour.near_peers);
        known.extend(kademlia::known(&mut behaviour.far_peers));
        known
            .sort_by_cached_key(|(peer, addresses)| self.outbound.order(&peer.to_bytes(), addresses.first()));
        known
    }
}

/// Whether an address that is told of a peer is of moderate length and names no other peer.
fn is_fit(address: &Multiaddr, peer: &PeerId) -> bool {
    let names_another = match address.iter().last() {
        Some(Protocol::P2p(named)) => named != *peer,
        _ => false,
    };
    address.len() <= KADEMLIA_ADDRESS_BYTES_MAX && !names_another
}

fn named(address: &Address) -> Option<(PeerId, Vec<Multiaddr>)> {
    Some((peer_of(&address.peer()?)?, vec![address.0.clone()]))
}
