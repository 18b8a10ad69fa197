//! Echoes: answered at a rate, sent to measure round trips.

use std::time::{Duration, Instant};

use gridhour_protocol::{market::geography::light_us, signed::PublicKey};
use libp2p::request_response::{self, Message, OutboundRequestId};
use tokio::sync::oneshot;

use super::{Echoing, Task, requests::explain};
use crate::net::{
    codec::{Echoed, Nonce},
    error::RequestError,
    identity::{key_of, peer_of},
    limits::PEERS_TRACKED_MAX,
    peer_score::{Offence, Rate},
};

impl Task {
    /// Sends one echo. What nobody waits for is recorded all the same.
    pub(super) fn echo(
        &mut self,
        peer: PublicKey,
        reply: Option<oneshot::Sender<Result<Duration, RequestError>>>,
    ) {
        let Some(id) = peer_of(&peer) else {
            reply.map(|reply| reply.send(Err(RequestError::NotAPeer(peer))));
            return;
        };
        if reply.is_some() {
            self.state.peers.want(&id);
        }
        self.state.nonce = self.state.nonce.wrapping_add(1);
        let nonce = self.state.nonce.to_le_bytes();
        let addresses = self.addresses_of(&peer);
        let behaviour = &mut self.swarm.behaviour_mut().echo;
        let request = behaviour.send_request_with_addresses(&id, nonce, addresses);
        self.state.echoing.insert(request, Echoing { peer, nonce, reply });
    }

    /// Measures all peers when it is time to.
    pub(super) fn measure_all(&mut self, now: Instant) {
        let due = *self.state.next_measure.get_or_insert(now);
        if now < due {
            return;
        }
        self.state.next_measure = Some(now + self.measure_every);
        for peer in self.state.peers.keys() {
            self.echo(peer, None);
        }
    }

    pub(super) fn on_echo(&mut self, event: request_response::Event<Nonce, Echoed>) {
        match event {
            request_response::Event::Message { peer, connection_id, message } => match message {
                Message::Request { request, channel, .. } => {
                    let Some(key) = key_of(&peer) else { return };
                    if self.may_echo(key) {
                        let echoed = Echoed { nonce: request, round_trip: Duration::ZERO };
                        // Fails only if the peer is gone.
                        let _ = self.swarm.behaviour_mut().echo.send_response(channel, echoed);
                    }
                }
                Message::Response { request_id, response } => {
                    let is_direct = !self.state.peers.is_relayed(&peer, connection_id);
                    self.on_echoed(request_id, &response, is_direct);
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                let echoing = self.state.echoing.remove(&request_id);
                let name = self.names.stream("echo").to_string();
                echoing.and_then(|echoing| echoing.reply).map(|reply| reply.send(Err(explain(error, name))));
            }
            _ => {}
        }
    }

    fn may_echo(&mut self, peer: PublicKey) -> bool {
        let admitted = self.state.scores.admit(peer, Rate::Echo, Instant::now());
        if !admitted {
            self.shown.metrics.send_modify(|metrics| metrics.echoes_refused_total += 1);
            self.charge(peer, Offence::OverRate);
        }
        admitted
    }

    fn on_echoed(&mut self, request: OutboundRequestId, echoed: &Echoed, is_direct: bool) {
        let Some(Echoing { peer, nonce, reply }) = self.state.echoing.remove(&request) else { return };
        let outcome = if echoed.nonce == nonce {
            self.record(peer, echoed.round_trip, is_direct);
            Ok(echoed.round_trip)
        } else {
            Err(RequestError::Misbehaved("an echo of something else".into()))
        };
        reply.map(|reply| reply.send(outcome));
    }

    fn record(&mut self, peer: PublicKey, round_trip: Duration, is_direct: bool) {
        let windows = &mut self.state.latencies;
        if windows.len() >= PEERS_TRACKED_MAX && !windows.contains_key(&peer) {
            let connected = self.state.peers.keys();
            windows.retain(|peer, _| connected.contains(peer));
        }
        let (window, now) = (windows.entry(peer).or_default(), Instant::now());
        window.record(round_trip, is_direct, now);
        let (latency, steady_us) = (window.latency(), window.steady_us());
        self.shown.latencies.send_modify(|shown| {
            shown.retain(|peer, _| windows.contains_key(peer));
            shown.extend(latency.map(|latency| (peer, (latency, now))));
        });
        if let Some(rtt_us) = steady_us {
            self.learn_place(&peer, rtt_us);
        }
    }

    /// Moves this node in the network by a round trip to a peer that says where it is.
    fn learn_place(&mut self, peer: &PublicKey, rtt_us: u64) {
        let Some(advert) = self.state.adverts.get(peer) else { return };
        let Some(coordinate) = &advert.coordinate else { return };
        let light_us = light_us(self.region.as_deref(), advert.region.as_deref());
        match self.vivaldi.learn(coordinate, rtt_us, light_us) {
            Ok(()) => drop(self.shown.coordinate.send_replace(self.vivaldi.coordinate())),
            Err(why) => tracing::debug!(peer = %peer.short(), %why, "a round trip places nobody"),
        }
    }
}
