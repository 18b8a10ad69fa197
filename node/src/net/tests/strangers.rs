//! Strangers that would have us dial somebody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, TcpListener},
};

use futures::StreamExt;
use gridhour_protocol::market::advert::Advert;
use libp2p::{
    Multiaddr, PeerId, Swarm, autonat,
    connection_limits::{self, ConnectionLimits},
    identify,
    multiaddr::Protocol,
    swarm::{FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, SwarmEvent},
};

use super::{
    LIMIT, MEMORY, Node, TCP, config,
    discovery::{Curious, Heard, ask, curiosity, id, kademlia, near_but_memory, surround},
    raw, within,
};
use crate::{
    drivers::checkup::{Checkups, stranger},
    net::{
        Address, NetConfig, RequestError, Service,
        identity::{keypair_of, peer_of},
        is_near,
        limits::CONNECTIONS_IN_MAX,
        sample::{NETWORK, advert, secret},
    },
    rpc::checkup::{CheckupRequest, Outcome, Port, Transport},
};

/// A port of somebody who has nothing to do with us.
struct Canary(TcpListener);

impl Canary {
    fn at(ip: [u8; 4]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::from(ip), 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }

    fn address(&self) -> Multiaddr {
        let address = self.0.local_addr().expect("bound");
        Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
    }

    /// Waits until somebody connects.
    async fn wait(self) {
        let listener = tokio::net::TcpListener::from_std(self.0).expect("a socket");
        within("somebody", listener.accept()).await.expect("a socket");
    }

    /// Whether anybody connected; the system keeps those that nobody accepted.
    fn was_dialled(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

/// Seed of the name under which canaries are told of.
const VICTIM: u8 = 8;

fn peer(seed: u8) -> PeerId {
    peer_of(&secret(seed).public()).expect("a public key is a point")
}

/// Listens, and gives the address.
async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, on: &str) -> Multiaddr {
    swarm.listen_on(on.parse().expect("an address")).expect("listens");
    let named = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return address;
            }
        }
    };
    within("listen address", named).await
}

/// Does what `wait` waits for, while the swarm runs.
async fn beside<B: NetworkBehaviour, T>(
    swarm: &mut Swarm<B>,
    what: &str,
    wait: impl Future<Output = T>,
) -> T {
    tokio::select! {
        () = async { while swarm.next().await.is_some() {} } => panic!("a swarm does not end"),
        done = within(what, wait) => done,
    }
}

/// A peer that goes nowhere itself.
#[derive(NetworkBehaviour)]
struct Monger {
    still: connection_limits::Behaviour,
    curious: Curious,
}

/// A peer that names `told` as its own addresses, and as those of somebody else, to whoever asks.
fn gossip_monger(seed: u8, told: &[Multiaddr], table: &str) -> Swarm<Monger> {
    let still =
        connection_limits::Behaviour::new(ConnectionLimits::default().with_max_pending_outgoing(Some(0)));
    let curious = curiosity(seed, kademlia(table));
    let mut swarm = raw::swarm(&secret(seed), Monger { still, curious });
    for address in told {
        swarm.add_external_address(address.clone());
        swarm.behaviour_mut().curious.kademlia.add_address(&peer(VICTIM), address.clone());
    }
    swarm
}

/// The port of an address.
fn port_of(address: &Multiaddr) -> u16 {
    match address.iter().nth(1) {
        Some(Protocol::Tcp(port)) => port,
        other => panic!("expected a port, got {other:?}"),
    }
}

#[tokio::test]
async fn every_port_of_a_checkup_is_dialled() {
    let (node, other) = (Node::start(1, TCP).await, Node::start(9, TCP).await);
    let ports = [&other, &node].map(|at| port_of(&at.address().0));
    let ports = ports.map(|number| Port { transport: Transport::Tcp, number });
    let asked = CheckupRequest { node: other.key(), ports: ports.to_vec() };
    let checkups = Checkups::patient(node.net.clone(), NETWORK, LIMIT);
    let answer = checkups.answer(asked, Some(IpAddr::from([127, 0, 0, 1])));
    let answer = within("checkup", answer).await.expect("the node runs");
    let outcomes: Vec<_> = answer.tried.into_iter().map(|tried| tried.outcome).collect();
    // At the second port is somebody else, whom a stranger that was with the first one already would not have met.
    assert!(matches!(&outcomes[..], [Outcome::Reached, Outcome::Unreached(_)]), "{outcomes:?}");
}

/// Sends a peer with these settings to one that names a canary, and gives both.
async fn send_to_gossip_monger(seed: u8, settings: NetConfig) -> (Node, Canary) {
    let canary = Canary::at([127, 0, 0, 1]);
    let mut monger = gossip_monger(seed, &[canary.address()], "kademlia-near");
    let address = listen(&mut monger, TCP).await.with(Protocol::P2p(peer(seed)));
    tokio::spawn(async move { while monger.next().await.is_some() {} });
    let node = Node::with(seed + 100, settings).await;
    assert_eq!(within("dial", node.net.dial(Address(address))).await, Ok(secret(seed).public()));
    (node, canary)
}

