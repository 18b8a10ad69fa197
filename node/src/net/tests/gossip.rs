//! Adverts between honest nodes.

use gridhour_protocol::{id::NetworkId, units::Timestamp};

use super::{MEMORY, Node, QUIC, TCP, line, within};
use crate::net::{
    PublishError,
    gossip::Refusal,
    limits::EVENTS_MAX,
    sample::{NOW, advert, secret},
};

async fn crosses_a_middle_node(listen: &str) {
    let mut nodes = line(&[1, 2, 3], listen).await;
    nodes[0].publish(1).await;
    for node in &mut nodes[1..] {
        let advert = node.advert().await;
        assert_eq!((advert.provider, advert.sequence), (secret(1).public(), 1));
    }
    assert_eq!(nodes[2].net.peers().len(), 1, "the last node knows only the middle one");
}

#[tokio::test]
async fn an_advert_crosses_a_middle_node_over_tcp() {
    crosses_a_middle_node(TCP).await;
}

#[tokio::test]
async fn an_advert_crosses_a_middle_node_over_quic() {
    crosses_a_middle_node(QUIC).await;
}

#[tokio::test]
async fn five_nodes_in_a_line_hear_of_both_ends() {
    let mut nodes = line(&[1, 2, 3, 4, 5], MEMORY).await;
    nodes[0].publish(7).await;
    nodes[4].publish(9).await;
    for (at, node) in nodes.iter_mut().enumerate() {
        let expected = [(1, 7), (5, 9)].into_iter().filter(|&(seed, _)| seed != at as u8 + 1);
        let mut heard = Vec::new();
        for _ in expected.clone() {
            heard.push(node.advert().await);
        }
        heard.sort_by_key(|advert| advert.sequence);
        let heard: Vec<_> = heard.iter().map(|advert| (advert.provider, advert.sequence)).collect();
        let expected: Vec<_> = expected.map(|(seed, n)| (secret(seed).public(), n)).collect();
        assert_eq!(heard, expected, "node {at}");
    }
}

#[tokio::test]
async fn a_late_joiner_learns_what_was_said_before() {
    let nodes = line(&[1, 2], TCP).await;
    nodes[0].publish(1).await;
    nodes[1].publish(4).await;
    nodes[1].wait_for("gossip", |metrics| metrics.adverts.accepted_total == 1).await;

    let mut joiner = Node::start(3, TCP).await;
    joiner.connect(&nodes[1]).await;
    let mut heard = [joiner.advert().await.sequence, joiner.advert().await.sequence];
    heard.sort_unstable();
    assert_eq!(heard, [1, 4]);
}

#[tokio::test]
async fn two_parts_of_a_network_that_meet_learn_of_each_other() {
    let left = line(&[1, 2], MEMORY).await;
    let mut right = line(&[3, 4], MEMORY).await;
    left[0].publish(1).await;
    left[1].wait_for("gossip", |metrics| metrics.adverts.accepted_total == 1).await;
    left[1].connect(&right[0]).await;
    assert_eq!(right[1].advert().await.provider, left[0].key());
}

#[tokio::test]
async fn a_higher_sequence_replaces_a_lower_one() {
    let mut nodes = line(&[1, 2], MEMORY).await;
    for sequence in [1, 2, 3] {
        nodes[0].publish(sequence).await;
    }
    let mut last = 0;
    while last < 3 {
        let sequence = nodes[1].advert().await.sequence;
        assert!(sequence > last, "{sequence} after {last}");
        last = sequence;
    }
}

#[tokio::test]
async fn adverts_wait_for_a_node_that_does_not_listen_and_only_the_newest_comes() {
    let mut nodes = line(&[1, 2], MEMORY).await;
    // More than the queue holds, and fewer than a peer may bring in a burst.
    let published = EVENTS_MAX as u64 + 100;
    for sequence in 1..=published {
        nodes[0].publish(sequence).await;
        let accepted = |metrics: &crate::net::NetMetrics| metrics.adverts.accepted_total == sequence;
        nodes[1].wait_for("gossip", accepted).await;
    }
    let mut heard = 0;
    let newest = loop {
        heard += 1;
        let sequence = nodes[1].advert().await.sequence;
        if sequence == published {
            break heard;
        }
    };
    assert!(newest <= EVENTS_MAX + 1, "{newest} events for {published} adverts");
}

#[tokio::test]
async fn an_advert_that_others_would_refuse_is_not_published() {
    let node = Node::start(1, MEMORY).await;
    let publish =
        async |advert, seed| within("publish", node.net.publish_advert(secret(seed).sign(advert))).await;
    let mut foreign = advert(1, 1);
    foreign.network = NetworkId([0xee; 32]);
    assert_eq!(publish(foreign, 1).await, Err(PublishError::Refused(Refusal::WrongNetwork)));
    let mut expired = advert(1, 1);
    expired.issued_at = Timestamp(NOW.0 - 2);
    expired.expires_at = Timestamp(NOW.0 - 1);
    assert_eq!(publish(expired, 1).await, Err(PublishError::Refused(Refusal::Stale)));
    assert_eq!(publish(advert(1, 1), 9).await, Err(PublishError::Refused(Refusal::BadSignature)));
    assert_eq!(publish(advert(1, 1), 1).await, Ok(()));
    assert_eq!(publish(advert(1, 1), 1).await, Err(PublishError::Refused(Refusal::Duplicate)));
}
