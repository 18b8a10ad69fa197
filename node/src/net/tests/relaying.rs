//! Nodes that nobody can dial, reached through others.

use futures::StreamExt;
use gridhour_protocol::signed::PublicKey;
use libp2p::{
    Swarm, relay,
    swarm::{
        SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{MEMORY, Node, TCP, config, within};
use crate::net::{
    Address, DialError, NetConfig, Transports,
    identity::{keypair_of, peer_id_of},
    limits::{CONNECTIONS_PER_PEER_MAX, RELAY_CIRCUITS_PER_PEER_MAX},
    reach::is_relayed,
    sample::secret,
    transport,
};

/// A relay, whose addresses everyone may know; those of the other nodes here are private ones.
async fn relay(seed: u8, listen: &str) -> Node {
    Node::with(seed, NetConfig { relays: true, is_near: |_| false, ..config(seed, listen) }).await
}

/// A node that is reached through `relay`, and its address there.
async fn hidden(seed: u8, listen: Vec<Address>, relay: &Node) -> (Node, Address) {
    let bootstrap = vec![relay.address()];
    let node = NetConfig { relayed: true, listen, bootstrap, ..config(seed, MEMORY) };
    let node = Node::with(seed, node).await;
    let address = relayed(&node).await;
    (node, address)
}

/// The address of `node` at its relay, once it has one.
async fn relayed(node: &Node) -> Address {
    let mut listening = node.net.listening.clone();
    let found = listening.wait_for(|listening| listening.iter().any(|address| is_relayed(&address.0)));
    let found = within("relay", found).await.expect("the network runs").clone();
    found.into_iter().find(|address| is_relayed(&address.0)).expect("waited for")
}

#[tokio::test]
async fn a_node_that_listens_only_through_a_relay_serves_a_job() {
    let relay = relay(1, MEMORY).await;
    let (mut provider, address) = hidden(2, Vec::new(), &relay).await;
    assert_eq!(provider.net.advertised_addrs(), std::slice::from_ref(&address));
    let client = Node::start(3, MEMORY).await;
    assert_eq!(within("dial", client.net.dial(address)).await, Ok(provider.key()));

    let mut ours = within("open", client.net.open_job(provider.key())).await.expect("opens");
    ours.send(b"what").await.expect("sent");
    let mut theirs = provider.job().await;
    assert_eq!(within("frame", theirs.recv()).await.expect("whole").as_deref(), Some(b"what".as_slice()));
    theirs.send(b"this").await.expect("sent");
    assert_eq!(within("frame", ours.recv()).await.expect("whole").as_deref(), Some(b"this".as_slice()));
    let measured = within("echo", client.net.measure(provider.key(), 2)).await.expect("answered");
    assert!(measured.samples >= 2);
}

#[tokio::test]
async fn a_node_that_others_cannot_dial_finds_that_out_and_looks_for_a_relay() {
    let relay = relay(1, TCP).await;
    let (listen, bootstrap) = (Vec::new(), vec![relay.address()]);
    let node = NetConfig { listen, bootstrap, is_near: |_| false, ..config(2, TCP) };
    let node = Node::with(2, node).await;
    let client = Node::start(3, TCP).await;
    assert_eq!(within("dial", client.net.dial(relayed(&node).await)).await, Ok(node.key()));
}

#[tokio::test]
async fn an_advert_says_the_way_through_the_relay_and_who_hears_it_goes_that_way() {
    let relay = relay(1, MEMORY).await;
    let (mut provider, address) = hidden(2, Vec::new(), &relay).await;
    let client = Node::start(3, MEMORY).await;
    client.connect(&relay).await;
    let mut advert = crate::net::sample::advert(2, 1);
    advert.addresses = vec![address.to_string()];
    let published = provider.net.publish_advert(secret(2).sign(advert));
    within("publish", published).await.expect("an honest advert");
    client.wait_for("gossip", |metrics| metrics.adverts.accepted_total == 1).await;
    let mut ours = within("open", client.net.open_job(provider.key())).await.expect("opens");
    ours.send(b"what").await.expect("sent");
    assert_eq!(provider.job().await.peer(), client.key());
}

#[tokio::test]
async fn a_node_that_does_not_relay_passes_nothing_on() {
    let (other, provider, client) =
        (Node::start(1, MEMORY).await, Node::start(2, MEMORY).await, Node::start(3, MEMORY).await);
    provider.connect(&other).await;
    let peer = peer_id_of(&provider.key()).expect("a public key is a point");
    let address: Address = format!("{}/p2p-circuit/p2p/{peer}", other.address()).parse().expect("an address");
    let dialled = within("dial", client.net.dial(address)).await;
    assert!(matches!(dialled, Err(DialError::Unreachable { .. })), "{dialled:?}");
}

#[tokio::test]
async fn a_way_through_a_relay_becomes_a_direct_one() {
    let relay = relay(1, TCP).await;
    let (listen, bootstrap) = (vec![TCP.parse().expect("an address")], vec![relay.address()]);
    // As if loopback were public: to near addresses nobody is followed who comes through a relay.
    let provider = NetConfig { relayed: true, listen, bootstrap, is_near: |_| false, ..config(2, TCP) };
    let provider = Node::with(2, provider).await;
    let address = relayed(&provider).await;
    let client = Node::with(3, NetConfig { is_near: |_| false, ..config(3, TCP) }).await;
    client.connect(&relay).await;
    assert_eq!(within("dial", client.net.dial(address)).await, Ok(provider.key()));
    client.wait_for("direct connection", |metrics| metrics.direct_upgrades_total > 0).await;
}

/// A peer that can dial through relays and does nothing else.
fn dialler(seed: u8) -> Swarm<relay::client::Behaviour> {
    let keypair = keypair_of(&secret(seed));
    let peer = keypair.public().to_peer_id();
    let (relayed, behaviour) = relay::client::new(peer);
    let transport = transport::build(&keypair, Transports::Memory, relayed).expect("a transport");
    let settings = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(std::time::Duration::from_secs(600));
    Swarm::new(transport, behaviour, peer, settings)
}

#[tokio::test]
async fn connections_through_a_relay_count_like_any_other() {
    const {
        assert!(RELAY_CIRCUITS_PER_PEER_MAX > CONNECTIONS_PER_PEER_MAX as usize, "the relay is no limit here")
    };
    let relay = relay(1, MEMORY).await;
    let (provider, address) = hidden(2, Vec::new(), &relay).await;
    let mut greedy = dialler(9);
    greedy.dial(relay.address().0).expect("dials");
    let connected = async {
        while !matches!(greedy.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    };
    within("relay", connected).await;
    for _ in 0..=CONNECTIONS_PER_PEER_MAX {
        let peer = crate::net::identity::peer_of(&provider.key()).expect("a public key is a point");
        let opts =
            DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address.0.clone()]);
        greedy.dial(opts.build()).expect("dials");
    }
    tokio::select! {
        () = async { while greedy.next().await.is_some() {} } => panic!("a swarm does not end"),
        _ = provider.wait_for("denial", |metrics| metrics.connections_denied_total > 0) => {}
    }
    let stranger: PublicKey = secret(9).public();
    assert!(!provider.net.peers().contains(&stranger), "it never named its network");
}
