//! A protocol that is spoken only on connections to peers of one reach: near, or far.
//!
//! Two of one protocol, a near one and a far one, share nothing: what is learned on one side is never told on the other,
//! which no check of single messages could say as plainly.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm,
        NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionEstablished, toggle::Toggle},
    },
};

use crate::net::{identity::Address, reach::may_follow};

/// Which connections a protocol is spoken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those whose other end is on our own networks.
    Near,
    /// All others.
    Far,
}

impl Scope {
    /// The scope of a connection to `remote`.
    pub(crate) fn of(remote: &Multiaddr, is_near: fn(&Address) -> bool) -> Self {
        if is_near(&Address(remote.clone())) { Self::Near } else { Self::Far }
    }
}

/// `B`, on the connections of one scope. On others it does not exist, and `B` does not hear of them.
pub(crate) struct Scoped<B> {
    inner: Toggle<B>,
    /// Makes the handlers of the connections on which `B` is not spoken.
    absent: Toggle<B>,
    scope: Scope,
    is_near: fn(&Address) -> bool,
    /// The connections that `B` knows.
    connections: BTreeMap<PeerId, Vec<ConnectionId>>,
    /// Connections that `B` dials or dialled.
    dialled: BTreeSet<ConnectionId>,
}

impl<B: NetworkBehaviour> Scoped<B> {
    /// `None` for a protocol that is not spoken at all.
    pub(crate) fn new(inner: Option<B>, scope: Scope, is_near: fn(&Address) -> bool) -> Self {
        let (connections, dialled) = (BTreeMap::new(), BTreeSet::new());
        Self { inner: inner.into(), absent: None.into(), scope, is_near, connections, dialled }
    }

    pub(crate) fn inner(&mut self) -> Option<&mut B> {
        self.inner.as_mut()
    }

    /// Whether `B` dialled this connection, and not a peer or another protocol.
    pub(crate) fn has_dialled(&self, connection: ConnectionId) -> bool {
        self.dialled.contains(&connection)
    }

    /// Makes the handler for a connection to `remote`.
    fn of(&mut self, remote: &Multiaddr) -> &mut Toggle<B> {
        if self.covers(remote) { &mut self.inner } else { &mut self.absent }
    }

    fn covers(&self, remote: &Multiaddr) -> bool {
        Scope::of(remote, self.is_near) == self.scope
    }

    fn may_follow(&self, address: &Multiaddr) -> bool {
        may_follow(address, self.scope, self.is_near)
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        let known = self.connections.get(&event.peer_id).map_or(0, Vec::len);
        if self.covers(event.endpoint.get_remote_address()) {
            self.connections.entry(event.peer_id).or_default().push(event.connection_id);
            let event = ConnectionEstablished { other_established: known, ..event };
            self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(event));
        } else if known == 0 {
            // Whoever waits for a connection to this peer waits in vain: this one is of no use to it.
            let (peer_id, connection_id) = (Some(event.peer_id), event.connection_id);
            let failed = DialFailure { peer_id, connection_id, error: &DialError::Aborted };
            self.inner.on_swarm_event(FromSwarm::DialFailure(failed));
        }
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        self.dialled.remove(&event.connection_id);
        let Some(known) = self.connections.get_mut(&event.peer_id) else { return };
        let Some(at) = known.iter().position(|id| *id == event.connection_id) else { return };
        known.swap_remove(at);
        let remaining_established = known.len();
        if known.is_empty() {
            self.connections.remove(&event.peer_id);
        }
        let event = ConnectionClosed { remaining_established, ..event };
        self.inner.on_swarm_event(FromSwarm::ConnectionClosed(event));
    }

    fn is_known(&self, peer: &PeerId, connection: ConnectionId) -> bool {
        self.connections.get(peer).is_some_and(|known| known.contains(&connection))
    }

    /// A connection of `peer`'s on which the protocol is spoken: `Any` could pick another.
    fn pick(&self, peer: &PeerId, handler: NotifyHandler) -> Option<NotifyHandler> {
        match handler {
            NotifyHandler::One(connection) => Some(NotifyHandler::One(connection)),
            NotifyHandler::Any => {
                self.connections.get(peer)?.last().map(|connection| NotifyHandler::One(*connection))
            }
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Scoped<B> {
    type ConnectionHandler = THandler<Toggle<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.of(remote).handle_established_inbound_connection(connection, peer, local, remote)
    }

    /// Where `B` would dial the peer: nowhere that a peer of this scope is not followed to, whoever told `B`.
    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut more = self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)?;
        more.retain(|address| self.may_follow(address));
        Ok(more)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.of(remote).handle_established_outbound_connection(connection, peer, remote, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            FromSwarm::AddressChange(event) if !self.is_known(&event.peer_id, event.connection_id) => {}
            event => {
                if let FromSwarm::DialFailure(failed) = event {
                    self.dialled.remove(&failed.connection_id);
                }
                self.inner.on_swarm_event(event);
            }
        }
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
        loop {
            match std::task::ready!(self.inner.poll(context)) {
                ToSwarm::NotifyHandler { peer_id, handler, event } => {
                    // Without a connection there is nobody to tell; `B` hears of its end.
                    if let Some(handler) = self.pick(&peer_id, handler) {
                        return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event });
                    }
                }
                // All other protocols would hear of it, and some dial what they heard of.
                ToSwarm::NewExternalAddrOfPeer { address, .. } if !self.may_follow(&address) => {}
                ToSwarm::Dial { opts } => {
                    self.dialled.insert(opts.connection_id());
                    return Poll::Ready(ToSwarm::Dial { opts });
                }
                action => return Poll::Ready(action),
            }
        }
    }
}
