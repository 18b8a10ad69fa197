//! Trying for peers whether they can be dialled, without being of use to whoever would have somebody else dialled.
//!
//! libp2p's server dials whatever address it is asked to try. Here it dials a peer at the IP address that the peer itself
//! was met at, by number, and whoever is there only so often. What is not tried is answered as not reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    autonat::v2::server,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use thiserror::Error;

use crate::net::{
    identity::ip_of,
    limits::{DIAL_BACK_TIME, DIAL_BACKS_MAX},
    reach::is_direct,
    turns::Turns,
};

/// Why a peer is not dialled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotTried {
    #[error("the address is not, by number, where the peer was met")]
    Elsewhere,
    #[error("whoever is there was dialled often enough of late")]
    TooOften,
}

/// libp2p's server, held to peers' own addresses.
pub(crate) struct DialBack {
    inner: server::Behaviour,
    /// Where the peers of direct connections are.
    met: BTreeMap<ConnectionId, (PeerId, IpAddr)>,
    /// Dials that a peer asked for, until the swarm says where they would go.
    asked: BTreeSet<ConnectionId>,
    turns: Turns,
}

impl DialBack {
    pub(crate) fn new() -> Self {
        let turns = Turns::new(DIAL_BACKS_MAX, DIAL_BACK_TIME);
        Self { inner: server::Behaviour::default(), met: BTreeMap::new(), asked: BTreeSet::new(), turns }
    }

    /// Whether `peer` may be dialled at `addresses` for its own sake.
    fn permit(
        &mut self,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        now: Instant,
    ) -> Result<(), NotTried> {
        let [address] = addresses else { return Err(NotTried::Elsewhere) };
        let ip = ip_of(address).filter(|_| is_direct(address)).ok_or(NotTried::Elsewhere)?;
        let is_met =
            |(met, at): &(PeerId, IpAddr)| Some(*met) == peer && at.to_canonical() == ip.to_canonical();
        if !self.met.values().any(is_met) {
            return Err(NotTried::Elsewhere);
        }
        if self.turns.take(ip, now) { Ok(()) } else { Err(NotTried::TooOften) }
    }

    fn notice(&mut self, event: &FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                if let Some(ip) = ip_of(event.endpoint.get_remote_address()) {
                    self.met.insert(event.connection_id, (event.peer_id, ip));
                }
            }
            FromSwarm::ConnectionClosed(event) => drop(self.met.remove(&event.connection_id)),
            FromSwarm::DialFailure(event) => drop(self.asked.remove(&event.connection_id)),
            _ => {}
        }
    }
}

impl NetworkBehaviour for DialBack {
    type ConnectionHandler = THandler<server::Behaviour>;
    type ToSwarm = server::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.asked.remove(&connection) {
            self.permit(peer, addresses, Instant::now()).map_err(ConnectionDenied::new)?;
        }
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
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
        self.notice(&event);
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let action = self.inner.poll(context);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &action {
            self.asked.insert(opts.connection_id());
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use libp2p::{
        core::{ConnectedPoint, Endpoint},
        swarm::{ConnectionClosed, behaviour::ConnectionEstablished},
    };

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    fn listener(remote: &str) -> ConnectedPoint {
        let local_addr = address("/ip4/192.0.2.1/tcp/1");
        ConnectedPoint::Listener { local_addr, send_back_addr: address(remote) }
    }

    fn meet(server: &mut DialBack, peer: PeerId, id: usize, at: &str) {
        let endpoint = listener(at);
        server.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(id),
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
    }

    /// What is said to a peer that asks to be dialled at `text`, by way of the swarm.
    fn ask(server: &mut DialBack, peer: PeerId, text: &str) -> Result<(), String> {
        let connection = ConnectionId::new_unchecked(99);
        server.asked.insert(connection);
        let told = [address(text)];
        let answer =
            server.handle_pending_outbound_connection(connection, Some(peer), &told, Endpoint::Dialer);
        answer.map(drop).map_err(|denied| denied.downcast::<NotTried>().expect("ours").to_string())
    }

    #[test]
    fn a_peer_is_dialled_back_where_it_was_met_and_nowhere_else() {
        let (mut server, [peer, other]) = (DialBack::new(), [PeerId::random(), PeerId::random()]);
        meet(&mut server, peer, 1, "/ip4/198.51.100.7/tcp/50000");
        meet(&mut server, other, 2, "/ip4/203.0.113.9/tcp/50000");
        let relay = PeerId::random();
        meet(&mut server, peer, 3, &format!("/ip4/203.0.113.3/tcp/1/p2p/{relay}/p2p-circuit"));
        assert_eq!(ask(&mut server, peer, "/ip4/198.51.100.7/tcp/4802"), Ok(()));
        assert_eq!(ask(&mut server, peer, "/ip6/::ffff:198.51.100.7/udp/4802/quic-v1"), Ok(()));
        for elsewhere in [
            "/ip4/203.0.113.9/tcp/4802",
            "/ip4/203.0.113.3/tcp/1",
            "/ip4/10.0.0.1/tcp/80",
            "/dns4/victim.example/tcp/80",
            "/ip4/198.51.100.7/tcp/1/ip4/10.0.0.1/tcp/80",
            &format!("/ip4/198.51.100.7/tcp/1/p2p/{relay}/p2p-circuit"),
        ] {
            assert_eq!(
                ask(&mut server, peer, elsewhere),
                Err(NotTried::Elsewhere.to_string()),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn who_left_is_not_dialled_back_and_who_stays_only_so_often() {
        let (mut server, peer) = (DialBack::new(), PeerId::random());
        meet(&mut server, peer, 1, "/ip4/198.51.100.7/tcp/50000");
        let dialled =
            (0..3 * DIAL_BACKS_MAX).filter(|_| ask(&mut server, peer, "/ip4/198.51.100.7/tcp/1").is_ok());
        assert_eq!(dialled.count(), DIAL_BACKS_MAX as usize);
        assert_eq!(ask(&mut server, peer, "/ip4/198.51.100.7/tcp/1"), Err(NotTried::TooOften.to_string()));
        let endpoint = listener("/ip4/198.51.100.7/tcp/50000");
        server.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(1),
            endpoint: &endpoint,
            cause: None,
            remaining_established: 0,
        }));
        assert_eq!(ask(&mut server, peer, "/ip4/198.51.100.7/tcp/1"), Err(NotTried::Elsewhere.to_string()));
    }

    #[test]
    fn dials_that_nobody_asked_for_are_not_looked_at() {
        let (mut server, told) = (DialBack::new(), [address("/ip4/10.0.0.1/tcp/80")]);
        let (connection, peer) = (ConnectionId::new_unchecked(7), Some(PeerId::random()));
        assert!(server.handle_pending_outbound_connection(connection, peer, &told, Endpoint::Dialer).is_ok());
        assert!(server.asked.is_empty());
    }
}
