//! Peers that use libp2p directly and keep none of our rules.

use std::collections::HashSet;

use futures::StreamExt;
use gridhour_protocol::signed::{PublicKey, SecretKey};
use libp2p::{
    Swarm,
    gossipsub::{
        self, ConfigBuilder, IdentTopic, IdentityTransform, MessageAuthenticity, TopicHash, ValidationMode,
        WhitelistSubscriptionFilter,
    },
    relay,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use tokio::sync::{mpsc, watch};

use super::within;
use crate::net::{
    Address, Transports,
    behaviour::{Gossip, gossip_config},
    identity::keypair_of,
    protocols::Protocols,
    sample::{NETWORK, secret},
    transport,
};

/// A swarm with any behaviour.
pub(super) fn swarm<B: NetworkBehaviour>(secret: &SecretKey, behaviour: B) -> Swarm<B> {
    let keypair = keypair_of(secret);
    // None of them dials through a relay, for which the other half would be needed.
    let (relayed, _) = relay::client::new(keypair.public().to_peer_id());
    let transport = transport::build(&keypair, Transports::All, relayed).expect("a transport");
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(std::time::Duration::from_secs(600));
    Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config)
}

pub(super) fn names() -> Protocols {
    Protocols::new(&NETWORK)
}

/// Whether a raw peer signs its envelopes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Envelopes {
    Signed,
    Unsigned,
}

/// A peer that gossips any bytes it is told to.
pub(super) struct RawGossiper {
    pub(super) key: PublicKey,
    messages: mpsc::Sender<Vec<u8>>,
    connected: watch::Receiver<bool>,
    meshed: watch::Receiver<bool>,
}

impl RawGossiper {
    pub(super) async fn connect(seed: u8, to: Address, envelopes: Envelopes) -> Self {
        Self::connect_on(seed, to, envelopes, names().adverts_topic()).await
    }

    /// The same for another topic than that of adverts.
    pub(super) async fn connect_on(seed: u8, to: Address, envelopes: Envelopes, topic: IdentTopic) -> Self {
        let secret = secret(seed);
        let mut swarm = swarm(&secret, gossip(&secret, envelopes, &topic));
        swarm.dial(to.0).expect("dials");
        let (messages, queue) = mpsc::channel(4096);
        let (shown, mut connected) = watch::channel(false);
        let (in_mesh, meshed) = watch::channel(false);
        tokio::spawn(gossip_on(swarm, topic.hash(), queue, shown, in_mesh));
        within("raw peer", connected.wait_for(|connected| *connected)).await.expect("runs");
        Self { key: secret.public(), messages, connected, meshed }
    }

    pub(super) fn send(&self, bytes: Vec<u8>) {
        self.messages.try_send(bytes).expect("the raw peer runs, and its queue is long");
    }

    /// Waits until the other side passes messages on to this peer, or does so no longer.
    pub(super) async fn wait_for_mesh(&mut self, meshed: bool) {
        within("mesh", self.meshed.wait_for(|now| *now == meshed)).await.expect("the raw peer runs");
    }

    pub(super) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    pub(super) async fn wait_until_thrown_out(&mut self) {
        within("ban", self.connected.wait_for(|connected| !connected)).await.expect("the raw peer runs");
    }
}

fn gossip(secret: &SecretKey, envelopes: Envelopes, topic: &IdentTopic) -> Gossip {
    let keypair = keypair_of(secret);
    let mut config = ConfigBuilder::from(gossip_config(&names()).expect("consistent"));
    config.connection_handler_queue_len(100_000).max_publish_messages(100_000);
    let authenticity = match envelopes {
        Envelopes::Signed => MessageAuthenticity::Signed(keypair),
        Envelopes::Unsigned => {
            config.validation_mode(ValidationMode::None);
            MessageAuthenticity::Author(keypair.public().to_peer_id())
        }
    };
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let config = config.build().expect("consistent");
    let mut gossip = gossipsub::Behaviour::<IdentityTransform, _>::new_with_subscription_filter(
        authenticity,
        config,
        filter,
    )
    .expect("consistent");
    gossip.subscribe(topic).expect("allowed");
    gossip
}

/// Publishes what comes through the queue, once the other side listens.
async fn gossip_on(
    mut swarm: Swarm<Gossip>,
    topic: TopicHash,
    mut queue: mpsc::Receiver<Vec<u8>>,
    connected: watch::Sender<bool>,
    meshed: watch::Sender<bool>,
) {
    let mut heard = false;
    // Meshes change without an event.
    let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
    loop {
        let in_mesh = swarm.behaviour().mesh_peers(&topic).next().is_some();
        meshed.send_if_modified(|shown| std::mem::replace(shown, in_mesh) != in_mesh);
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => {
                    heard = true;
                    connected.send_replace(true);
                }
                SwarmEvent::ConnectionClosed { num_established: 0, .. } => {
                    connected.send_replace(false);
                }
                _ => {}
            },
            _ = look.tick() => {}
            message = queue.recv(), if heard => match message {
                // Fails once we are thrown out, which is what the tests wait for.
                Some(bytes) => drop(swarm.behaviour_mut().publish(topic.clone(), bytes)),
                None => return,
            },
        }
    }
}
