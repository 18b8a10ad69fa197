//! Peers that are found, and what is told of them to whom.

use std::collections::BTreeSet;

use futures::StreamExt;
use gridhour_protocol::{id::NetworkId, signed::SecretKey};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, identify,
    kad::{self, store::MemoryStore},
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};

use super::{MEMORY, Node, TCP, config, raw, within};
use crate::net::{
    Address, NetConfig,
    identity::{keypair_of, peer_of},
    is_near,
    limits::{CONNECTIONS_IN_MAX, OUTBOUND_KEPT},
    protocols::Protocols,
    sample::{NETWORK, secret},
};

/// Settings of a node that looks for peers, beginning with `bootstrap`.
fn seeker(seed: u8, listen: &str, bootstrap: &[&Node]) -> NetConfig {
    let bootstrap = bootstrap.iter().map(|node| node.address()).collect();
    NetConfig { find_peers: true, bootstrap, ..config(seed, listen) }
}

async fn a_third_node_is_found(listen: &str) {
    let middle = Node::with(1, seeker(1, listen, &[])).await;
    let first = Node::with(2, seeker(2, listen, &[&middle])).await;
    first.wait_for_peer(middle.key()).await;
    let mut third = Node::with(3, seeker(3, listen, &[&middle])).await;
    third.wait_for_peer(first.key()).await;
    first.wait_for_peer(third.key()).await;

    middle.net.shutdown().await;
    third.wait_without_peer(middle.key()).await;
    first.publish(1).await;
    assert_eq!(third.advert().await.provider, first.key());
}

#[tokio::test]
async fn a_third_node_is_found_through_one_bootstrap_address_over_tcp() {
    a_third_node_is_found(TCP).await;
}

#[tokio::test]
async fn a_third_node_is_found_through_one_bootstrap_address_over_memory() {
    a_third_node_is_found(MEMORY).await;
}

#[tokio::test]
async fn every_one_of_a_dozen_nodes_finds_enough_peers_through_one() {
    let first = Node::with(1, seeker(1, MEMORY, &[])).await;
    let mut nodes = Vec::new();
    for seed in 2..=12 {
        nodes.push(Node::with(seed, seeker(seed, MEMORY, &[&first])).await);
    }
    for node in &nodes {
        let mut peers = node.net.watch_peers();
        let enough = peers.wait_for(|peers| peers.len() > OUTBOUND_KEPT);
        within("peers", enough).await.expect("the network runs");
    }
}

#[tokio::test]
async fn a_node_that_restarts_keeps_its_name_and_finds_its_peers_again() {
    let middle = Node::with(1, seeker(1, TCP, &[])).await;
    let first = Node::with(2, seeker(2, TCP, &[&middle])).await;
    first.wait_for_peer(middle.key()).await;
    let third = Node::with(3, seeker(3, TCP, &[&middle])).await;
    let mut remembered = third.net.watch_remembered();
    let names = |known: &Vec<Address>| known.iter().any(|address| address.peer() == Some(first.key()));
    within("memory", remembered.wait_for(names)).await.expect("the network runs");
    let remembered = remembered.borrow().clone();
    let key = third.key();
    third.net.shutdown().await;
    middle.net.shutdown().await;
    first.wait_without_peer(key).await;

    let third = Node::with(3, NetConfig { remembered, ..seeker(3, TCP, &[&middle]) }).await;
    assert_eq!(third.key(), key);
    third.wait_for_peer(first.key()).await;
    first.wait_for_peer(key).await;
}

