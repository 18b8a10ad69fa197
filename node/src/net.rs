//! The network room: the only place where libp2p is used. It moves bounded bytes between peers whose keys the
//! handshake proved, and adverts that it has checked; what the bytes mean is for the drivers.
//!
//! ```text
//!   NetHandle ── commands ──> task (owns the swarm) <── streams ──> peers
//!      ^                        │  judges every advert before it is kept or forwarded
//!      └ peers, metrics,        └── events ──> drivers: adverts, jobs, requests
//!        latencies (watched)
//! ```
//!
//! | file | idea |
//! |---|---|
//! | [`gossip`] | what is checked before an advert is remembered or passed on |
//! | `advert_table`, `push` | each provider's newest advert; all of them for a peer that just subscribed |
//! | `auction_table` | posted orders that wait for quotes, and who has quoted |
//! | `checkpoint_table` | the ledger's checkpoints, of which no two may contradict each other |
//! | `peer_score`, `metrics` | what each peer cost us, and when it is shut out |
//! | [`passing_on`] | which good adverts are passed on where they are too many |
//! | `codec`, `frame`, `service` | requests and answers with a largest size each |
//! | `job_protocol`, [`JobStream`] | the streams that jobs and calibrations run on |
//! | `latency` | round trips, measured by echoes |
//! | `bootstrap`, `peers`, `task` | who is dialled, who is here, and the loop |
//! | `reach`, `scoped` | what is near and what is far, and protocols that keep them apart |
//! | `leaving` | connections to peers of other networks, until these know |
//! | `neighbours` | who announces itself on our own network |
//! | `reachability` | whether others can dial us, asked again now and then |
//! | `relays` | who passes on connections for a node that cannot be dialled |
//! | `kademlia`, `outbound` | where peers are found, and which of them we stay connected to |
//! | `dial_back`, [`Turns`] | whom we try to dial for others, and how often |
//! | [`limits`] | what peers can make a node hold or do at most |
//!
//! docs/NETWORK.md has the protocols and the sums.

pub mod advert_table;
mod auction_table;
mod behaviour;
mod bootstrap;
mod bucket;
mod checkpoint_table;
mod codec;
mod config;
mod dial_back;
mod error;
mod event;
mod frame;
pub mod gossip;
mod handle;
mod identity;
mod job_protocol;
mod job_stream;
mod kademlia;
mod latency;
mod leaving;
pub mod limits;
mod metrics;
mod neighbours;
mod outbound;
pub mod passing_on;
pub mod peer_score;
mod peers;
mod protocols;
mod push;
mod reach;
mod reachability;
mod relays;
#[cfg(test)]
pub(crate) mod sample;
mod scoped;
mod service;
mod task;
#[cfg(test)]
mod tests;
mod transport;
mod turns;
mod upgrades;

use std::time::Duration;

use libp2p::{
    Swarm,
    core::transport::{ListenerId, TransportError},
    relay,
    swarm::SwarmEvent,
};
use tokio::sync::{mpsc, watch};

pub(crate) use self::latency::LatencyWindow;
use self::{
    behaviour::Behaviour,
    bootstrap::Bootstrap,
    handle::Shown,
    identity::keypair_of,
    limits::{ADDRESSES_CONFIGURED_MAX, COMMANDS_MAX, EVENTS_MAX, IDLE_TIMEOUT, STREAMS_NEGOTIATING_MAX},
    outbound::Outbound,
    protocols::Protocols,
    task::{Parts, Task},
};
pub use self::{
    checkpoint_table::SeenCheckpoints,
    config::{NetConfig, Transports},
    error::{Closed, DialError, NetError, PublishError, RequestError},
    event::{InboundRequest, NetEvent, Responder},
    frame::{FrameError, FrameReader, write_frame},
    handle::NetHandle,
    identity::{Address, BadAddress, peer_id_of},
    job_stream::{JobReceiver, JobSender, JobStream},
    metrics::{AdvertCounts, NetMetrics},
    push::{BadPush, unpack as unpack_push},
    reach::is_near,
    service::Service,
    turns::Turns,
};

/// How long the system may take to name the addresses that a node listens on.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connections may take to end at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts networks.
#[derive(Debug)]
pub struct Net;

