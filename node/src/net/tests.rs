//! The room against real peers on loopback. Nothing here sleeps to be in time: every wait is for an event,
//! under a limit that only fails.

mod auctions;
mod checkpoints;
mod discovery;
mod gossip;
mod hostile;
mod jobs;
mod latency;
mod lifecycle;
mod raw;
mod relaying;
mod requests;
mod strangers;

use std::time::Duration;

use gridhour_protocol::{
    market::advert::Advert,
    signed::{PublicKey, Verified},
};
use tokio::sync::mpsc;

use crate::net::{
    Address, InboundRequest, JobStream, Net, NetConfig, NetEvent, NetHandle, NetMetrics,
    sample::{NETWORK, advert, clock, secret},
};

/// A wait that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} took over {LIMIT:?}"))
}

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const MEMORY: &str = "/memory/0";

fn config(seed: u8, listen: &str) -> NetConfig {
    let listen = vec![listen.parse().expect("an address")];
    NetConfig { listen, clock, find_peers: false, ..NetConfig::new(NETWORK, secret(seed)) }
}

/// A node and what it was handed.
struct Node {
    seed: u8,
    net: NetHandle,
    events: mpsc::Receiver<NetEvent>,
}

impl Node {
    async fn start(seed: u8, listen: &str) -> Self {
        Self::with(seed, config(seed, listen)).await
    }

    async fn with(seed: u8, config: NetConfig) -> Self {
        let (net, events) = within("start", Net::start(config)).await.expect("the network starts");
        Self { seed, net, events }
    }

    fn key(&self) -> PublicKey {
        self.net.key()
    }

    fn address(&self) -> Address {
        self.net.listen_addrs().first().expect("listens").clone()
    }

    /// Connects to `other`, and waits until it knows, too.
    async fn connect(&self, other: &Node) {
        let dialled = within("dial", self.net.dial(other.address())).await;
        assert_eq!(dialled, Ok(other.key()));
        other.wait_for_peer(self.key()).await;
    }

    async fn wait_for_peer(&self, key: PublicKey) {
        let mut peers = self.net.watch_peers();
        within("peer", peers.wait_for(|peers| peers.contains(&key))).await.expect("the network runs");
    }

    async fn wait_without_peer(&self, key: PublicKey) {
        let mut peers = self.net.watch_peers();
        within("peer gone", peers.wait_for(|peers| !peers.contains(&key))).await.expect("the network runs");
    }

    async fn wait_for(&self, what: &str, reached: impl Fn(&NetMetrics) -> bool) -> NetMetrics {
        let mut metrics = self.net.watch_metrics();
        within(what, metrics.wait_for(|metrics| reached(metrics))).await.expect("the network runs").clone()
    }

    async fn publish(&self, sequence: u64) {
        let signed = secret(self.seed).sign(advert(self.seed, sequence));
        within("publish", self.net.publish_advert(signed)).await.expect("an honest advert");
    }

    async fn event(&mut self) -> NetEvent {
        within("event", self.events.recv()).await.expect("the network runs")
    }

    async fn advert(&mut self) -> Verified<Advert> {
        match self.event().await {
            NetEvent::Advert(advert) => advert,
            other => panic!("expected an advert, got {other:?}"),
        }
    }

    async fn job(&mut self) -> JobStream {
        match self.event().await {
            NetEvent::Job(job) => job,
            other => panic!("expected a job, got {other:?}"),
        }
    }

    async fn request(&mut self) -> InboundRequest {
        match self.event().await {
            NetEvent::Request(request) => request,
            other => panic!("expected a request, got {other:?}"),
        }
    }
}

/// Nodes in a line, each connected to the next.
async fn line(seeds: &[u8], listen: &str) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for &seed in seeds {
        let node = Node::start(seed, listen).await;
        if let Some(last) = nodes.last() {
            node.connect(last).await;
        }
        nodes.push(node);
    }
    nodes
}
