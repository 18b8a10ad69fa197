//! Requests and answers, ours and theirs.

use std::{io, net::IpAddr};

use gridhour_protocol::signed::PublicKey;
use libp2p::{
    PeerId,
    request_response::{self, Message, OutboundFailure, OutboundRequestId, ResponseChannel},
};
use tokio::sync::oneshot;

use super::{Asking, Task};
use crate::net::{
    codec::{Answer, Asked},
    error::RequestError,
    event::{InboundRequest, NetEvent, Responder},
    identity::peer_of,
    limits::REQUESTS_OUT_MAX,
    peer_score::Offence,
    service::Service,
};

impl Task {
    pub(super) fn request(
        &mut self,
        peer: PublicKey,
        service: Service,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    ) {
        let Some(id) = peer_of(&peer) else {
            let _ = reply.send(Err(RequestError::NotAPeer(peer)));
            return;
        };
        let asking = &self.state.asking;
        let unanswered =
            asking.iter().filter(|((of, _), asking)| *of == service && asking.peer == id).count();
        if unanswered >= REQUESTS_OUT_MAX {
            let _ = reply.send(Err(RequestError::Busy(unanswered)));
            return;
        }
        self.state.peers.want(&id);
        let addresses = self.addresses_of(&peer);
        let behaviour = self.swarm.behaviour_mut().service(service);
        let request = behaviour.send_request_with_addresses(&id, Asked::Bytes(bytes), addresses);
        self.state.asking.insert((service, request), Asking { peer: id, reply });
    }

    pub(super) fn on_service(&mut self, service: Service, event: request_response::Event<Asked, Answer>) {
        match event {
            request_response::Event::Message { peer, connection_id, message } => match message {
                Message::Request { request, channel, .. } => {
                    let observed = self.state.remotes.get(&connection_id).copied();
                    self.on_asked(service, &peer, observed, request, channel);
                }
                Message::Response { request_id, response } => {
                    let outcome = match response {
                        Answer::Served(bytes) => Ok(bytes),
                        Answer::Refused(why) => Err(RequestError::Refused(why)),
                    };
                    self.finish(service, request_id, outcome);
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                let name = self.names.stream(service.name()).to_string();
                self.finish(service, request_id, Err(explain(error, name)));
            }
            _ => {}
        }
    }

    fn finish(
        &mut self,
        service: Service,
        request: OutboundRequestId,
        outcome: Result<Vec<u8>, RequestError>,
    ) {
        if let Some(asking) = self.state.asking.remove(&(service, request)) {
            // A caller that no longer waits needs no answer.
            let _ = asking.reply.send(outcome);
        }
    }

    fn on_asked(
        &mut self,
        service: Service,
        peer: &PeerId,
        observed: Option<IpAddr>,
        asked: Asked,
        channel: ResponseChannel<Answer>,
    ) {
        let refusal = match asked {
            Asked::Bytes(bytes) => match self.deliver(service, peer, observed, bytes, channel) {
                Ok(()) => return,
                Err(refused) => refused,
            },
            Asked::Oversized { len, max } => {
                if let Some(key) = self.state.peers.key(peer) {
                    self.charge(key, Offence::OversizedRequest);
                }
                Some((channel, format!("request of {len} bytes is over the limit of {max}")))
            }
        };
        self.shown.metrics.send_modify(|metrics| metrics.requests_refused_total += 1);
        if let Some((channel, why)) = refusal {
            // Fails only if the peer is gone.
            let _ = self.swarm.behaviour_mut().service(service).send_response(channel, Answer::Refused(why));
        }
    }

    /// Hands a request to the node, or gives back the channel and why not; nothing if the channel is lost.
    fn deliver(
        &mut self,
        service: Service,
        peer: &PeerId,
        observed: Option<IpAddr>,
        bytes: Vec<u8>,
        channel: ResponseChannel<Answer>,
    ) -> Result<(), Option<(ResponseChannel<Answer>, String)>> {
        let Some((key, place)) = self.state.peers.take_request(peer, service) else {
            return Err(Some((channel, "too many requests at once; wait for answers".into())));
        };
        let Ok(room) = self.events.try_reserve() else {
            return Err(Some((channel, "busy; try again".into())));
        };
        let commands = self.commands_sender.upgrade().ok_or(None)?;
        let responder = Responder { service, channel, commands, _place: place };
        room.send(NetEvent::Request(InboundRequest { peer: key, service, bytes, observed, responder }));
        Ok(())
    }
}

/// What a failure means for the caller. `name` is the protocol's.
pub(super) fn explain(error: OutboundFailure, name: String) -> RequestError {
    match error {
        OutboundFailure::Timeout => RequestError::Timeout,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported(name),
        OutboundFailure::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                RequestError::Refused("the peer ended the stream unanswered".into())
            }
            io::ErrorKind::InvalidData => RequestError::Misbehaved(error.to_string()),
            _ => RequestError::Broken(error.to_string()),
        },
        OutboundFailure::DialFailure => RequestError::Unreachable(error.to_string()),
        OutboundFailure::ConnectionClosed => RequestError::Broken(error.to_string()),
    }
}