/// What a peer that keeps no rules is told.
#[derive(NetworkBehaviour)]
pub(super) struct Curious {
    pub(super) kademlia: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

fn curious(seed: u8, protocol: StreamProtocol) -> Swarm<Curious> {
    raw::swarm(&secret(seed), curiosity(seed, protocol))
}

pub(super) fn curiosity(seed: u8, protocol: StreamProtocol) -> Curious {
    let keypair = keypair_of(&secret(seed));
    let peer = keypair.public().to_peer_id();
    let mut kademlia = kad::Behaviour::with_config(peer, MemoryStore::new(peer), kad::Config::new(protocol));
    kademlia.set_mode(Some(kad::Mode::Server));
    let identify = identify::Behaviour::new(identify::Config::new(raw::names().identity(), keypair.public()));
    Curious { kademlia, identify }
}

/// What the curious heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Whom a search named, and so was dialled or met.
    peers: BTreeSet<PeerId>,
    /// Under which addresses they were dialled.
    addresses: BTreeSet<Multiaddr>,
    /// What the node that was asked said of itself.
    own: Vec<Multiaddr>,
    /// What it speaks.
    pub(super) protocols: Vec<StreamProtocol>,
}

/// Searches the table behind `protocol` of the node at `address`, until it ends and that node has said who it is.
pub(super) async fn ask(seed: u8, protocol: StreamProtocol, node: &Node, address: Address) -> Heard {
    let mut swarm = curious(seed, protocol);
    let peer = peer_of(&node.key()).expect("a public key is a point");
    swarm.behaviour_mut().kademlia.add_address(&peer, address.0.clone());
    swarm.behaviour_mut().kademlia.get_closest_peers(PeerId::random());
    let (mut heard, mut ended) = (Heard::default(), false);
    let search = async {
        while !ended || heard.own.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::Dialing { peer_id: Some(peer), .. } => drop(heard.peers.insert(peer)),
                SwarmEvent::ConnectionEstablished { endpoint, .. } => {
                    heard.addresses.insert(endpoint.get_remote_address().clone());
                }
                SwarmEvent::Behaviour(CuriousEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                    result: kad::QueryResult::GetClosestPeers(_),
                    ..
                })) => ended = true,
                SwarmEvent::Behaviour(CuriousEvent::Identify(identify::Event::Received {
                    peer_id,
                    info,
                    ..
                })) if peer_id == peer => (heard.own, heard.protocols) = (info.listen_addrs, info.protocols),
                _ => {}
            }
        }
    };
    within("search", search).await;
    heard.peers.remove(&peer);
    heard
}

pub(super) fn kademlia(name: &str) -> StreamProtocol {
    raw::names().stream(name)
}

pub(super) fn id(node: &Node) -> PeerId {
    peer_of(&node.key()).expect("a public key is a point")
}

#[tokio::test]
async fn peers_of_another_network_are_neither_asked_nor_told_of() {
    let node = Node::with(1, seeker(1, MEMORY, &[])).await;
    let member = Node::with(2, seeker(2, MEMORY, &[&node])).await;
    member.wait_for_peer(node.key()).await;
    let foreign = Protocols::new(&NetworkId([0x22; 32])).stream("kademlia-near");
    let heard = ask(9, foreign, &node, node.address()).await;
    assert!(heard.peers.is_empty(), "{heard:?}");
    let heard = ask(8, kademlia("kademlia-near"), &node, node.address()).await;
    assert_eq!(heard.peers, BTreeSet::from([id(&member)]));
}

#[tokio::test]
async fn a_peer_that_names_no_network_is_not_told_of() {
    let node = Node::with(1, seeker(1, MEMORY, &[])).await;
    let keypair = keypair_of(&secret(9));
    let nameless = keypair.public().to_peer_id();
    let settings = kad::Config::new(kademlia("kademlia-near"));
    let mut behaviour = kad::Behaviour::with_config(nameless, MemoryStore::new(nameless), settings);
    behaviour.set_mode(Some(kad::Mode::Server));
    let mut swarm = raw::swarm(&secret(9), behaviour);
    swarm.listen_on(MEMORY.parse().expect("an address")).expect("listens");
    let peer = id(&node);
    swarm.behaviour_mut().add_address(&peer, node.address().0);
    swarm.behaviour_mut().get_closest_peers(PeerId::random());
    let answered = async {
        loop {
            let event = swarm.select_next_some().await;
            if matches!(event, SwarmEvent::Behaviour(kad::Event::OutboundQueryProgressed { .. })) {
                return;
            }
        }
    };
    within("answer", answered).await;
    tokio::select! {
        () = async { while swarm.next().await.is_some() {} } => panic!("a swarm does not end"),
        heard = ask(8, kademlia("kademlia-near"), &node, node.address()) => {
            assert!(heard.peers.is_empty(), "{heard:?}");
        }
    }
}

