//! Many nodes in one process.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gridhour_protocol::signed::{PublicKey, SecretKey};
use tokio::sync::mpsc;

use super::{
    GossipError, Heard, Plan,
    advert::{NETWORK, advert},
};
use crate::net::{Address, Closed, Net, NetConfig, NetEvent, NetHandle, Transports};

/// Time between two measurements of a round trip: none within a measurement, as they are not what is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// What nodes heard and nobody has looked at yet.
const HEARD_MAX: usize = 4096;

/// The nodes, and what they hear.
pub(super) struct Crowd {
    nodes: Vec<(SecretKey, NetHandle)>,
    heard: mpsc::Receiver<Heard>,
    /// Adverts published so far.
    published: u64,
    seed: u64,
}

impl Crowd {
    /// Starts the nodes, and waits until each has met all that it dialled.
    pub(super) async fn gather(plan: &Plan, told: &mut dyn FnMut()) -> Result<Self, GossipError> {
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let mut crowd = Self { nodes: Vec::new(), heard, published: 0, seed: plan.seed };
        for n in 0..plan.nodes {
            let key = crowd.key(n);
            let bootstrap = crowd.acquaintances(n, plan.dials);
            let met: Vec<PublicKey> = bootstrap.iter().filter_map(Address::peer).collect();
            let (net, events) = Net::start(settings(key.clone(), bootstrap)).await?;
            tokio::spawn(listen(events, sender.clone()));
            let mut peers = net.watch_peers();
            let all = peers.wait_for(|peers| met.iter().all(|key| peers.contains(key)));
            all.await.map_err(|_| Closed)?;
            crowd.nodes.push((key, net));
            told();
        }
        Ok(crowd)
    }

    /// A number below `below` that follows from the plan alone.
    fn draw(&self, what: &str, n: usize, below: usize) -> usize {
        let text = format!("{} {what} {n}", self.seed);
        let [a, b, c, d, ..] = *blake3::hash(text.as_bytes()).as_bytes();
        u32::from_le_bytes([a, b, c, d]) as usize % below.max(1)
    }

    fn key(&self, n: usize) -> SecretKey {
        SecretKey::from_seed(*blake3::hash(format!("{} node {n}", self.seed).as_bytes()).as_bytes())
    }

    /// Whom the `n`th node dials: `dials` of those before it.
    fn acquaintances(&self, n: usize, dials: usize) -> Vec<Address> {
        let mut chosen = BTreeMap::new();
        for draw in 0..2 * dials {
            if n > 0 && chosen.len() < dials {
                let at = self.draw("dials", n * 2 * dials + draw, n);
                chosen
                    .extend(self.nodes[at].1.listen_addrs().into_iter().take(1).map(|address| (at, address)));
            }
        }
        chosen.into_values().collect()
    }

    /// Connections of all nodes, each counted at both ends.
    pub(super) fn links(&self) -> usize {
        self.nodes.iter().map(|(_, net)| net.peers().len()).sum()
    }

    /// Publishes an advert at one node; after how long each of the others had heard of it.
    pub(super) async fn publish(&mut self, patience: Duration) -> Result<Vec<Duration>, GossipError> {
        self.published += 1;
        let turn = usize::try_from(self.published).unwrap_or(usize::MAX);
        let (key, net) = &self.nodes[self.draw("publishes", turn, self.nodes.len())];
        let sequence = self.published;
        let signed = advert(key, sequence);
        let (provider, began) = (key.public(), Instant::now());
        net.publish_advert(signed).await?;
        let (nodes, mut delays) = (self.nodes.len(), Vec::new());
        let everyone = async {
            while delays.len() + 1 < nodes
                && let Some(heard) = self.heard.recv().await
            {
                if (heard.provider, heard.sequence) == (provider, sequence) {
                    delays.push(heard.at.duration_since(began));
                }
            }
        };
        // Whether it was in time shows in how many heard.
        let _ = tokio::time::timeout(patience, everyone).await;
        match nodes - 1 - delays.len() {
            0 => Ok(delays),
            missing => Err(GossipError::Unheard { missing, nodes, patience }),
        }
    }

    pub(super) async fn leave(self) {
        let leaving =
            self.nodes.into_iter().map(|(_, net)| tokio::spawn(async move { net.shutdown().await }));
        for left in leaving.collect::<Vec<_>>() {
            // Fails only if the network's own task panicked, which it reports itself.
            let _ = left.await;
        }
    }
}

fn settings(key: SecretKey, bootstrap: Vec<Address>) -> NetConfig {
    NetConfig {
        transports: Transports::Memory,
        listen: "/memory/0".parse().into_iter().collect(),
        bootstrap,
        find_peers: false,
        measure_every: MEASURE_EVERY,
        ..NetConfig::new(NETWORK, key)
    }
}

/// Notes when a node hears of an advert, until it ends.
async fn listen(mut events: mpsc::Receiver<NetEvent>, heard: mpsc::Sender<Heard>) {
    while let Some(event) = events.recv().await {
        let NetEvent::Advert(advert) = event else { continue };
        let heard_now = Heard { provider: advert.provider, sequence: advert.sequence, at: Instant::now() };
        if heard.send(heard_now).await.is_err() {
            return;
        }
    }
}