impl Net {
    /// Joins a network: listens, begins to dial the bootstrap peers, and returns. The listen addresses are
    /// known then.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If an address cannot be listened on, a bootstrap address names no peer, or the settings are
    /// inconsistent.
    pub async fn start(config: NetConfig) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), NetError> {
        let count = config.listen.len().max(config.bootstrap.len()).max(config.remembered.len());
        if count > ADDRESSES_CONFIGURED_MAX {
            return Err(NetError::TooManyAddresses { count, max: ADDRESSES_CONFIGURED_MAX });
        }
        let bootstrap = Bootstrap::new(config.bootstrap.clone(), std::time::Instant::now())
            .map_err(NetError::BootstrapWithoutPeer)?;
        let (alive, ended) = mpsc::channel(1);
        let mut swarm = build_swarm(&config, alive)?;
        let listening = listen(&mut swarm, &config.listen).await?;

        let (commands_sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (events, events_receiver) = mpsc::channel(EVENTS_MAX);
        let shown = Shown {
            peers: watch::Sender::default(),
            listening: watch::Sender::new(listening.addresses),
            metrics: watch::Sender::default(),
            latencies: watch::Sender::default(),
            coordinate: watch::Sender::new(config.coordinate),
            checkpoints: watch::Sender::default(),
            remembered: watch::Sender::new(config.remembered.clone()),
            public: watch::Sender::default(),
        };
        let (ended_sender, ended_receiver) = watch::channel(false);
        let handle = NetHandle {
            key: config.public(),
            delay: config.delay_bounded(),
            commands: commands_sender,
            peers: shown.peers.subscribe(),
            listening: shown.listening.subscribe(),
            metrics: shown.metrics.subscribe(),
            latencies: shown.latencies.subscribe(),
            coordinate: shown.coordinate.subscribe(),
            checkpoints: shown.checkpoints.subscribe(),
            remembered: shown.remembered.subscribe(),
            public: shown.public.subscribe(),
            ended: ended_receiver,
        };
        let commands_sender = handle.commands.downgrade();
        let listeners = listening.ids;
        let outbound = Outbound::new(salt()?);
        let parts = Parts { listeners, commands, commands_sender, events, shown, bootstrap, outbound };
        let task = Task::new(swarm, &config, parts);
        tokio::spawn(run(task, ended, ended_sender));
        Ok((handle, events_receiver))
    }
}

/// Bytes that nobody else knows.
fn salt() -> Result<[u8; 32], NetError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| NetError::Setup(error.to_string()))?;
    Ok(salt)
}

/// Runs the task, then waits until the connections' tasks, which hold the other end of `tasks`, are gone too.
async fn run(task: Task, mut tasks: mpsc::Receiver<()>, ended: watch::Sender<bool>) {
    task.run().await;
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.recv()).await.is_err() {
        tracing::warn!("connections are still closing after {SHUTDOWN_TIMEOUT:?}");
    }
    ended.send_replace(true);
}

/// The swarm. Each of its tasks holds a clone of `alive` until it ends.
fn build_swarm(config: &NetConfig, alive: mpsc::Sender<()>) -> Result<Swarm<Behaviour>, NetError> {
    let keypair = keypair_of(&config.key);
    let names = Protocols::new(&config.network);
    let peer = keypair.public().to_peer_id();
    let (relayed, relay_client) = relay::client::new(peer);
    let behaviour = Behaviour::new(config, &keypair, &names, relay_client)?;
    let spawn = move |future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let alive = alive.clone();
        tokio::spawn(async move {
            let _alive = alive;
            future.await;
        });
    };
    let settings = libp2p::swarm::Config::with_executor(spawn)
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(STREAMS_NEGOTIATING_MAX);
    Ok(Swarm::new(
        transport::build(&keypair, config.transports, relayed)?,
        behaviour,
        keypair.public().to_peer_id(),
        settings,
    ))
}

/// What a swarm listens on.
struct Listening {
    ids: Vec<ListenerId>,
    addresses: Vec<Address>,
}

/// Listens on all addresses, and waits until the system has named at least one for each.
async fn listen(swarm: &mut Swarm<Behaviour>, wanted: &[Address]) -> Result<Listening, NetError> {
    let mut listening = Listening { ids: Vec::new(), addresses: Vec::new() };
    for address in wanted {
        let refuse = |why: String| NetError::Listen { address: address.clone(), why };
        transport::check_free(&address.0).map_err(|error| refuse(error.to_string()))?;
        let id = swarm.listen_on(address.0.clone()).map_err(|error| refuse(explain(error)))?;
        listening.ids.push(id);
    }
    let mut unnamed = listening.ids.clone();
    let all_named = async {
        while !unnamed.is_empty() {
            if let Some((id, address)) = next_listener(swarm).await {
                unnamed.retain(|other| *other != id);
                listening.addresses.push(address);
            }
        }
    };
    if tokio::time::timeout(LISTEN_TIMEOUT, all_named).await.is_err() {
        tracing::warn!("the system has not named all listen addresses yet");
    }
    Ok(listening)
}

fn explain(error: TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "addresses of this kind are not spoken".into(),
        TransportError::Other(error) => error.to_string(),
    }
}

async fn next_listener(swarm: &mut Swarm<Behaviour>) -> Option<(ListenerId, Address)> {
    let peer = *swarm.local_peer_id();
    match futures::StreamExt::select_next_some(swarm).await {
        SwarmEvent::NewListenAddr { listener_id, address } => {
            Some((listener_id, Address::of_peer(address, peer)))
        }
        _ => None,
    }
}
