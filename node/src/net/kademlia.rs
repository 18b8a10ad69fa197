//! The tables in which peers are found: one of our own networks, one of the wide world.
//!
//! Kademlia is asked one thing only, which peers are near a name; it stores no records for anyone. A peer gets into a
//! table when it has named our network on a connection of the table's reach, with the addresses that it told us there,
//! and near addresses get into the near table only. Whoever asks on a far connection asks the far table.

use std::num::NonZeroUsize;

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    kad::{
        self, BucketInserts, Caching, Mode, StoreInserts,
        store::{MemoryStore, MemoryStoreConfig},
    },
};

use crate::net::{
    config::NetConfig,
    limits::{
        KADEMLIA_ADDRESSES_MAX, KADEMLIA_BUCKET_PEERS_MAX, KADEMLIA_PACKET_BYTES_MAX, KADEMLIA_PARALLEL,
        KADEMLIA_QUERY_TIMEOUT, KADEMLIA_RECORDS_MAX,
    },
    protocols::Protocols,
    scoped::{Scope, Scoped},
};

/// A table and the queries to those of others.
pub(crate) type Table = Scoped<kad::Behaviour<MemoryStore>>;

impl Scope {
    /// The protocol of the table of this reach.
    pub(crate) fn protocol(self, names: &Protocols) -> StreamProtocol {
        names.stream(match self {
            Self::Near => "kademlia-near",
            Self::Far => "kademlia",
        })
    }
}

/// The table of one reach; none if the node is not to look for peers.
pub(crate) fn table(config: &NetConfig, peer: PeerId, names: &Protocols, scope: Scope) -> Table {
    let inner = config.find_peers.then(|| {
        let settings = settings(scope.protocol(names));
        let mut kademlia = kad::Behaviour::with_config(peer, store(peer), settings);
        // The far table answers once a public address of ours is known, which libp2p looks after.
        if scope == Scope::Near {
            kademlia.set_mode(Some(if config.listen.is_empty() { Mode::Client } else { Mode::Server }));
        }
        kademlia
    });
    Scoped::new(inner, scope, config.is_near)
}

fn settings(name: StreamProtocol) -> kad::Config {
    let count = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    let mut config = kad::Config::new(name);
    config
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_kbucket_size(count(KADEMLIA_BUCKET_PEERS_MAX))
        .set_replication_factor(count(KADEMLIA_BUCKET_PEERS_MAX))
        .set_parallelism(count(KADEMLIA_PARALLEL))
        // One liar on the way then spoils one path of several.
        .disjoint_query_paths(true)
        .set_query_timeout(KADEMLIA_QUERY_TIMEOUT)
        .set_max_packet_size(KADEMLIA_PACKET_BYTES_MAX)
        // Nobody's records are kept, so none are published again. When to look for peers is ours to say.
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_caching(Caching::Disabled)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(None);
    config
}

fn store(peer: PeerId) -> MemoryStore {
    let config = MemoryStoreConfig {
        max_records: KADEMLIA_RECORDS_MAX,
        max_value_bytes: 0,
        max_providers_per_key: KADEMLIA_RECORDS_MAX,
        max_provided_keys: KADEMLIA_RECORDS_MAX,
    };
    MemoryStore::with_config(peer, config)
}

/// Puts a peer into the table; no more addresses than are kept of one.
pub(crate) fn learn(table: &mut Table, peer: PeerId, addresses: &[Multiaddr]) {
    let Some(kademlia) = table.inner() else { return };
    // What it said before may be true no more, and must not add up.
    kademlia.remove_peer(&peer);
    for address in addresses.iter().take(KADEMLIA_ADDRESSES_MAX) {
        kademlia.add_address(&peer, address.clone());
    }
}

/// Peers of the table, with their addresses.
pub(crate) fn known(table: &mut Table) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let Some(kademlia) = table.inner() else { return Vec::new() };
    let entries = kademlia.kbuckets().flat_map(|bucket| {
        let peers = bucket.iter().map(|entry| {
            (
                *entry.node.key.preimage(),
                entry.node.value.iter().take(KADEMLIA_ADDRESSES_MAX).cloned().collect(),
            )
        });
        peers.collect::<Vec<_>>()
    });
    entries.collect()
}

/// Looks for the peers nearest a name that nobody foresees, unless a search is under way or nobody could be asked.
pub(crate) fn search(table: &mut Table) {
    let Some(kademlia) = table.inner() else { return };
    if kademlia.iter_queries().next().is_none() && kademlia.kbuckets().any(|bucket| !bucket.is_empty()) {
        kademlia.get_closest_peers(PeerId::random());
    }
}
