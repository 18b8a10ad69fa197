//! Asking peers whether they can dial us, and asking again.
//!
//! libp2p's client asks about an address once in its life: that a server was busy, or met this node at another of its
//! addresses, would stand for ever, and so would the relays that the node then looks for. Here an address that could not
//! be dialled is asked about again after a while, and each time the client draws whom it asks. The client cannot be told
//! to ask again, so a new one takes its place, and is told of the connections, of the servers among their other ends, and
//! of the addresses.

use std::{
    collections::BTreeMap,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    autonat::v2::client,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, derive_prelude::Either,
    },
};

use crate::net::limits::REACH_ADDRESSES_MAX;

/// What the client hears from the connections that it may ask on; libp2p gives the type no name.
type OnDialled = <THandlerOutEvent<client::Behaviour> as Sides>::Left;

/// Gives the parts of a type that has no name.
pub(crate) trait Sides {
    type Left;
}

impl<L, R> Sides for Either<L, R> {
    type Left = L;
}

/// How an address stands that peers say this node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A peer is asked about it, as soon as there is one to ask.
    Asked,
    /// It could not be dialled; then it is asked about again.
    Refused { again_at: Instant },
    /// It was dialled.
    Proven,
}

/// The addresses that peers say this node has: at most [`REACH_ADDRESSES_MAX`].
#[derive(Debug)]
struct Claims {
    again: Duration,
    standings: BTreeMap<Multiaddr, Standing>,
}

impl Claims {
    /// A peer claims that this is an address of ours. Whether it is asked about. Of too many, one that could not be
    /// dialled gives way.
    fn hear(&mut self, address: &Multiaddr) -> bool {
        if let Some(standing) = self.standings.get(address) {
            return *standing == Standing::Asked;
        }
        if self.standings.len() >= REACH_ADDRESSES_MAX {
            let refused = self.standings.iter().filter_map(|(address, standing)| match standing {
                Standing::Refused { again_at } => Some((*again_at, address.clone())),
                Standing::Asked | Standing::Proven => None,
            });
            let Some((_, last)) = refused.max() else { return false };
            self.standings.remove(&last);
        }
        self.standings.insert(address.clone(), Standing::Asked);
        true
    }

    /// What a peer that tried to dial it said.
    fn judge(&mut self, address: &Multiaddr, is_reached: bool, now: Instant) {
        let Some(standing) = self.standings.get_mut(address) else { return };
        *standing = match is_reached {
            true => Standing::Proven,
            false => Standing::Refused { again_at: now + self.again },
        };
    }

    /// Whether an address is to be asked about again; all whose time has come then are.
    fn ask_again(&mut self, now: Instant) -> bool {
        let mut is_due = false;
        for standing in self.standings.values_mut() {
            if matches!(standing, Standing::Refused { again_at } if *again_at <= now) {
                (is_due, *standing) = (true, Standing::Asked);
            }
        }
        is_due
    }

    fn asked(&self) -> impl Iterator<Item = &Multiaddr> {
        let asked = self.standings.iter().filter(|(_, standing)| **standing == Standing::Asked);
        asked.map(|(address, _)| address)
    }
}

/// A connection, and whether its other end dials whoever asks for it.
struct Known {
    peer: PeerId,
    endpoint: ConnectedPoint,
    is_server: bool,
}

/// libp2p's client, which asks again.
pub(crate) struct Reachability {
    inner: client::Behaviour,
    claims: Claims,
    connections: BTreeMap<ConnectionId, Known>,
}

impl Reachability {
    /// Asks about an address that could not be dialled again after this time.
    pub(crate) fn new(again: Duration) -> Self {
        let claims = Claims { again, standings: BTreeMap::new() };
        Self { inner: client::Behaviour::default(), claims, connections: BTreeMap::new() }
    }

    /// Puts a new client, which has asked about nothing, in the place of the old one. What the old one still waits for is
    /// asked about once more.
    fn begin_anew(&mut self) {
        self.inner = client::Behaviour::default();
        for (id, known) in &self.connections {
            self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: known.peer,
                connection_id: *id,
                endpoint: &known.endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
            if known.is_server {
                let told = Either::Left(OnDialled::PeerHasServerSupport);
                self.inner.on_connection_handler_event(known.peer, *id, told);
            }
        }
        for addr in self.claims.asked() {
            self.inner.on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr }));
        }
    }

    /// Whether the client is to hear of it.
    fn notice(&mut self, event: &FromSwarm<'_>) -> bool {
        match event {
            FromSwarm::NewExternalAddrCandidate(event) => return self.claims.hear(event.addr),
            FromSwarm::ConnectionEstablished(event) => {
                let (peer, endpoint) = (event.peer_id, event.endpoint.clone());
                self.connections.insert(event.connection_id, Known { peer, endpoint, is_server: false });
            }
            FromSwarm::ConnectionClosed(event) => drop(self.connections.remove(&event.connection_id)),
            _ => {}
        }
        true
    }
}

