//! Being reached through others, when nobody can dial us.

use std::time::Instant;

use libp2p::{autonat, dcutr, multiaddr::Protocol};

use super::Task;
use crate::net::{identity::peer_of, reach::is_relayed};

impl Task {
    /// Somebody tried to dial us. Under which address that worked is told by libp2p as one of our public ones.
    pub(super) fn on_reachability(&mut self, event: autonat::v2::client::Event) {
        let known = self.swarm.external_addresses().next().is_some();
        if event.result.is_err() && !known {
            tracing::info!(address = %event.tested_addr, "peers cannot dial this node; it looks for relays");
            self.state.relays.need();
        }
    }

    /// A connection through a relay became a direct one, or did not.
    pub(super) fn on_upgrade(&mut self, event: dcutr::Event) {
        match event.result {
            // Whether this node asked for the peer is as before: either end may have begun this.
            Ok(_) => self.shown.metrics.send_modify(|metrics| metrics.direct_upgrades_total += 1),
            Err(error) => {
                tracing::debug!(peer = %event.remote_peer_id, %error, "reached through a relay only")
            }
        }
    }

    /// Asks a bootstrap peer to pass on connections, if one is needed. A peer that does not relay refuses.
    pub(super) fn look_for_relays(&mut self, now: Instant) {
        if !self.state.relays.is_due(now) {
            return;
        }
        let (peers, relays) = (&self.state.peers, &self.state.relays);
        let named = self.bootstrap.addresses().filter_map(|address| Some((address.peer()?, address)));
        let ready = named.filter(|(key, address)| {
            let is_here = peer_of(key).is_some_and(|peer| peers.is_identified(&peer));
            is_here && !relays.uses(key) && !is_relayed(&address.0)
        });
        let next = ready.min_by_key(|(key, _)| relays.turn(*key));
        let Some((relay, address)) = next.map(|(key, address)| (key, address.0.clone())) else { return };
        match self.swarm.listen_on(address.with(Protocol::P2pCircuit)) {
            Ok(listener) => self.state.relays.ask(relay, listener),
            Err(error) => tracing::debug!(relay = %relay, %error, "relay not asked"),
        }
    }
}
