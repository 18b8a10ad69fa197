//! The protocols of a node, put together with their limits.

use std::time::Duration;

use blake3::Hash;
use libp2p::{
    PeerId,
    allow_block_list::{self, BlockedPeers},
    connection_limits::{self, ConnectionLimits},
    gossipsub::{
        self, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId, PeerScoreParams,
        PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
    },
    identify,
    identity::Keypair,
    mdns, ping, relay,
    request_response::{self, ProtocolSupport},
    swarm::{ConnectionId, NetworkBehaviour, behaviour::toggle::Toggle},
};

use crate::net::{
    codec::{Bounded, EchoCodec},
    config::NetConfig,
    dial_back::DialBack,
    error::NetError,
    job_protocol::JobBehaviour,
    job_stream::StreamKind,
    kademlia::{self, Table},
    limits::{
        CONNECTIONS_IN_MAX, CONNECTIONS_MAX, CONNECTIONS_PENDING_IN_MAX, CONNECTIONS_PENDING_OUT_MAX,
        CONNECTIONS_PER_PEER_MAX, ECHO_STREAMS_MAX, ECHO_TIMEOUT, GOSSIP_HEARTBEAT, GOSSIP_QUEUE_MAX,
        GOSSIP_QUEUE_TIME, GOSSIP_RPC_BYTES_MAX, GOSSIP_RPC_MESSAGES_MAX, PUSH_BYTES_MAX, REACH_AGAIN,
        RELAY_CIRCUIT, RELAY_CIRCUIT_BYTES_MAX, RELAY_CIRCUITS_MAX, RELAY_CIRCUITS_PER_PEER_MAX,
        RELAY_RESERVATION, RELAY_RESERVATIONS_MAX, RELAY_RESERVATIONS_PER_PEER_MAX, REPEAT_EVERY,
        REQUESTS_IN_MAX, REQUESTS_OUT_MAX,
    },
    protocols::Protocols,
    reachability::Reachability,
    scoped::{Scope, Scoped},
    service::Service,
    upgrades::Upgrades,
};

/// Gossip restricted to the topics of this network.
pub(crate) type Gossip = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// How long copies of a message are recognised without a check.
const DUPLICATE_CACHE: Duration = Duration::from_secs(60);
/// Time between two pings on a connection.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A peer that does not answer a ping for this long is gone. Long, as a busy processor is no reason to drop a
/// job.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Gossip score at which a peer is shut out: a dozen envelopes with forged signatures, each costing its
/// square.
pub(crate) const GOSSIP_SCORE_MIN: f64 = -144.0;

const _: () =
    assert!(DUPLICATE_CACHE.as_secs() < REPEAT_EVERY.as_secs(), "what is repeated is passed on again");

/// Denials come first, so that nothing is allocated for a connection that is refused.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) banned: allow_block_list::Behaviour<BlockedPeers>,
    near_identify: Scoped<identify::Behaviour>,
    far_identify: Scoped<identify::Behaviour>,
    pub(crate) near_peers: Table,
    pub(crate) far_peers: Table,
    ping: ping::Behaviour,
    mdns: Scoped<mdns::tokio::Behaviour>,
    relay_client: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    dcutr: Upgrades,
    reachability: Scoped<Reachability>,
    reachability_of_others: Scoped<DialBack>,
    pub(crate) gossip: Gossip,
    pub(crate) echo: request_response::Behaviour<EchoCodec>,
    pub(crate) adverts: request_response::Behaviour<Bounded>,
    pub(crate) ledger: request_response::Behaviour<Bounded>,
    pub(crate) asset: request_response::Behaviour<Bounded>,
    pub(crate) jobs: JobBehaviour,
    pub(crate) calibrations: JobBehaviour,
}

