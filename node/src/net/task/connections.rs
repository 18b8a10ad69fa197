//! Connections: dialled, identified, watched, shut out.

use std::{collections::hash_map::Entry, time::Instant};

use gridhour_protocol::signed::PublicKey;
use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    identify, ping,
    swarm::{ConnectionId, DialError as SwarmDialError, ListenError, dial_opts::DialOpts},
};

use super::{DialReply, Dialing, State, Task};
use crate::net::{
    bootstrap::Link,
    error::DialError,
    identity::{Address, key_of, peer_of},
    limits::{ADDRESSES_CONFIGURED_MAX, BAN, BANS_MAX, CONNECTIONS_IN_MAX},
    scoped::Scope,
};

impl Task {
    pub(super) fn dial(&mut self, address: Address, reply: DialReply) {
        let known = address
            .peer()
            .filter(|key| peer_of(key).is_some_and(|peer| self.state.peers.is_identified(&peer)));
        if let Some(key) = known {
            if let Some(peer) = peer_of(&key) {
                self.state.peers.want(&peer);
            }
            let _ = reply.send(Ok(key));
            return;
        }
        let mut dials = self.state.dialing.values_mut();
        if let Some(same) = dials.find(|dialing| dialing.address == address) {
            same.replies.push(reply);
            return;
        }
        self.begin_dial(address, vec![reply]);
    }

    /// Dials the bootstrap peers that are due. A dial that is slow is not begun again: each would be one more
    /// connection to the peer once it answers, and those are limited.
    pub(super) fn redial(&mut self, now: Instant) {
        let State { peers, dialing, .. } = &self.state;
        let due = self.bootstrap.due(now, |address, key| match peer_of(key) {
            Some(peer) if peers.is_identified(&peer) => Link::Ready,
            Some(peer) if peers.is_connected(&peer) => Link::UnderWay,
            _ if dialing.values().any(|dialing| dialing.address == *address) => Link::UnderWay,
            _ => Link::Away,
        });
        for address in due {
            self.begin_dial(address, Vec::new());
        }
    }

    fn begin_dial(&mut self, address: Address, replies: Vec<DialReply>) {
        let opts = DialOpts::from(address.0.clone());
        let connection = opts.connection_id();
        self.state.dialing.insert(connection, Dialing { address, replies, held: false });
        if let Err(error) = self.swarm.dial(opts) {
            self.on_dial_failure(connection, error);
        }
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        match key_of(&peer) {
            Some(key) => {
                let is_told = self.state.dialing.contains_key(&connection);
                let is_begun = is_told || self.has_searched(connection);
                self.state.peers.connected(peer, key, connection, endpoint, is_begun);
                if is_told {
                    self.state.peers.want(&peer);
                }
                self.keep_places_for_ours(connection);
            }
            // Only ed25519 keys are compiled in, and they are always inline.
            None => {
                self.swarm.close_connection(connection);
            }
        }
    }

    /// Leaves the connection if others have as many as they may. libp2p sees to that for those that they dial; those that
    /// they have us dial would take the rest.
    fn keep_places_for_ours(&mut self, connection: ConnectionId) {
        let State { peers, .. } = &self.state;
        if !peers.is_ours(connection) && peers.of_others() > CONNECTIONS_IN_MAX as usize {
            self.shown.metrics.send_modify(|metrics| metrics.connections_denied_total += 1);
            self.swarm.close_connection(connection);
        }
    }

    pub(super) fn on_disconnected(&mut self, peer: &PeerId, connection: ConnectionId, left: u32) {
        let why = "the connection closed before the peer named its network";
        self.fail_dials(why, |id, _| id == connection);
        self.state.peers.disconnected(peer, connection, left);
        self.state.foreign.gone(connection);
        if left == 0 {
            self.fail_dials(why, |_, dialing| dialing.held && dialing.is_to(peer));
            self.show_peers();
        }
    }

    fn fail_dials(&mut self, why: &str, which: impl Fn(ConnectionId, &Dialing) -> bool) {
        for (_, dialing) in self.state.dialing.extract_if(|id, dialing| which(*id, dialing)) {
            let error = DialError::Unreachable { address: dialing.address.clone(), why: why.into() };
            dialing.answer(&Err(error));
        }
    }

    pub(super) fn on_dial_failure(&mut self, connection: ConnectionId, error: SwarmDialError) {
        self.forget_search(connection);
        let denied = matches!(error, SwarmDialError::Denied { .. });
        if denied {
            self.shown.metrics.send_modify(|metrics| metrics.connections_denied_total += 1);
        }
        let peers = &self.state.peers;
        let Entry::Occupied(mut dialing) = self.state.dialing.entry(connection) else { return };
        if denied && peers.ids().iter().any(|peer| dialing.get().is_to(peer)) {
            dialing.get_mut().held = true;
            return;
        }
        let dialing = dialing.remove();
        tracing::debug!(address = %dialing.address, %error, "not reached");
        let answer = Err(explain(dialing.address.clone(), error));
        dialing.answer(&answer);
    }

    pub(super) fn on_incoming_failure(&mut self, error: &ListenError) {
        if matches!(error, ListenError::Denied { .. }) {
            self.shown.metrics.send_modify(|metrics| metrics.connections_denied_total += 1);
        }
    }

    pub(super) fn on_listening(&mut self, address: Multiaddr) {
        self.show_if_public(&address);
        let address = Address::of_peer(address, *self.swarm.local_peer_id());
        self.shown.listening.send_modify(|listening| {
            if !listening.contains(&address) {
                listening.push(address);
            }
        });
    }

