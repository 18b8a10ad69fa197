//! Strangers that would have us dial somebody else.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, TcpListener},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    connection_limits::{self, ConnectionLimits},
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent},
};

use super::{
    Node, TCP, config,
    discovery::{Curious, curiosity, kademlia},
    raw, within,
};
use crate::{
    drivers::checkup::{Checkups, stranger},
    net::{
        Address, NetConfig,
        identity::peer_of,
        sample::{NETWORK, secret},
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
async fn every_port_of_a_checkup_is_dialled_and_nothing_else() {
    let (node, loopback) = (Node::start(1, TCP).await, [127, 0, 0, 1]);
    let [canary, silent] = [Canary::at(loopback), Canary::at(loopback)];
    let mut asker = gossip_monger(9, &[canary.address()], "kademlia-near");
    let ports = [port_of(&listen(&mut asker, TCP).await), silent.port()];
    let ports = ports.map(|number| Port { transport: Transport::Tcp, number });
    let asked = CheckupRequest { node: secret(9).public(), ports: ports.to_vec() };
    let checkups = Checkups::new(node.net.clone(), NETWORK);
    let answer = checkups.answer(asked, Some(IpAddr::from(loopback)));
    let answer = beside(&mut asker, "checkup", answer).await.expect("the node runs");
    let outcomes: Vec<_> = answer.tried.into_iter().map(|tried| tried.outcome).collect();
    assert!(matches!(&outcomes[..], [Outcome::Reached, Outcome::Unreached(_)]), "{outcomes:?}");
    assert!(silent.was_dialled() && !canary.was_dialled());
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