impl Behaviour {
    /// # Errors
    /// If libp2p refuses the settings.
    pub(crate) fn new(
        config: &NetConfig,
        keypair: &Keypair,
        names: &Protocols,
        relay_client: relay::client::Behaviour,
    ) -> Result<Self, NetError> {
        let ping = ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_TIMEOUT);
        let peer = keypair.public().to_peer_id();
        Ok(Self {
            limits: connection_limits::Behaviour::new(connection_limits()),
            banned: allow_block_list::Behaviour::default(),
            near_identify: identity(config, keypair, names, Scope::Near),
            far_identify: identity(config, keypair, names, Scope::Far),
            near_peers: kademlia::table(config, peer, names, Scope::Near),
            far_peers: kademlia::table(config, peer, names, Scope::Far),
            ping: ping::Behaviour::new(ping),
            mdns: Scoped::new(mdns(config, peer)?, Scope::Near, config.is_near),
            relay_client,
            relay: config.relays.then(|| relaying(peer)).into(),
            dcutr: Upgrades::new(peer, config.is_near),
            reachability: reachability(config),
            reachability_of_others: dial_back(config),
            gossip: gossip(keypair, names).map_err(NetError::Setup)?,
            echo: echo(config.delay_bounded(), names),
            adverts: pushes(config.request_timeout, names),
            ledger: service(Service::Ledger, config.request_timeout, names),
            asset: service(Service::Asset, config.request_timeout, names),
            jobs: JobBehaviour::new(names.stream(StreamKind::Job.name())),
            calibrations: JobBehaviour::new(names.stream(StreamKind::Calibration.name())),
        })
    }

    pub(crate) fn service(&mut self, service: Service) -> &mut request_response::Behaviour<Bounded> {
        match service {
            Service::Ledger => &mut self.ledger,
            Service::Asset => &mut self.asset,
        }
    }

    pub(crate) fn peers_of(&mut self, scope: Scope) -> &mut Table {
        match scope {
            Scope::Near => &mut self.near_peers,
            Scope::Far => &mut self.far_peers,
        }
    }

    /// Whether a search of a table dialled this connection.
    pub(crate) fn has_searched(&self, connection: ConnectionId) -> bool {
        self.near_peers.has_dialled(connection) || self.far_peers.has_dialled(connection)
    }

    pub(crate) fn streams(&mut self, kind: StreamKind) -> &mut JobBehaviour {
        match kind {
            StreamKind::Job => &mut self.jobs,
            StreamKind::Calibration => &mut self.calibrations,
        }
    }

    /// Whether gossip itself found the peer beyond bearing: envelopes that do not verify never reach our own
    /// check.
    pub(crate) fn is_gossip_vandal(&self, peer: &PeerId) -> bool {
        self.gossip.peer_score(peer).is_some_and(|score| score <= GOSSIP_SCORE_MIN)
    }
}

fn connection_limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_established(Some(CONNECTIONS_MAX))
        .with_max_established_incoming(Some(CONNECTIONS_IN_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        .with_max_pending_incoming(Some(CONNECTIONS_PENDING_IN_MAX))
        .with_max_pending_outgoing(Some(CONNECTIONS_PENDING_OUT_MAX))
}

/// Says who and where we are: to peers on our own networks every address that we listen on, to others only those that
/// are known to be public.
fn identity(
    config: &NetConfig,
    keypair: &Keypair,
    names: &Protocols,
    scope: Scope,
) -> Scoped<identify::Behaviour> {
    let identify = identify::Config::new(names.identity(), keypair.public())
        .with_agent_version(concat!("gridhour/", env!("CARGO_PKG_VERSION")).into())
        .with_hide_listen_addrs(scope == Scope::Far);
    Scoped::new(Some(identify::Behaviour::new(identify)), scope, config.is_near)
}

/// Asks peers to dial us: far ones, as what a neighbour can dial says nothing of the rest of the world.
fn reachability(config: &NetConfig) -> Scoped<Reachability> {
    Scoped::new(Some(Reachability::new(REACH_AGAIN)), Scope::Far, config.is_near)
}

/// Dials peers that ask for it: far ones, where they are themselves.
fn dial_back(config: &NetConfig) -> Scoped<DialBack> {
    Scoped::new(config.relays.then(DialBack::new), Scope::Far, config.is_near)
}

fn mdns(config: &NetConfig, peer: PeerId) -> Result<Option<mdns::tokio::Behaviour>, NetError> {
    let start = || mdns::tokio::Behaviour::new(mdns::Config::default(), peer);
    config.mdns.then(start).transpose().map_err(|error| NetError::Setup(format!("mDNS: {error}")))
}

/// Passes on connections for peers that nobody can dial. What each peer and each address may begin in a minute is
/// libp2p's own limit, which is lower than ours for all together.
fn relaying(peer: PeerId) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: RELAY_RESERVATIONS_MAX,
        max_reservations_per_peer: RELAY_RESERVATIONS_PER_PEER_MAX,
        reservation_duration: RELAY_RESERVATION,
        max_circuits: RELAY_CIRCUITS_MAX,
        max_circuits_per_peer: RELAY_CIRCUITS_PER_PEER_MAX,
        max_circuit_duration: RELAY_CIRCUIT,
        max_circuit_bytes: RELAY_CIRCUIT_BYTES_MAX,
        ..relay::Config::default()
    };
    let mut relay = relay::Behaviour::new(peer, config);
    relay.set_status(Some(relay::Status::Enable));
    relay
}