#[tokio::test]
async fn who_is_sent_on_a_checkup_goes_nowhere_else() {
    let (stranger, untouched) = send_to_gossip_monger(9, stranger(NETWORK, secret(109))).await;
    // Peers that do look for others, each sent later, show that there was time.
    for seed in [10, 11] {
        let seeker = NetConfig { find_peers: true, ..config(seed + 100, TCP) };
        let (_seeker, canary) = send_to_gossip_monger(seed, seeker).await;
        canary.wait().await;
    }
    assert!(stranger.net.peers().contains(&secret(9).public()) && !untouched.was_dialled());
}

/// A peer that has others dial it.
#[derive(NetworkBehaviour)]
struct Prober {
    identify: identify::Behaviour,
    probe: autonat::v2::client::Behaviour,
}

fn prober(seed: u8) -> Swarm<Prober> {
    let identity = identify::Config::new(raw::names().identity(), keypair_of(&secret(seed)).public());
    let probe = autonat::v2::client::Behaviour::default();
    raw::swarm(&secret(seed), Prober { identify: identify::Behaviour::new(identity), probe })
}

/// Has the node at `server` dial `addresses`, and says which of them it reached.
async fn probe(
    prober: &mut Swarm<Prober>,
    server: Multiaddr,
    addresses: &[Multiaddr],
) -> BTreeSet<Multiaddr> {
    prober.dial(server).expect("dials");
    for addr in addresses {
        let candidate = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr });
        prober.behaviour_mut().probe.on_swarm_event(candidate);
    }
    let mut results = BTreeMap::new();
    let answered = async {
        while !addresses.iter().all(|address| results.contains_key(address)) {
            if let SwarmEvent::Behaviour(ProberEvent::Probe(event)) = prober.select_next_some().await {
                results.insert(event.tested_addr, event.result.is_ok());
            }
        }
    };
    within("answers", answered).await;
    results.into_iter().filter_map(|(address, is_reached)| is_reached.then_some(address)).collect()
}

/// Settings of a node that helps others, and takes all of them for strangers.
fn helper(seed: u8, listen: &[&str]) -> NetConfig {
    let listen = listen.iter().map(|text| text.parse().expect("an address")).collect();
    NetConfig { relays: true, is_near: |_| false, listen, ..config(seed, TCP) }
}

#[tokio::test]
async fn a_peer_is_tried_at_its_own_ip_address_and_at_no_other() {
    let server = Node::with(1, helper(1, &[TCP])).await;
    let mut prober = prober(9);
    let (own, canary) = (listen(&mut prober, TCP).await, Canary::at([127, 0, 0, 2]));
    let name = Multiaddr::empty().with(Protocol::Dns4("localhost".into())).with(Protocol::Tcp(port_of(&own)));
    let asked = [own.clone(), canary.address(), name];
    let reached = probe(&mut prober, server.address().0, &asked).await;
    assert_eq!(reached, BTreeSet::from([own]));
    assert!(!canary.was_dialled());
}

#[tokio::test]
async fn a_neighbour_is_not_tried() {
    let tries =
        |heard: Heard| heard.protocols.iter().any(|name| name.as_ref().starts_with("/libp2p/autonat/2"));
    let far = Node::with(1, helper(1, &[MEMORY])).await;
    let heard = ask(9, kademlia("kademlia"), &far, far.address()).await;
    assert!(tries(heard), "far peers are told that they may ask");
    let near = Node::with(2, NetConfig { is_near, ..helper(2, &[MEMORY]) }).await;
    let heard = ask(9, kademlia("kademlia-near"), &near, near.address()).await;
    assert!(!tries(heard));
}

#[tokio::test]
async fn who_has_us_dial_it_gets_no_place_of_ours() {
    let (server, friend) = (Node::with(1, helper(1, &[TCP])).await, Node::start(3, TCP).await);
    let mut prober = prober(9);
    let own = listen(&mut prober, TCP).await;
    let reached = probe(&mut prober, server.address().0, std::slice::from_ref(&own)).await;
    assert_eq!(reached, BTreeSet::from([own]));
    let kept = async {
        server.wait_for_peer(secret(9).public()).await;
        server.connect(&friend).await;
        let mut remembered = server.net.watch_remembered();
        let is_kept = |known: &Vec<Address>| known.iter().any(|kept| kept.peer() == Some(friend.key()));
        within("place", remembered.wait_for(is_kept)).await.expect("the network runs").clone()
    };
    let kept = beside(&mut prober, "place", kept).await;
    let names: Vec<_> = kept.iter().filter_map(Address::peer).collect();
    assert_eq!(names, [friend.key()]);
}

