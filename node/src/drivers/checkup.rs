//! Answers whoever looks after a node: our clock, whether we see its offer, and whether we reach it.
//!
//! To be reached means to be dialled, which must be of no use to anyone who means others harm. So only the IP address that
//! the question came from is dialled, only at the few ports that it names, by one checkup at a time, and once in
//! [`CHECKUP_EVERY`] for an address. The dialling is done under a name that is thrown away: a node that is connected to us
//! already would not be dialled at all.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use gridhour_protocol::{
    id::NetworkId,
    market::advert::Advert,
    signed::{PublicKey, SecretKey},
};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    clock,
    keys::random32,
    net::{Address, Net, NetConfig, NetHandle, Turns},
    rpc::{
        checkup::{Checkup, CheckupRequest, Outcome, PORTS_MAX, Port, SeenOffer, TriedPort},
        detail,
    },
};

/// How often one address, or one IPv6 network, may have itself dialled.
pub const CHECKUP_EVERY: Duration = Duration::from_secs(10);
/// How long all ports of one checkup may take together; less than a request waits for its answer.
const DIAL_TIME: Duration = Duration::from_secs(8);
/// Answers checkups for one node.
#[derive(Debug)]
pub struct Checkups {
    net: NetHandle,
    network: NetworkId,
    turn: Semaphore,
    recent: Mutex<Turns>,
    dial_time: Duration,
}

impl Checkups {
    /// For a node of `network`, which `net` is of.
    #[must_use]
    pub fn new(net: NetHandle, network: NetworkId) -> Self {
        Self::patient(net, network, DIAL_TIME)
    }

    /// The same, with `dial_time` for all ports of one checkup.
    pub(crate) fn patient(net: NetHandle, network: NetworkId, dial_time: Duration) -> Self {
        let recent = Mutex::new(Turns::new(1, CHECKUP_EVERY));
        Self { net, network, turn: Semaphore::new(1), recent, dial_time }
    }

    /// What is seen here of the node that `asked` names, by somebody at `from`.
    ///
    /// # Errors
    /// With a sentence, if this node is shutting down.
    pub async fn answer(&self, asked: CheckupRequest, from: Option<IpAddr>) -> Result<Checkup, String> {
        let advert = self.net.advert(asked.node).await.map_err(|error| error.to_string())?;
        let now = clock::now();
        let offer = advert.filter(|advert| advert.is_live(now)).map(|advert| seen(&advert));
        Ok(Checkup { now, offer, tried: self.try_ports(asked, from).await })
    }

    async fn try_ports(&self, asked: CheckupRequest, from: Option<IpAddr>) -> Vec<TriedPort> {
        let none = |why: &str| {
            let outcome = Outcome::NotTried(detail(why.to_owned()));
            asked.ports.iter().map(|port| TriedPort { port: *port, outcome: outcome.clone() }).collect()
        };
        if asked.ports.is_empty() {
            return Vec::new();
        }
        let Some(ip) = from else { return none("your address is not seen here") };
        let Ok(_turn) = self.turn.try_acquire() else {
            return none("another checkup is under way; ask again");
        };
        if !self.recent.lock().unwrap_or_else(PoisonError::into_inner).take(ip, Instant::now()) {
            return none("your address was dialled a moment ago; ask again in ten seconds");
        }
        self.dial_all(&asked, ip).await
    }

    /// Dials every port, one after the other.
    async fn dial_all(&self, asked: &CheckupRequest, ip: IpAddr) -> Vec<TriedPort> {
        let share = self.dial_time / u32::try_from(asked.ports.len()).unwrap_or(u32::MAX).max(1);
        let mut tried = Vec::new();
        for port in &asked.ports {
            tried.push(TriedPort { port: *port, outcome: self.dial(*port, asked.node, ip, share).await });
        }
        tried
    }

    /// Dials one port as a stranger of its own: one that is with the node already would be told so, and dial nothing.
    async fn dial(&self, port: Port, node: PublicKey, ip: IpAddr, limit: Duration) -> Outcome {
        let net = match self.stranger().await {
            Ok(net) => net,
            Err(why) => return Outcome::NotTried(detail(why)),
        };
        let outcome = match timeout(limit, dial(&net, port, node, ip)).await {
            Ok(Ok(())) => Outcome::Reached,
            Ok(Err(why)) => Outcome::Unreached(detail(why)),
            Err(_) => Outcome::Unreached(format!("no answer within {} s", limit.as_secs())),
        };
        net.shutdown().await;
        outcome
    }

    async fn stranger(&self) -> Result<NetHandle, String> {
        let name = SecretKey::from_seed(random32().map_err(|error| error.to_string())?);
        let started = Net::start(stranger(self.network, name)).await;
        started.map(|(net, _)| net).map_err(|error| error.to_string())
    }
}

/// Settings of a peer without a past, who listens nowhere and looks for nobody: whoever it is sent to could otherwise name
/// others, and it would go there.
pub(crate) fn stranger(network: NetworkId, name: SecretKey) -> NetConfig {
    NetConfig { find_peers: false, ..NetConfig::new(network, name) }
}

fn seen(advert: &Advert) -> SeenOffer {
    let ports: BTreeSet<Port> = advert.addresses.iter().filter_map(|text| Port::of_multiaddr(text)).collect();
    SeenOffer {
        sequence: advert.sequence,
        expires_at: advert.expires_at,
        offers_model: !advert.models.is_empty(),
        ports: ports.into_iter().take(PORTS_MAX).collect(),
    }
}

async fn dial(net: &NetHandle, port: Port, node: PublicKey, ip: IpAddr) -> Result<(), String> {
    let peer = crate::net::peer_id_of(&node).ok_or("the key is no key")?;
    let address: Address = port.at(ip, &peer).parse().map_err(|error| format!("{error}"))?;
    net.dial(address).await.map(drop).map_err(|error| error.to_string())
}
