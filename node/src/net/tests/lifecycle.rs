//! Starting, finding each other, other networks, and ending.

use std::{
    net::{TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gridhour_protocol::{id::NetworkId, signed::PublicKey};
use libp2p::multiaddr::Protocol;
use tokio::{io::copy_bidirectional, net::TcpStream, sync::watch, task::JoinSet};

use super::{MEMORY, Node, QUIC, TCP, config, within};
use crate::net::{
    Address, Closed, DialError, Net, NetConfig, NetError, PublishError, RequestError, Service,
    identity::peer_id_of,
    limits::CONNECTIONS_PER_PEER_MAX,
    sample::{advert, secret},
};

#[tokio::test]
async fn another_network_is_refused_by_name() {
    let here = Node::start(1, TCP).await;
    let there = Node::with(2, NetConfig { network: NetworkId([0x22; 32]), ..config(2, TCP) }).await;
    let dialled = within("dial", here.net.dial(there.address())).await;
    let expected = DialError::OtherNetwork {
        ours: "/gridhour/1111111111111111/1".into(),
        theirs: "/gridhour/2222222222222222/1".into(),
    };
    assert_eq!(dialled, Err(expected));
    assert!(here.net.peers().is_empty() && there.net.peers().is_empty());
    here.wait_for("count", |metrics| metrics.other_network_total == 1).await;
}

#[tokio::test]
async fn a_wrong_peer_and_a_closed_port_are_told_apart() {
    let here = Node::start(1, TCP).await;
    let there = Node::start(2, TCP).await;
    let mut address = there.address().0;
    address.pop();
    let stranger: Address = format!("{address}/p2p/{}", peer_id_of(&secret(3).public()).expect("a point"))
        .parse()
        .expect("an address");
    let wrong = within("dial", here.net.dial(stranger)).await;
    assert!(matches!(wrong, Err(DialError::WrongPeer { .. })), "{wrong:?}");
    let bare = Address(address);
    assert_eq!(within("dial", here.net.dial(bare.clone())).await, Ok(there.key()));
    there.net.shutdown().await;
    here.wait_without_peer(there.key()).await;
    let closed = within("dial", here.net.dial(bare)).await;
    assert!(matches!(closed, Err(DialError::Unreachable { .. })), "{closed:?}");
}

#[tokio::test]
async fn bootstrap_peers_are_found_late_and_found_again() {
    let address = "/memory/7700123";
    let named: Address = format!("{address}/p2p/{}", peer_id_of(&secret(1).public()).expect("a point"))
        .parse()
        .expect("an address");
    let joiner = Node::with(2, NetConfig { bootstrap: vec![named], ..config(2, MEMORY) }).await;
    for _ in 0..2 {
        let seed = Node::start(1, address).await;
        joiner.wait_for_peer(seed.key()).await;
        seed.net.shutdown().await;
        joiner.wait_without_peer(seed.key()).await;
    }
}

/// In front of a peer: takes connections at once, and passes nothing on until it is opened.
struct Gate {
    address: Address,
    opened: watch::Sender<bool>,
    taken: Arc<AtomicUsize>,
}

impl Gate {
    async fn before(node: &Node) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound").port();
        let peer = peer_id_of(&node.key()).expect("a point");
        let address = format!("/ip4/127.0.0.1/tcp/{at}/p2p/{peer}").parse().expect("an address");
        let (opened, open) = watch::channel(false);
        let taken = Arc::new(AtomicUsize::new(0));
        tokio::spawn(pass(listener, ("127.0.0.1", port(&node.address())), open, taken.clone()));
        Self { address, opened, taken }
    }
}

async fn pass(
    listener: tokio::net::TcpListener,
    to: (&'static str, u16),
    open: watch::Receiver<bool>,
    taken: Arc<AtomicUsize>,
) {
    while let Ok((mut caller, _)) = listener.accept().await {
        taken.fetch_add(1, Ordering::Relaxed);
        let mut open = open.clone();
        tokio::spawn(async move {
            if open.wait_for(|open| *open).await.is_ok()
                && let Ok(mut peer) = TcpStream::connect(to).await
            {
                // Ends with either side.
                let _ = copy_bidirectional(&mut caller, &mut peer).await;
            }
        });
    }
}

/// Begins these dials; returns once all of them are under way.
async fn begin(
    node: &Node,
    addresses: impl Iterator<Item = Address>,
) -> JoinSet<Result<PublicKey, DialError>> {
    let mut dials = JoinSet::new();
    for address in addresses {
        let net = node.net.clone();
        dials.spawn(async move { net.dial(address).await });
    }
    // The dials are in the queue before what is asked next, as each task runs up to its first wait in turn.
    tokio::task::yield_now().await;
    node.publish(1).await;
    dials
}

#[tokio::test]
async fn a_peer_that_is_slow_to_answer_is_dialled_once() {
    let slow = Node::start(1, TCP).await;
    let gate = Gate::before(&slow).await;
    let joiner = Node::with(2, NetConfig { bootstrap: vec![gate.address.clone()], ..config(2, TCP) }).await;
    let dials = begin(&joiner, std::iter::repeat_n(gate.address.clone(), 8)).await;
    gate.opened.send_replace(true);
    let answers = within("dials", dials.join_all()).await;
    assert_eq!(answers, vec![Ok(slow.key()); 8]);
    assert_eq!(gate.taken.load(Ordering::Relaxed), 1, "everybody waits for the same connection");
    assert_eq!(joiner.net.metrics().connections_denied_total, 0);
}

#[tokio::test]
async fn a_peer_with_more_addresses_than_connections_is_reached_by_all_who_ask() {
    let peer = Node::start(1, TCP).await;
    let mut gates = Vec::new();
    for _ in 0..4 * CONNECTIONS_PER_PEER_MAX {
        gates.push(Gate::before(&peer).await);
    }
    let dialler = Node::start(2, TCP).await;
    let dials = begin(&dialler, gates.iter().map(|gate| gate.address.clone())).await;
    for gate in &gates {
        gate.opened.send_replace(true);
    }
    let answers = within("dials", dials.join_all()).await;
    assert_eq!(answers, vec![Ok(peer.key()); gates.len()]);
}

#[tokio::test]
async fn bad_settings_are_refused_with_the_address() {
    let bare: Address = "/ip4/127.0.0.1/tcp/4001".parse().expect("an address");
    let start = async |config| within("start", Net::start(config)).await.map(drop);
    let refused = start(NetConfig { bootstrap: vec![bare.clone()], ..config(1, MEMORY) }).await;
    assert!(
        matches!(&refused, Err(NetError::BootstrapWithoutPeer(address)) if *address == bare),
        "{refused:?}"
    );
    let taken = Node::start(1, TCP).await;
    let mut address = taken.address().0;
    address.pop();
    let refused = start(NetConfig { listen: vec![Address(address)], ..config(2, MEMORY) }).await;
    assert!(matches!(refused, Err(NetError::Listen { .. })), "{refused:?}");
    let refused = start(NetConfig { listen: vec![bare; 65], ..config(1, MEMORY) }).await;
    assert!(matches!(refused, Err(NetError::TooManyAddresses { count: 65, max: 64 })), "{refused:?}");
}

fn port(address: &Address) -> u16 {
    address
        .0
        .iter()
        .find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
        .expect("has a port")
}

/// A network with connections over TCP and QUIC, jobs and requests under way, is shut down.
async fn busy_network_ends() -> (u16, u16) {
    let both = vec![TCP.parse().expect("an address"), QUIC.parse().expect("an address")];
    let mut first = Node::with(1, NetConfig { listen: both, ..config(1, TCP) }).await;
    let over_tcp = Node::start(2, TCP).await;
    let over_quic = Node::start(3, QUIC).await;
    over_tcp.connect(&first).await;
    first.connect(&over_quic).await;
    over_tcp.publish(1).await;
    let mut job = over_tcp.net.open_job(first.key()).await.expect("opens");
    job.send(b"work").await.expect("sent");
    first.event().await;
    let asking = over_quic.net.clone();
    let key = first.key();
    let asked = tokio::spawn(async move { asking.request(key, Service::Ledger, Vec::new()).await });
    while !matches!(first.event().await, super::NetEvent::Request(_)) {}

    let ports: Vec<u16> = first.net.listen_addrs().iter().map(port).collect();
    first.net.shutdown().await;
    assert!(within("events", drain(&mut first.events)).await, "the events end");
    assert_closed(&first).await;
    assert!(within("answer", asked).await.expect("no panic").is_err());
    for node in [over_tcp, over_quic] {
        node.wait_without_peer(first.key()).await;
        node.net.shutdown().await;
    }
    (ports[0], ports[1])
}

async fn drain(events: &mut tokio::sync::mpsc::Receiver<super::NetEvent>) -> bool {
    while events.recv().await.is_some() {}
    true
}

async fn assert_closed(node: &Node) {
    let signed = secret(1).sign(advert(1, 1));
    assert_eq!(node.net.publish_advert(signed).await, Err(PublishError::Closed(Closed)));
    assert_eq!(node.net.dial(node.address()).await, Err(DialError::Closed(Closed)));
    assert!(matches!(node.net.open_job(node.key()).await, Err(RequestError::Closed(Closed))));
    within("second shutdown", node.net.shutdown()).await;
}

#[test]
fn shutdown_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (tcp, udp) = runtime.block_on(busy_network_ends());
    runtime.block_on(within("tasks", async {
        // Timers and QUIC's drain end on their own; each yield lets them.
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    }));
    TcpListener::bind(("127.0.0.1", tcp)).expect("the TCP port is free");
    UdpSocket::bind(("127.0.0.1", udp)).expect("the UDP port is free");
}

#[tokio::test]
async fn a_network_ends_when_nobody_holds_it() {
    let Node { net, mut events, .. } = Node::start(1, MEMORY).await;
    let mut ended = net.ended.clone();
    drop(net);
    within("end", ended.wait_for(|ended| *ended)).await.expect("says so");
    assert!(events.recv().await.is_none());
}