#[tokio::test]
async fn connections_that_strangers_have_us_make_take_their_places_and_not_ours() {
    let server = Node::with(1, helper(1, &[MEMORY, TCP])).await;
    let mut peers = server.net.watch_peers();
    // All but one place; a few at a time, as only so many handshakes may be under way.
    for n in 1..CONNECTIONS_IN_MAX {
        surround(n, &server);
        let is_in = |known: &BTreeSet<_>| known.len() == n as usize;
        within("stranger", peers.wait_for(is_in)).await.expect("the network runs");
    }
    assert_eq!(server.net.metrics().connections_denied_total, 0);
    let mut prober = prober(9);
    let own = listen(&mut prober, TCP).await;
    let address = server.net.listen_addrs().into_iter().find(|address| !is_memory(&address.0));
    let address = address.expect("listens on both").0;
    let candidate = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr: &own });
    prober.behaviour_mut().probe.on_swarm_event(candidate);
    prober.dial(address.clone()).expect("dials");
    let come = async {
        loop {
            // On a busy machine a handshake may take longer than it is given.
            if let SwarmEvent::OutgoingConnectionError { .. } = prober.select_next_some().await {
                prober.dial(address.clone()).expect("dials");
            }
        }
    };
    tokio::select! {
        () = come => {}
        () = server.wait_for_peer(secret(9).public()) => {}
    }
    let left = server.wait_for("denial", |metrics| metrics.connections_denied_total > 0);
    beside(&mut prober, "denial", left).await;
    assert!(server.net.peers().contains(&secret(9).public()), "the connection that it made itself stays");
}

fn is_memory(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Memory(_)))
}

/// All ways to the canary that a stranger could name: by number, by name, and as if it were a relay.
fn ways_to(canary: &Canary) -> [Multiaddr; 3] {
    let name = Multiaddr::empty().with(Protocol::Dns4("localhost".into())).with(Protocol::Tcp(canary.port()));
    let relay = canary.address().with(Protocol::P2p(peer(VICTIM))).with(Protocol::P2pCircuit);
    [canary.address(), name, relay]
}

#[tokio::test]
async fn searches_go_nowhere_near_for_a_stranger() {
    let (canary, friend) = (Canary::at([127, 0, 0, 1]), Node::start(3, MEMORY).await);
    let mut monger = gossip_monger(9, &ways_to(&canary), "kademlia");
    let kademlia = &mut monger.behaviour_mut().curious.kademlia;
    kademlia.add_address(&id(&friend), friend.address().0);
    let address = Address(listen(&mut monger, MEMORY).await.with(Protocol::P2p(peer(9))));
    let seeker = NetConfig {
        find_peers: true,
        is_near: near_but_memory,
        bootstrap: vec![address],
        ..config(2, MEMORY)
    };
    let seeker = Node::with(2, seeker).await;
    beside(&mut monger, "search", seeker.wait_for_peer(friend.key())).await;
    assert!(!canary.was_dialled());
}

#[tokio::test]
async fn a_request_goes_nowhere_near_for_a_stranger() {
    let (canary, settings) = (Canary::at([127, 0, 0, 1]), config(2, MEMORY));
    let node = Node::with(2, NetConfig { is_near: near_but_memory, ..settings }).await;
    let mut monger = gossip_monger(9, &ways_to(&canary), "kademlia");
    let address = Address(listen(&mut monger, MEMORY).await.with(Protocol::P2p(peer(9))));
    let key = secret(9).public();
    assert_eq!(beside(&mut monger, "dial", node.net.dial(address)).await, Ok(key));
    drop(monger);
    node.wait_without_peer(key).await;
    let asked = within("request", node.net.request(key, Service::Ledger, vec![1])).await;
    assert!(matches!(asked, Err(RequestError::Unreachable(_))), "{asked:?}");
    assert!(!canary.was_dialled());
}

#[tokio::test]
async fn an_advert_that_strangers_brought_leads_nowhere_near() {
    let canary = Canary::at([127, 0, 0, 1]);
    let [middle, mut provider] = [Node::start(1, MEMORY).await, Node::start(2, MEMORY).await];
    provider.connect(&middle).await;
    let settings = NetConfig { is_near: near_but_memory, ..config(3, MEMORY) };
    let client = Node::with(3, settings).await;
    client.connect(&middle).await;
    let publish = async |sequence, addresses: Vec<String>| {
        let advert = Advert { addresses, ..advert(2, sequence) };
        within("publish", provider.net.publish_advert(secret(2).sign(advert)))
            .await
            .expect("an honest advert");
        client.wait_for("gossip", |metrics| metrics.adverts.accepted_total == sequence).await;
    };
    publish(1, ways_to(&canary).map(|way| way.to_string()).to_vec()).await;
    let opened = within("open", client.net.open_job(provider.key())).await;
    assert!(matches!(opened, Err(RequestError::Unreachable(_))), "{opened:?}");
    assert!(!canary.was_dialled());

    publish(2, vec![provider.address().to_string()]).await;
    let mut ours = within("open", client.net.open_job(provider.key())).await.expect("opens");
    ours.send(b"what").await.expect("sent");
    assert_eq!(provider.job().await.peer(), client.key());
}
