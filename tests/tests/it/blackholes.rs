//! Real drivers and real sockets: adverts behind which nobody stands, and what is offered while they are found out.

use std::{net::TcpListener, time::Duration};

use gridhour_node::{
    clock,
    drivers::{client::RunSpec, provider::Served},
    net::{Net, NetHandle},
};
use gridhour_protocol::{
    job::sampling::Sampling,
    limits::{ADVERT_TTL_MS_MAX, PROTOCOL_VERSION},
    market::{advert::Advert, mask::Reason},
    signed::{PublicKey, Signed},
    units::{Millis, PricePerHour},
};
use tokio::time::timeout;

use crate::{
    failover::{CHEAP, FIRST, World, wish},
    job_streams::{PATIENCE, key, listening, served},
    warm_sessions::{IDLE, keeping},
};

const NEAR: u8 = 8;
const BLACKHOLE: u8 = 9;

fn advert(world: &World, n: u8, served: &Served, address: String, slots_free: u16) -> Signed<Advert> {
    let now = clock::now();
    key(n).sign(Advert {
        version: PROTOCOL_VERSION,
        network: world.network.id(),
        provider: key(n).public(),
        addresses: vec![address],
        sequence: now.0,
        issued_at: now,
        expires_at: now.after(Millis(ADVERT_TTL_MS_MAX)).expect("in time"),
        device: served.device.clone(),
        models: vec![served.offer],
        ask: PricePerHour(1),
        slots_free,
        queued: 0,
        region: None,
        jurisdiction: None,
        coordinate: None,
        spot: None,
        quote: None,
    })
}

/// A node that can gossip.
async fn joined(world: &World, n: u8) -> NetHandle {
    let (net, mut inbox) = Net::start(listening(&world.network, n)).await.expect("loopback listens");
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    let mut peers = net.watch_peers();
    let connected = peers.wait_for(|peers| !peers.is_empty());
    timeout(PATIENCE, connected).await.expect("the ledger node is there").expect("the network runs");
    net
}

fn is_full(offer: &Advert, provider: &PublicKey) -> bool {
    offer.provider == *provider && offer.slots_free == 0
}

/// One that offers says while another is waited for in vain that it has no slot any more.
#[test]
fn an_order_is_matched_against_what_is_offered_when_the_pings_are_over() {
    let (world, served) = (World::new(), served());
    // Takes connections, as the system does for it, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback listens");
    let port = silent.local_addr().expect("it is bound").port();
    let ids = [NEAR, BLACKHOLE].map(|n| key(n).public());
    let (near, gone) = world.main.block_on(async {
        let gone = joined(&world, BLACKHOLE).await;
        let address = format!("/ip4/127.0.0.1/tcp/{port}");
        gone.publish_advert(advert(&world, BLACKHOLE, &served, address, 4)).await.expect("it is sound");
        let near = joined(&world, NEAR).await;
        let address = near.listen_addrs()[0].to_string();
        near.publish_advert(advert(&world, NEAR, &served, address, 4)).await.expect("it is sound");
        (near, gone)
    });
    let offers = world.offers(&ids, 0);
    world.main.block_on(gone.shutdown());
    let spec: RunSpec = wish(&served, 6, Sampling::GREEDY);
    let order = world.client.order(&spec, 20).expect("a sound order");
    let sold_out = async {
        let address = near.listen_addrs()[0].to_string();
        near.publish_advert(advert(&world, NEAR, &served, address, 0)).await.expect("it is sound");
        while !world.client.offers(1, Duration::ZERO).await.iter().any(|offer| is_full(offer, &ids[0])) {
            tokio::task::yield_now().await;
        }
    };
    let both = async { tokio::join!(world.client.match_order(&order, &offers, &spec), sold_out) };
    let (matched, ()) = world.main.block_on(async { timeout(PATIENCE, both).await }).expect("in time");
    let matched = matched.expect("no stake is asked about");
    let why = |id: &PublicKey| {
        matched.refused.iter().find(|refusal| refusal.provider == *id).map(|refusal| refusal.reason)
    };
    assert_eq!(ids.map(|id| why(&id)), [Some(Reason::NoFreeSlot), Some(Reason::NotReached)], "{matched:?}");
    world.main.block_on(near.shutdown());
}

/// An own machine that is gone, and advertised for as long as an advert lives, moves no request out of a session that is
/// kept elsewhere: each would open another one.
#[test]
fn an_own_machine_that_is_gone_keeps_no_request_from_a_session_that_is_kept() {
    let (world, served) = (World::new(), served());
    let gone = key(BLACKHOLE).public();
    let net = world.main.block_on(async {
        let net = joined(&world, BLACKHOLE).await;
        let address = net.listen_addrs()[0].to_string();
        net.publish_advert(advert(&world, BLACKHOLE, &served, address, 4)).await.expect("it is sound");
        net
    });
    world.offers(&[gone], 0);
    world.main.block_on(net.shutdown());
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served);
    let offers = world.offers(&[gone, seller.id], 0);
    let spec = RunSpec { own: [gone].into(), ..keeping(IDLE) };
    let (first, opened) = world.ask(&spec, &offers);
    let first = first.expect("the seller answers");
    assert_eq!(opened.opened, Some(first.terms.id()));
    let (second, start) = world.ask(&spec, &offers);
    second.expect("the seller answers again");
    assert_eq!((start.goes_on, start.opened), (Some(first.terms.id()), None));
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    world.settled();
    world.audit();
    seller.stop();
}
