//! libp2p's side of job streams: opening them, and taking those that peers open.
//!
//! Written here because it bounds what the ready-made crate for raw streams does not: openings that wait,
//! streams that arrive faster than they are taken, and what is remembered of closed connections.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
        DialError, DialFailure, FromSwarm, NetworkBehaviour, NotifyHandler, StreamUpgradeError,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::ConnectionEstablished,
        dial_opts::{DialOpts, PeerCondition},
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::oneshot;

use crate::net::{
    error::RequestError,
    limits::{JOBS_PENDING_MAX, JOBS_PER_PEER_MAX},
};

/// Where the opened stream goes.
pub(crate) type OpenReply = oneshot::Sender<Result<Stream, RequestError>>;

/// A stream that a peer opened.
#[derive(Debug)]
pub(crate) struct InboundJob {
    pub(crate) peer: PeerId,
    pub(crate) stream: Stream,
}

/// Opens and takes job streams.
pub(crate) struct JobBehaviour {
    protocol: StreamProtocol,
    /// The connections of each peer, those through relays last.
    connected: BTreeMap<PeerId, Vec<(bool, ConnectionId)>>,
    /// Openings that wait for a connection to their peer.
    waiting: BTreeMap<PeerId, Vec<OpenReply>>,
    events: VecDeque<ToSwarm<InboundJob, OpenReply>>,
}

impl JobBehaviour {
    pub(crate) fn new(protocol: StreamProtocol) -> Self {
        Self { protocol, connected: BTreeMap::new(), waiting: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Opens a stream on the connection to `peer`, or dials it first at `addresses`.
    pub(crate) fn open(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: OpenReply) {
        if let Some((_, direct)) = self.connected.get(&peer).and_then(|connections| connections.first()) {
            let handler = NotifyHandler::One(*direct);
            self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: reply });
            return;
        }
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        if waiting >= JOBS_PENDING_MAX {
            // A caller that no longer waits needs no answer.
            let _ = reply.send(Err(RequestError::Busy(waiting)));
            return;
        }
        self.waiting.entry(peer).or_default().push(reply);
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        self.events.push_back(ToSwarm::Dial { opts });
    }

    fn handler(&mut self, peer: PeerId) -> JobHandler {
        let opening = self.waiting.remove(&peer).unwrap_or_default();
        JobHandler { protocol: self.protocol.clone(), opening: opening.into(), taken: VecDeque::new() }
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(connections) = self.connected.get_mut(&peer) {
            connections.retain(|(_, id)| *id != connection);
            if connections.is_empty() {
                self.connected.remove(&peer);
            }
        }
    }

    fn on_dial_failure(&mut self, peer: PeerId, error: &DialError) {
        // Another dial is under way already, and its end is ours.
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        for reply in self.waiting.remove(&peer).unwrap_or_default() {
            let _ = reply.send(Err(RequestError::Unreachable(error.to_string())));
        }
    }
}

impl NetworkBehaviour for JobBehaviour {
    type ConnectionHandler = JobHandler;
    type ToSwarm = InboundJob;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let connections = self.connected.entry(peer_id).or_default();
                connections.push((endpoint.is_relayed(), connection_id));
                connections.sort_unstable();
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, .. }) => {
                self.on_dial_failure(peer, error);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, stream: THandlerOutEvent<Self>) {
        self.events.push_back(ToSwarm::GenerateEvent(InboundJob { peer, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<InboundJob, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The job streams of one connection.
pub(crate) struct JobHandler {
    protocol: StreamProtocol,
    /// Openings that wait for their turn.
    opening: VecDeque<OpenReply>,
    /// Streams that the peer opened and the behaviour has not taken yet.
    taken: VecDeque<Stream>,
}

impl ConnectionHandler for JobHandler {
    type FromBehaviour = OpenReply;
    type ToBehaviour = Stream;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenReply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn on_behaviour_event(&mut self, reply: OpenReply) {
        if self.opening.len() < JOBS_PENDING_MAX {
            self.opening.push_back(reply);
        } else {
            let _ = reply.send(Err(RequestError::Busy(self.opening.len())));
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, OpenReply, Stream>> {
        if let Some(stream) = self.taken.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        let Some(reply) = self.opening.pop_front() else { return Poll::Pending };
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), reply);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), OpenReply>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.taken.len() < JOBS_PER_PEER_MAX =>
            {
                self.taken.push_back(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: reply,
            }) => {
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: reply }) => {
                let _ = reply.send(Err(self.explain(error)));
            }
            _ => {}
        }
    }
}

impl JobHandler {
    fn explain(&self, error: StreamUpgradeError<Infallible>) -> RequestError {
        match error {
            StreamUpgradeError::Timeout => RequestError::Timeout,
            StreamUpgradeError::NegotiationFailed => RequestError::Unsupported(self.protocol.to_string()),
            StreamUpgradeError::Io(error) => RequestError::Unreachable(error.to_string()),
            StreamUpgradeError::Apply(never) => match never {},
        }
    }
}