impl NetworkBehaviour for Reachability {
    type ConnectionHandler = THandler<client::Behaviour>;
    type ToSwarm = client::Event;

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
        if self.notice(&event) {
            self.inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        if let Either::Left(OnDialled::PeerHasServerSupport) = &event
            && let Some(known) = self.connections.get_mut(&connection)
        {
            known.is_server = true;
        }
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let now = Instant::now();
        // The client wakes the task every few seconds to look what it could ask.
        if self.claims.ask_again(now) {
            self.begin_anew();
        }
        let action = self.inner.poll(context);
        if let Poll::Ready(ToSwarm::GenerateEvent(event)) = &action {
            self.claims.judge(&event.tested_addr, event.result.is_ok(), now);
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::net::tests::within;

    fn address(n: usize) -> Multiaddr {
        format!("/ip4/198.51.100.7/tcp/{n}").parse().expect("an address")
    }

    fn claims(again: Duration) -> Claims {
        Claims { again, standings: BTreeMap::new() }
    }

    #[test]
    fn an_address_that_could_not_be_dialled_is_asked_about_again_and_one_that_could_is_not() {
        let (again, start) = (Duration::from_secs(60), Instant::now());
        let mut claims = claims(again);
        assert!(claims.hear(&address(1)) && claims.hear(&address(1)) && claims.hear(&address(2)));
        claims.judge(&address(1), false, start);
        claims.judge(&address(2), true, start);
        claims.judge(&address(3), true, start);
        assert!(!claims.hear(&address(1)) && !claims.hear(&address(2)), "both are known");
        assert!(!claims.ask_again(start + again / 2) && claims.ask_again(start + again));
        assert_eq!(claims.asked().collect::<Vec<_>>(), [&address(1)]);
        assert!(!claims.ask_again(start + 2 * again), "it is asked about now");
    }

    #[test]
    fn of_too_many_addresses_one_that_could_not_be_dialled_gives_way() {
        let (mut claims, now) = (claims(Duration::from_secs(60)), Instant::now());
        let heard = (0..2 * REACH_ADDRESSES_MAX).filter(|n| claims.hear(&address(*n)));
        assert_eq!(heard.count(), REACH_ADDRESSES_MAX);
        claims.judge(&address(3), false, now);
        assert!(claims.hear(&address(99)) && !claims.hear(&address(98)));
        assert_eq!(claims.standings.len(), REACH_ADDRESSES_MAX);
        assert!(!claims.standings.contains_key(&address(3)));
    }

    /// The request that the client makes next of a server.
    async fn next_request(client: &mut Reachability) -> String {
        let request = poll_fn(|context| match client.poll(context) {
            Poll::Ready(ToSwarm::NotifyHandler { event, .. }) => Poll::Ready(format!("{event:?}")),
            Poll::Ready(_) => unreachable!("nobody answers here"),
            Poll::Pending => Poll::Pending,
        });
        within("request", request).await
    }

    #[tokio::test]
    async fn a_new_client_asks_the_servers_that_the_old_one_knew() {
        let (mut client, address) = (Reachability::new(Duration::ZERO), address(1));
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(1));
        let endpoint = ConnectedPoint::Dialer {
            address: "/ip4/203.0.113.1/tcp/1".parse().expect("an address"),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        client.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: connection,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        let is_server = Either::Left(OnDialled::PeerHasServerSupport);
        client.on_connection_handler_event(peer, connection, is_server);
        let claim = NewExternalAddrCandidate { addr: &address };
        client.on_swarm_event(FromSwarm::NewExternalAddrCandidate(claim));
        let first = next_request(&mut client).await;
        client.claims.judge(&address, false, Instant::now());
        let second = next_request(&mut client).await;
        assert!([&first, &second].iter().all(|asked| asked.contains("198.51.100.7")), "{first}, {second}");
        assert_ne!(first, second, "each request has a number of its own");
    }
}
