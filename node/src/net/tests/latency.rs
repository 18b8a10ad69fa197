//! Round trips.

use std::time::{Duration, Instant};

use gridhour_protocol::{
    market::{advert::Advert, coordinate::Coordinate},
    signed::Signed,
};

use super::{MEMORY, Node, TCP, config, within};
use crate::net::{
    NetConfig, RequestError,
    limits::CONNECTIONS_PENDING_OUT_MAX,
    sample::{advert, secret},
};

const DELAY: Duration = Duration::from_millis(60);

async fn slow_and_fast() -> (Node, Node, Node) {
    let slow = Node::with(1, NetConfig { delay: DELAY, ..config(1, TCP) }).await;
    let fast = Node::start(2, TCP).await;
    let client = Node::start(3, TCP).await;
    client.connect(&slow).await;
    client.connect(&fast).await;
    (slow, fast, client)
}

#[tokio::test]
async fn a_delay_shows_in_echoes() {
    let (slow, fast, client) = slow_and_fast().await;
    let delayed = within("measure", client.net.measure(slow.key(), 4)).await.expect("answered");
    let quick = within("measure", client.net.measure(fast.key(), 4)).await.expect("answered");
    let delay_us = u64::try_from(DELAY.as_micros()).expect("small");
    assert!(delayed.ewma_us >= delay_us && delayed.p95_us >= delay_us, "{delayed:?}");
    assert!(quick.ewma_us < delayed.ewma_us, "{quick:?} {delayed:?}");
    assert!(delayed.samples >= 4 && quick.samples >= 4);
    assert_eq!(client.net.latency(&fast.key()).map(|latency| latency.samples >= 4), Some(true));
}

#[tokio::test]
async fn a_delay_shows_in_every_job_frame() {
    let (mut slow, _fast, client) = slow_and_fast().await;
    let mut ours = client.net.open_job(slow.key()).await.expect("opens");
    ours.send(b"go").await.expect("sent");
    let mut theirs = slow.job().await;
    let started = Instant::now();
    for frame in [b"a", b"b"] {
        theirs.send(frame).await.expect("sent");
        ours.recv().await.expect("whole").expect("not ended");
    }
    assert!(started.elapsed() >= 2 * DELAY);
}

#[tokio::test]
async fn connected_peers_are_measured_unasked() {
    let server = Node::start(1, MEMORY).await;
    let often = NetConfig { measure_every: Duration::from_millis(1), ..config(2, MEMORY) };
    let client = Node::with(2, often).await;
    client.connect(&server).await;
    let mut latencies = client.net.latencies.clone();
    let measured =
        latencies.wait_for(|known| known.get(&server.key()).is_some_and(|(latency, _)| latency.samples >= 3));
    within("measurements", measured).await.expect("the network runs");
}

/// An advert of node `seed`, at this address.
fn advert_at(seed: u8, address: String) -> Signed<Advert> {
    secret(seed).sign(Advert { addresses: vec![address], ..advert(seed, 1) })
}

#[tokio::test]
async fn whoever_cannot_be_dialled_yet_waits_for_its_turn_and_is_reached() {
    let (client, server) = (Node::start(1, TCP).await, Node::start(2, TCP).await);
    // Connections to it come to be, and nobody ever says a word on them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("it is bound").port();
    let dead = 100..100 + u8::try_from(CONNECTIONS_PENDING_OUT_MAX).expect("few");
    for seed in dead.clone() {
        let ghost = advert_at(seed, format!("/ip4/127.0.0.1/tcp/{port}"));
        client.net.publish_advert(ghost).await.expect("it is kept");
    }
    let real = advert_at(2, server.address().to_string());
    client.net.publish_advert(real).await.expect("it is kept");

    let nobody = futures::future::join_all(dead.map(|seed| client.net.measure(secret(seed).public(), 1)));
    let reached = async {
        // Its command comes behind those.
        let measure = client.net.measure(server.key(), 1);
        let let_go = async {
            let asked = client.net.advert(secret(100).public()).await;
            assert!(asked.is_ok(), "the commands before it were taken");
            drop(silent);
        };
        tokio::join!(measure, let_go).0
    };
    let (dead, reached) = within("measure", async { tokio::join!(nobody, reached) }).await;
    assert!(dead.iter().all(|ping| matches!(ping, Err(RequestError::Unreachable(_)))), "{dead:?}");
    assert!(reached.is_ok(), "it waited, and had its turn: {reached:?}");
}

#[tokio::test]
async fn nobody_has_no_latency() {
    let node = Node::start(1, MEMORY).await;
    let nobody = secret(8).public();
    let measured = within("measure", node.net.measure(nobody, 1)).await;
    assert!(matches!(measured, Err(RequestError::Unreachable(_))), "{measured:?}");
    assert_eq!(node.net.latency(&nobody), None);
}

/// A client in Virginia that measures a provider which says that it is in `region`; where it is then.
async fn placed(region: &str) -> Coordinate {
    let server = Node::start(1, MEMORY).await;
    let here = NetConfig { region: Some("us-va".into()), ..config(2, MEMORY) };
    let mut client = Node::with(2, here).await;
    client.connect(&server).await;
    let (region, coordinate) = (Some(region.to_owned()), Some(Coordinate::UNKNOWN));
    let signed = secret(1).sign(Advert { region, coordinate, ..advert(1, 1) });
    within("publish", server.net.publish_advert(signed)).await.expect("an honest advert");
    client.advert().await;
    within("measure", client.net.measure(server.key(), 6)).await.expect("answered");
    client.net.coordinate()
}

#[tokio::test]
async fn round_trips_to_a_provider_place_a_node() {
    let placed = placed("us-va").await;
    assert_ne!(placed, Coordinate::UNKNOWN);
    // How sure it is of that depends on how steady a busy machine's round trips are.
    assert!(placed.is_sane(), "{placed:?}");
}

#[tokio::test]
async fn a_round_trip_faster_than_light_between_declared_regions_places_nobody() {
    assert_eq!(placed("sg").await, Coordinate::UNKNOWN);
}
