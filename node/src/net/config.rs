//! Settings of the network room.

use std::time::Duration;

use gridhour_contracts_sim::{network_file::NetworkFile, witnesses::LogKeys};
use gridhour_protocol::{
    id::NetworkId,
    market::coordinate::Coordinate,
    signed::{PublicKey, SecretKey},
};

use crate::net::{identity::Address, limits::DELAY_MAX, reach};

/// How bytes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transports {
    /// TCP, QUIC, relays, names looked up; and within the process.
    #[default]
    All,
    /// Within the process only: many nodes in one, and no sockets.
    Memory,
}

/// What a node must know to join a network.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The network. Peers of another one are disconnected, and no protocol of theirs is spoken.
    pub network: NetworkId,
    /// The node's key: its account, and its name among peers.
    pub key: SecretKey,
    /// The keys under the ledger's checkpoints. Without them these are neither kept nor passed on.
    pub log_keys: Option<LogKeys>,
    /// What can be listened on and dialled.
    pub transports: Transports,
    /// Where to listen: TCP (`/ip4/0.0.0.0/tcp/4001`), QUIC (`/ip4/0.0.0.0/udp/4001/quic-v1`), or within the
    /// process (`/memory/1`). Port 0 lets the system choose. Empty for a node that only dials.
    pub listen: Vec<Address>,
    /// Peers to stay connected to, each ending in `/p2p/<peer id>`. Dialled again for as long as the node
    /// runs, ever more slowly.
    pub bootstrap: Vec<Address>,
    /// Whether peers are looked for beyond those that are named: by asking the peers that are known, and by the
    /// addresses in `remembered`.
    pub find_peers: bool,
    /// Peers of an earlier run, from [`crate::net::NetHandle::watch_remembered`], each ending in `/p2p/<peer id>`. They
    /// are dialled when places for found peers are free.
    pub remembered: Vec<Address>,
    /// Whether peers on the local network are looked for, and told that this node is there, by mDNS.
    pub mdns: bool,
    /// Whether this node helps peers that cannot be dialled: passes on connections to them, within the limits, and tries
    /// whether it can dial who asks. For nodes that are bootstrap peers of others.
    pub relays: bool,
    /// Whether this node lets itself be reached through bootstrap peers that relay. Without it, it does so once a peer
    /// that tried could not dial it.
    pub relayed: bool,
    /// Which addresses are of our own networks and told to nobody outside. Tests say it of other addresses.
    pub is_near: fn(&Address) -> bool,
    /// Added to every echo answer and to every job frame that this node sends, at most two seconds: the
    /// `--delay-ms` with which the demo's providers truly differ. Zero in earnest.
    pub delay: Duration,
    /// Where the node says that it is. A round trip that is shorter than light needs to a peer's region teaches it
    /// nothing.
    pub region: Option<String>,
    /// Where the node was in the network when it last ran.
    pub coordinate: Coordinate,
    /// How often the round trip to each connected peer is measured.
    pub measure_every: Duration,
    /// How long a peer may take to answer a request to the ledger or for an asset.
    pub request_timeout: Duration,
    /// Where the network's time comes from: milliseconds since the Unix epoch. Tests of expiry turn it.
    pub clock: fn() -> gridhour_protocol::units::Timestamp,
}

impl NetConfig {
    /// Settings for a node that listens nowhere and knows nobody yet.
    #[must_use]
    pub fn new(network: NetworkId, key: SecretKey) -> Self {
        Self {
            network,
            key,
            log_keys: None,
            transports: Transports::All,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            find_peers: true,
            remembered: Vec::new(),
            mdns: false,
            relays: false,
            relayed: false,
            is_near: reach::is_near,
            delay: Duration::ZERO,
            region: None,
            coordinate: Coordinate::UNKNOWN,
            measure_every: Duration::from_secs(5),
            request_timeout: Duration::from_secs(20),
            clock: system_clock,
        }
    }

    /// The same for the network of `file`, whose checkpoints are then kept and passed on.
    #[must_use]
    pub fn of(file: &NetworkFile, key: SecretKey) -> Self {
        Self { log_keys: LogKeys::of(file).ok(), ..Self::new(file.id(), key) }
    }

    /// The node's name.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// What makes this node's directions differ from others': the beginning of its name.
    pub(crate) fn seed(&self) -> u64 {
        self.public().0.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
    }

    /// The delay, within what echoes allow.
    pub(crate) fn delay_bounded(&self) -> Duration {
        self.delay.min(DELAY_MAX)
    }
}

fn system_clock() -> gridhour_protocol::units::Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    gridhour_protocol::units::Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