    /// An address of ours that is not of our own networks is told to everyone, without being asked for first.
    pub(super) fn show_if_public(&mut self, address: &Multiaddr) {
        if Scope::of(address, self.is_near) == Scope::Far {
            self.swarm.add_external_address(address.clone());
            self.show_public();
        }
    }

    /// A peer dialled us at `address`. Of a near one, that says that the peer is near.
    pub(super) fn on_public(&mut self, address: &Multiaddr) {
        if Scope::of(address, self.is_near) == Scope::Near {
            self.swarm.remove_external_address(address);
        }
        self.show_public();
    }

    /// Shows under which addresses the world reaches us.
    pub(super) fn show_public(&self) {
        let peer = *self.swarm.local_peer_id();
        let public = self.swarm.external_addresses().map(|address| Address::of_peer(address.clone(), peer));
        self.shown.public.send_replace(public.take(ADDRESSES_CONFIGURED_MAX).collect());
    }

    pub(super) fn on_not_listening(&mut self, address: Multiaddr) {
        let address = Address::of_peer(address, *self.swarm.local_peer_id());
        self.shown.listening.send_modify(|listening| listening.retain(|other| *other != address));
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let (connection_id, peer_id, info) = match event {
            identify::Event::Received { connection_id, peer_id, info } => (connection_id, peer_id, info),
            identify::Event::Error { connection_id, error, .. } => {
                let why = format!("the peer does not name its network: {error}");
                self.fail_dials(&why, |id, _| id == connection_id);
                return;
            }
            _ => return,
        };
        let ours = self.names.identity();
        let Some(key) = self.state.peers.key(&peer_id) else { return };
        let verdict = if info.protocol_version == ours {
            if self.state.peers.identified(&peer_id) {
                self.show_peers();
            }
            self.learn(peer_id, connection_id, &info);
            Ok(key)
        } else {
            self.shown.metrics.send_modify(|metrics| metrics.other_network_total += 1);
            self.state.foreign.leave(connection_id, Instant::now());
            Err(DialError::OtherNetwork { ours, theirs: info.protocol_version.chars().take(80).collect() })
        };
        let told = |id: &ConnectionId, dialing: &mut Dialing| *id == connection_id || dialing.is_to(&peer_id);
        self.state.dialing.extract_if(told).for_each(|(_, dialing)| dialing.answer(&verdict));
    }

    /// Closes connections to peers of other networks, once these had time to hear our name.
    pub(super) fn leave_foreign(&mut self, now: Instant) {
        for connection in self.state.foreign.due(now) {
            self.swarm.close_connection(connection);
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        if matches!(event.result, Err(ping::Failure::Timeout)) {
            self.shown.metrics.send_modify(|metrics| metrics.ping_timeouts_total += 1);
            self.swarm.close_connection(event.connection);
        }
    }

    /// Shuts a peer out for a while. Its connections close; nobody else notices.
    pub(super) fn ban(&mut self, key: PublicKey, now: Instant) {
        let Some(peer) = peer_of(&key) else { return };
        if self.state.bans.len() >= BANS_MAX && !self.state.bans.contains_key(&peer) {
            let oldest = self.state.bans.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer);
            oldest.into_iter().for_each(|peer| self.unban(&peer));
        }
        if self.state.bans.insert(peer, now + BAN).is_none() {
            tracing::info!(peer = %key, "peer used up its budget and is shut out");
            self.shown.metrics.send_modify(|metrics| metrics.bans_total += 1);
            self.swarm.behaviour_mut().banned.block_peer(peer);
        }
    }

    pub(super) fn is_banned(&self, key: &PublicKey) -> bool {
        peer_of(key).is_some_and(|peer| self.state.bans.contains_key(&peer))
    }

    fn unban(&mut self, peer: &PeerId) {
        self.state.bans.remove(peer);
        self.swarm.behaviour_mut().banned.unblock_peer(*peer);
    }

    pub(super) fn lift_bans(&mut self, now: Instant) {
        let over: Vec<PeerId> =
            self.state.bans.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        over.iter().for_each(|peer| self.unban(peer));
    }

    /// Shuts out peers whose gossip envelopes keep failing, which no advert of theirs would show.
    pub(super) fn ban_gossip_vandals(&mut self, now: Instant) {
        for peer in self.state.peers.ids() {
            if self.swarm.behaviour().is_gossip_vandal(&peer)
                && let Some(key) = self.state.peers.key(&peer)
            {
                self.ban(key, now);
            }
        }
    }

    fn show_peers(&self) {
        let keys = self.state.peers.keys();
        self.shown.peers.send_if_modified(|shown| {
            let changed = *shown != keys;
            *shown = keys;
            changed
        });
    }
}

impl Dialing {
    fn is_to(&self, peer: &PeerId) -> bool {
        self.address.peer().and_then(|key| peer_of(&key)).as_ref() == Some(peer)
    }

    fn answer(self, answer: &Result<PublicKey, DialError>) {
        // A caller that no longer waits needs no answer.
        self.replies.into_iter().for_each(|reply| drop(reply.send(answer.clone())));
    }
}

fn explain(address: Address, error: SwarmDialError) -> DialError {
    match error {
        SwarmDialError::WrongPeerId { obtained, .. } => {
            DialError::WrongPeer { address, found: obtained.to_string() }
        }
        SwarmDialError::Denied { cause } => DialError::Denied(cause.to_string()),
        other => DialError::Unreachable { address, why: other.to_string() },
    }
}