fn echo(delay: Duration, names: &Protocols) -> request_response::Behaviour<EchoCodec> {
    let config = request_response::Config::default()
        .with_request_timeout(ECHO_TIMEOUT)
        .with_max_concurrent_streams(ECHO_STREAMS_MAX);
    let protocol = [(names.stream("echo"), ProtocolSupport::Full)];
    request_response::Behaviour::with_codec(EchoCodec::new(delay), protocol, config)
}

fn pushes(timeout: Duration, names: &Protocols) -> request_response::Behaviour<Bounded> {
    // One push each way, and its answer, which is empty.
    let config =
        request_response::Config::default().with_request_timeout(timeout).with_max_concurrent_streams(2);
    let codec = Bounded { request_max: PUSH_BYTES_MAX, response_max: 0 };
    request_response::Behaviour::with_codec(codec, [(names.stream("adverts"), ProtocolSupport::Full)], config)
}

fn service(service: Service, timeout: Duration, names: &Protocols) -> request_response::Behaviour<Bounded> {
    let config = request_response::Config::default()
        .with_request_timeout(timeout)
        .with_max_concurrent_streams(REQUESTS_IN_MAX + REQUESTS_OUT_MAX);
    let codec =
        Bounded { request_max: service.request_bytes_max(), response_max: service.response_bytes_max() };
    let protocol = [(names.stream(service.name()), ProtocolSupport::Full)];
    request_response::Behaviour::with_codec(codec, protocol, config)
}

/// Settings of gossip for one network. The protocol's name carries it, so that peers of another network
/// cannot even open a gossip stream.
///
/// # Errors
/// If libp2p finds them inconsistent.
pub(crate) fn gossip_config(names: &Protocols) -> Result<gossipsub::Config, String> {
    gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(names.gossip())
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        .heartbeat_initial_delay(GOSSIP_HEARTBEAT / 10)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .duplicate_cache_time(DUPLICATE_CACHE)
        // Named by content: who sent it under which number does not matter, so nobody can hide another's
        // message behind a copy of its name, and a copy in a new envelope is still a copy.
        .message_id_fn(|message| message_id(&message.data))
        .max_transmit_size(GOSSIP_RPC_BYTES_MAX)
        .max_publish_messages(GOSSIP_RPC_MESSAGES_MAX)
        .connection_handler_queue_len(GOSSIP_QUEUE_MAX)
        .publish_queue_duration(GOSSIP_QUEUE_TIME)
        .forward_queue_duration(GOSSIP_QUEUE_TIME)
        .build()
        .map_err(|error| error.to_string())
}

fn message_id(data: &[u8]) -> MessageId {
    let hash: Hash = blake3::hash(data);
    MessageId::from(hash.as_bytes().to_vec())
}

fn gossip(keypair: &Keypair, names: &Protocols) -> Result<Gossip, String> {
    let topics = names.topics();
    let filter = WhitelistSubscriptionFilter(topics.iter().map(IdentTopic::hash).collect());
    let authenticity = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = Gossip::new_with_subscription_filter(authenticity, gossip_config(names)?, filter)?;
    gossip.with_peer_score(score_params(names), score_thresholds())?;
    for topic in &topics {
        gossip.subscribe(topic).map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}

/// Only invalid messages count: how much a peer delivers says nothing about it in a network of few adverts,
/// and many honest nodes may share one address.
fn score_params(names: &Protocols) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.99,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: names.topics().iter().map(|name| (name.hash(), topic.clone())).collect(),
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        ..PeerScoreParams::default()
    }
}

fn score_thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: GOSSIP_SCORE_MIN / 4.0,
        publish_threshold: GOSSIP_SCORE_MIN / 2.0,
        graylist_threshold: GOSSIP_SCORE_MIN,
        ..PeerScoreThresholds::default()
    }
}
