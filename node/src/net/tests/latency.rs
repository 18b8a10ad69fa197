//! Round trips.

use std::time::{Duration, Instant};

use super::{MEMORY, Node, TCP, config, within};
use crate::net::{NetConfig, RequestError, sample::secret};

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
        latencies.wait_for(|known| known.get(&server.key()).is_some_and(|latency| latency.samples >= 3));
    within("measurements", measured).await.expect("the network runs");
}

#[tokio::test]
async fn nobody_has_no_latency() {
    let node = Node::start(1, MEMORY).await;
    let nobody = secret(8).public();
    let measured = within("measure", node.net.measure(nobody, 1)).await;
    assert!(matches!(measured, Err(RequestError::Unreachable(_))), "{measured:?}");
    assert_eq!(node.net.latency(&nobody), None);
}
