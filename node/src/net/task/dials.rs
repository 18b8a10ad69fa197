//! Who asks something of a peer that is not connected waits for its turn to be dialled: so many dials are under way at
//! once and no more, and a peer that was never dialled is none that does not answer.

use std::time::Duration;

use gridhour_protocol::signed::PublicKey;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use tokio::sync::oneshot;

use super::Task;
use crate::net::{
    error::RequestError,
    handle::Command,
    identity::peer_of,
    limits::{CONNECTIONS_PENDING_OUT_MAX, DIALS_WAITING_MAX},
};

type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

impl Task {
    /// Does what is asked for, or lets it wait for its turn.
    pub(super) fn take(&mut self, command: Command) {
        let waiting = self.state.waiting.len();
        if self.is_ready(&command) {
            self.on_command(command);
        } else if waiting < DIALS_WAITING_MAX {
            self.state.waiting.push_back(command);
        } else {
            command.refuse(RequestError::Crowded(waiting));
        }
    }

    /// Does what waited, in the order in which it came, as far as there are turns.
    pub(super) fn give_turns(&mut self) {
        for command in std::mem::take(&mut self.state.waiting) {
            if !command.is_abandoned() {
                self.take(command);
            }
        }
    }

    /// Whether the peer that a command is about is connected, or is dialled now because there is room.
    fn is_ready(&mut self, command: &Command) -> bool {
        let Some((key, peer)) = command.asks().and_then(|key| Some((key, peer_of(&key)?))) else {
            return true;
        };
        if self.swarm.is_connected(&peer) {
            return true;
        }
        let under_way = self.swarm.network_info().connection_counters().num_pending_outgoing();
        if under_way >= CONNECTIONS_PENDING_OUT_MAX {
            return false;
        }
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(self.addresses_of(&key))
            .extend_addresses_through_behaviour()
            .build();
        // Begun here, so that it counts at once. The protocol joins it, and tells whoever asked what came of it.
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(%peer, %error, "not dialled");
        }
        true
    }
}

impl Command {
    /// Of which peer it asks something.
    fn asks(&self) -> Option<PublicKey> {
        match self {
            Self::Echo { peer, .. } | Self::Request { peer, .. } | Self::OpenStream { peer, .. } => {
                Some(*peer)
            }
            _ => None,
        }
    }

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Echo { reply, .. } => Reply::<Duration>::is_closed(reply),
            Self::Request { reply, .. } => reply.is_closed(),
            Self::OpenStream { reply, .. } => reply.is_closed(),
            _ => false,
        }
    }

    fn refuse(self, why: RequestError) {
        // A caller that no longer waits needs no answer.
        match self {
            Self::Echo { reply, .. } => drop(reply.send(Err(why))),
            Self::Request { reply, .. } => drop(reply.send(Err(why))),
            Self::OpenStream { reply, .. } => drop(reply.send(Err(why))),
            _ => {}
        }
    }
}
