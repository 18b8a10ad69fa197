//! Direct connections in the place of ways through a relay, begun at no address where a stranger is not followed to.
//!
//! Both ends of such a way tell each other where they might be, and libp2p dials whatever it is told, at once and with no
//! regard to other dials: a stranger would have this node knock at machines of its own networks. Here what is told is
//! looked at first: whoever comes through a relay is far.
//!
//! And a node offers the addresses that it knows to be public. libp2p takes for an offer only those that are not known so
//! yet; a peer that has no others would offer nothing, and the other end gives up.

use std::{
    collections::BTreeMap,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    dcutr,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        behaviour::{ExternalAddrConfirmed, NewExternalAddrCandidate},
        derive_prelude::Either,
    },
};

use crate::net::{
    identity::Address,
    limits::{UPGRADE_ADDRESSES_MAX, UPGRADE_TRIES_MAX},
    reach::{is_direct, may_follow},
    reachability::Sides,
    scoped::Scope,
};

/// What libp2p hears from ways through a relay; it gives the type no name.
type OnRelayed = <THandlerOutEvent<dcutr::Behaviour> as Sides>::Left;

/// libp2p's protocol, held to addresses that may be followed.
pub(crate) struct Upgrades {
    inner: dcutr::Behaviour,
    is_near: fn(&Address) -> bool,
    /// Tries that were begun from each connection through a relay.
    tries: BTreeMap<ConnectionId, u8>,
}

impl Upgrades {
    pub(crate) fn new(own: PeerId, is_near: fn(&Address) -> bool) -> Self {
        Self { inner: dcutr::Behaviour::new(own), is_near, tries: BTreeMap::new() }
    }

    /// Begins one more try, if there is one left: libp2p counts those that it asks for, and not those that it is asked for.
    fn may_try(&mut self, relayed: ConnectionId) -> bool {
        let tries = self.tries.entry(relayed).or_default();
        *tries = tries.saturating_add(1);
        *tries <= UPGRADE_TRIES_MAX
    }

    fn followed(&self, mut told: Vec<Multiaddr>) -> Vec<Multiaddr> {
        told.retain(|address| is_direct(address) && may_follow(address, Scope::Far, self.is_near));
        told.truncate(UPGRADE_ADDRESSES_MAX);
        told
    }
}

impl NetworkBehaviour for Upgrades {
    type ConnectionHandler = THandler<dcutr::Behaviour>;
    type ToSwarm = dcutr::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, remote, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr }) => {
                let candidate = NewExternalAddrCandidate { addr };
                self.inner.on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
            }
            FromSwarm::ConnectionClosed(closed) => drop(self.tries.remove(&closed.connection_id)),
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let event = match event {
            Either::Left(
                OnRelayed::InboundConnectNegotiated { .. } | OnRelayed::OutboundConnectNegotiated { .. },
            ) if !self.may_try(connection) => return,
            Either::Left(OnRelayed::InboundConnectNegotiated { remote_addrs }) => {
                let remote_addrs = self.followed(remote_addrs);
                Either::Left(OnRelayed::InboundConnectNegotiated { remote_addrs })
            }
            Either::Left(OnRelayed::OutboundConnectNegotiated { remote_addrs }) => {
                let remote_addrs = self.followed(remote_addrs);
                Either::Left(OnRelayed::OutboundConnectNegotiated { remote_addrs })
            }
            event => event,
        };
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use libp2p::{core::ConnectedPoint, swarm::ConnectionClosed};

    use super::*;
    use crate::net::reach::is_near;

    fn relayed() -> ConnectionId {
        ConnectionId::new_unchecked(1)
    }

    /// Where a peer that says it is at these addresses is dialled, if it is.
    fn dialled(
        upgrades: &mut Upgrades,
        told: &[&str],
        event: fn(Vec<Multiaddr>) -> OnRelayed,
    ) -> Option<String> {
        let told = told.iter().map(|text| text.parse().expect("an address")).collect();
        upgrades.on_connection_handler_event(PeerId::random(), relayed(), Either::Left(event(told)));
        match upgrades.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ToSwarm::Dial { opts }) => Some(format!("{opts:?}")),
            _ => None,
        }
    }

    #[test]
    fn a_peer_behind_a_relay_has_nobody_dial_into_its_own_networks() {
        let told = [
            "/ip4/10.0.0.1/tcp/22",
            "/ip4/127.0.0.1/tcp/80",
            "/ip4/0.0.0.0/tcp/80",
            "/ip6/fe80::1/tcp/80",
            "/dns4/printer.example/tcp/80",
            "/ip4/203.0.113.7/tcp/1/ip4/10.0.0.2/tcp/22",
            "/ip4/198.51.100.7/tcp/4801",
        ];
        let ways: [fn(Vec<Multiaddr>) -> OnRelayed; 2] = [
            |remote_addrs| OnRelayed::InboundConnectNegotiated { remote_addrs },
            |remote_addrs| OnRelayed::OutboundConnectNegotiated { remote_addrs },
        ];
        for way in ways {
            let mut upgrades = Upgrades::new(PeerId::random(), is_near);
            let opts = dialled(&mut upgrades, &told, way).expect("who was agreed with is dialled");
            assert!(opts.contains("198.51.100.7"), "{opts}");
            let kept_out = ["10.0.0", "127.0.0.1", "0.0.0.0", "fe80", "printer"];
            assert!(kept_out.iter().all(|part| !opts.contains(part)), "{opts}");
        }
    }
    #[test]
    fn a_peer_behind_a_relay_has_itself_dialled_three_times_a_connection() {
        let mut upgrades = Upgrades::new(PeerId::random(), is_near);
        let mut tried = || {
            let way = |remote_addrs| OnRelayed::InboundConnectNegotiated { remote_addrs };
            dialled(&mut upgrades, &["/ip4/198.51.100.7/tcp/4801"], way).is_some()
        };
        assert_eq!([tried(), tried(), tried(), tried(), tried()], [true, true, true, false, false]);
        let address = "/ip4/198.51.100.8/tcp/4801/p2p-circuit".parse().expect("an address");
        let endpoint =
            ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, port_use: PortUse::Reuse };
        upgrades.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: PeerId::random(),
            connection_id: relayed(),
            endpoint: &endpoint,
            cause: None,
            remaining_established: 0,
        }));
        assert!(upgrades.tries.is_empty());
    }
}