/// As if addresses within the process were public.
pub(super) fn near_but_memory(address: &Address) -> bool {
    is_near(address) && !matches!(address.0.iter().next(), Some(Protocol::Memory(_)))
}

#[tokio::test]
async fn what_is_near_is_told_to_those_that_are_near_only() {
    let both = vec![TCP.parse().expect("an address"), MEMORY.parse().expect("an address")];
    let settings = NetConfig { listen: both, is_near: near_but_memory, ..seeker(1, TCP, &[]) };
    let node = Node::with(1, settings).await;
    let [near, far] = [true, false].map(|near| {
        let listening = node.net.listen_addrs();
        listening.into_iter().find(|address| near_but_memory(address) == near).expect("listens on both")
    });
    let join = async |seed, listen: &str, bootstrap: &Address| {
        let bootstrap = vec![bootstrap.clone()];
        let settings = NetConfig { bootstrap, is_near: near_but_memory, ..seeker(seed, listen, &[]) };
        let joined = Node::with(seed, settings).await;
        joined.wait_for_peer(node.key()).await;
        node.wait_for_peer(joined.key()).await;
        joined
    };
    let neighbour = join(2, TCP, &near).await;
    let stranger = join(3, MEMORY, &far).await;

    let heard = ask(8, kademlia("kademlia"), &node, far.clone()).await;
    assert_eq!(heard.peers, BTreeSet::from([id(&stranger)]), "{heard:?}");
    assert!(
        !heard.own.iter().chain(&heard.addresses).any(|address| near_but_memory(&Address(address.clone())))
    );
    let heard = ask(7, kademlia("kademlia-near"), &node, far.clone()).await;
    assert!(heard.peers.is_empty(), "the near table is not for strangers: {heard:?}");
    let heard = ask(6, kademlia("kademlia-near"), &node, near).await;
    assert_eq!(heard.peers, BTreeSet::from([id(&neighbour)]), "{heard:?}");
    assert!(heard.own.iter().any(|address| near_but_memory(&Address(address.clone()))));
    assert_eq!(node.net.advertised_addrs(), [far], "adverts go to everyone");
}

#[tokio::test]
async fn strangers_that_take_every_inbound_place_leave_those_that_are_ours() {
    let hub = Node::with(1, seeker(1, MEMORY, &[])).await;
    let first = Node::with(2, seeker(2, MEMORY, &[&hub])).await;
    first.wait_for_peer(hub.key()).await;
    let node = Node::with(3, seeker(3, MEMORY, &[])).await;
    (0..CONNECTIONS_IN_MAX + 8).for_each(|n| surround(n, &node));
    node.wait_for("denials", |metrics| metrics.connections_denied_total > 0).await;
    assert_eq!(within("dial", node.net.dial(hub.address())).await, Ok(hub.key()));
    node.wait_for_peer(first.key()).await;
}

/// A stranger that dials `node` and stays.
pub(super) fn surround(n: u32, node: &Node) {
    let mut seed = [0xaa; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    let key = SecretKey::from_seed(seed);
    let keypair = keypair_of(&key);
    let identify = identify::Config::new(Protocols::new(&NETWORK).identity(), keypair.public());
    let mut swarm = raw::swarm(&key, identify::Behaviour::new(identify));
    swarm.dial(DialOpts::from(node.address().0)).expect("dials");
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
}
