//! Peers that send what no honest node sends: counted, dropped, charged, and nobody else is affected.

use futures::StreamExt;
use gridhour_protocol::{id::NetworkId, limits::GOSSIP_BYTES_MAX, signed::SecretKey, units::Timestamp};
use libp2p::{
    request_response::{self, Message, ProtocolSupport},
    swarm::{
        SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{
    MEMORY, Node, TCP,
    raw::{self, Envelopes, RawGossiper},
    within,
};
use crate::net::{
    AdvertCounts,
    codec::{Answer, Asked, Bounded},
    identity::peer_of,
    limits::{CONNECTIONS_PER_PEER_MAX, PUSH_BYTES_MAX},
    push,
    sample::{NOW, advert, bytes_of, secret},
};

fn forged(sequence: u64) -> Vec<u8> {
    bytes_of(&SecretKey::from_seed([0xbb; 32]).sign(advert(1, sequence)))
}

fn truncated() -> Vec<u8> {
    let bytes = bytes_of(&secret(9).sign(advert(9, 1)));
    bytes[..bytes.len() / 2].to_vec()
}

fn wrong_network() -> Vec<u8> {
    let mut foreign = advert(9, 1);
    foreign.network = NetworkId([0xee; 32]);
    bytes_of(&secret(9).sign(foreign))
}

fn stale() -> Vec<u8> {
    let mut expired = advert(9, 1);
    expired.issued_at = Timestamp(NOW.0 - 1000);
    expired.expires_at = Timestamp(NOW.0 - 1);
    bytes_of(&secret(9).sign(expired))
}

fn from_future() -> Vec<u8> {
    let mut early = advert(9, 1);
    early.issued_at = Timestamp(NOW.0 + 60_000);
    early.expires_at = Timestamp(NOW.0 + 120_000);
    bytes_of(&secret(9).sign(early))
}

#[tokio::test]
async fn bad_gossip_is_counted_and_dropped_and_honest_gossip_passes() {
    let provider = Node::start(1, TCP).await;
    let middle = Node::start(2, TCP).await;
    let mut third = Node::start(3, TCP).await;
    provider.connect(&middle).await;
    third.connect(&middle).await;
    let raw = RawGossiper::connect(9, middle.address(), Envelopes::Signed).await;

    for bytes in
        [forged(5), truncated(), vec![7; GOSSIP_BYTES_MAX + 1], wrong_network(), stale(), from_future()]
    {
        raw.send(bytes);
    }
    let expected = AdvertCounts {
        bad_signature_total: 1,
        malformed_total: 1,
        oversized_total: 1,
        wrong_network_total: 1,
        stale_total: 1,
        from_future_total: 1,
        ..AdvertCounts::default()
    };
    let counted = middle.wait_for("counters", |metrics| metrics.adverts == expected).await;
    assert_eq!(counted.adverts_of(&raw.key), expected, "attributed to who brought them");
    assert_eq!(counted.bans_total, 0, "four offences are within the budget");

    provider.publish(1).await;
    let heard = third.advert().await;
    assert_eq!(
        (heard.provider, heard.sequence),
        (provider.key(), 1),
        "the forged sequence 5 blocked nothing"
    );
    // Gossip between two nodes keeps its order: anything forwarded before would have been counted by now.
    let only_honest = AdvertCounts { accepted_total: 1, ..AdvertCounts::default() };
    assert_eq!(third.net.metrics().adverts, only_honest);
}

#[tokio::test]
async fn a_peer_over_its_budget_is_shut_out_and_others_are_not() {
    let provider = Node::start(1, TCP).await;
    let mut middle = Node::start(2, TCP).await;
    provider.connect(&middle).await;
    let mut raw = RawGossiper::connect(9, middle.address(), Envelopes::Signed).await;
    for sequence in 0..10 {
        raw.send(forged(sequence));
    }
    raw.wait_until_thrown_out().await;
    let metrics = middle.wait_for("ban", |metrics| metrics.bans_total == 1).await;
    assert!(metrics.adverts_of(&raw.key).bad_signature_total >= 5);
    assert_eq!(metrics.adverts_of(&provider.key()), AdvertCounts::default());

    provider.publish(1).await;
    assert_eq!(middle.advert().await.provider, provider.key());
    assert!(middle.net.peers().contains(&provider.key()));
}

#[tokio::test]
async fn a_spammer_loses_its_mesh_before_it_is_shut_out_and_others_keep_theirs() {
    let provider = Node::start(1, MEMORY).await;
    let mut node = Node::start(2, MEMORY).await;
    provider.connect(&node).await;
    let mut raw = RawGossiper::connect(9, node.address(), Envelopes::Signed).await;
    raw.wait_for_mesh(true).await;
    for sequence in 1..=3 {
        raw.send(forged(sequence));
    }
    raw.wait_for_mesh(false).await;
    assert!(raw.is_connected(), "three forgeries are within the budget");
    assert_eq!(node.net.metrics().bans_total, 0);

    provider.publish(1).await;
    assert_eq!(node.advert().await.provider, provider.key());
}

#[tokio::test]
async fn envelopes_without_a_signature_get_a_peer_shut_out() {
    let mut node = Node::start(2, MEMORY).await;
    let mut raw = RawGossiper::connect(9, node.address(), Envelopes::Unsigned).await;
    for sequence in 1..=20 {
        raw.send(bytes_of(&secret(9).sign(advert(9, sequence))));
    }
    raw.wait_until_thrown_out().await;
    let metrics = node.wait_for("ban", |metrics| metrics.bans_total == 1).await;
    assert_eq!(
        metrics.adverts,
        AdvertCounts::default(),
        "valid adverts in bad envelopes are not even judged"
    );
    assert!(node.events.try_recv().is_err());
}

#[tokio::test]
async fn a_flood_is_charged_to_the_flooder() {
    let node = Node::start(2, MEMORY).await;
    let mut raw = RawGossiper::connect(9, node.address(), Envelopes::Signed).await;
    for sequence in 1..=4000 {
        raw.send(bytes_of(&secret(9).sign(advert(9, sequence))));
    }
    raw.wait_until_thrown_out().await;
    let metrics = node.wait_for("ban", |metrics| metrics.bans_total == 1).await;
    assert!(metrics.adverts_of(&raw.key).over_rate_total >= 50, "{metrics:?}");
}

/// Asks with limits of its own, without regard for those of the other side. `None` if the other side stops
/// listening.
async fn ask_raw(to: &Node, service: &str, request: Vec<u8>) -> Option<Answer> {
    let codec = Bounded { request_max: usize::MAX, response_max: usize::MAX };
    let protocol = [(raw::names().stream(service), ProtocolSupport::Outbound)];
    let config = request_response::Config::default();
    let behaviour = request_response::Behaviour::with_codec(codec, protocol, config);
    let mut swarm = raw::swarm(&secret(9), behaviour);
    let peer = peer_of(&to.key()).expect("a public key is a point");
    let addresses = vec![to.address().0];
    swarm.behaviour_mut().send_request_with_addresses(&peer, Asked::Bytes(request), addresses);
    let answered = async {
        loop {
            let event = swarm.select_next_some().await;
            let SwarmEvent::Behaviour(event) = event else { continue };
            match event {
                request_response::Event::Message { message: Message::Response { response, .. }, .. } => {
                    return Some(response);
                }
                request_response::Event::OutboundFailure { .. } => return None,
                _ => {}
            }
        }
    };
    within("raw answer", answered).await
}

#[tokio::test]
async fn a_push_of_rubbish_is_refused() {
    let node = Node::start(2, MEMORY).await;
    let answer = ask_raw(&node, "adverts", vec![0xff; 100]).await;
    assert!(matches!(&answer, Some(Answer::Refused(why)) if why == "not a list of adverts"), "{answer:?}");
    // So long that the rest of it is never read, and the sender may be stuck with it.
    tokio::select! {
        answer = ask_raw(&node, "adverts", vec![0; PUSH_BYTES_MAX + 1]) => {
            assert!(!matches!(answer, Some(Answer::Served(_))), "{answer:?}");
        }
        _ = node.wait_for("refusal", |metrics| metrics.pushes_refused_total == 2) => {}
    }
}

#[tokio::test]
async fn pushed_adverts_are_judged_like_gossip() {
    let mut node = Node::start(2, MEMORY).await;
    let good = bytes_of(&secret(9).sign(advert(9, 1)));
    let push = push::pack([forged(3), truncated(), stale(), good]);
    assert!(matches!(ask_raw(&node, "adverts", push).await, Some(Answer::Served(empty)) if empty.is_empty()));
    assert_eq!(node.advert().await.sequence, 1);
    let expected = AdvertCounts {
        accepted_total: 1,
        bad_signature_total: 1,
        malformed_total: 1,
        stale_total: 1,
        ..AdvertCounts::default()
    };
    assert_eq!(node.net.metrics().adverts_of(&secret(9).public()), expected);
}

#[tokio::test]
async fn an_oversized_request_is_refused_by_name() {
    let node = Node::start(2, MEMORY).await;
    let answer = ask_raw(&node, "asset", vec![0; 5000]).await;
    let expected = "request of 5000 bytes is over the limit of 1024";
    assert!(matches!(&answer, Some(Answer::Refused(why)) if why == expected), "{answer:?}");
    assert_eq!(node.net.metrics().requests_refused_total, 1);
}

#[tokio::test]
async fn one_peer_gets_only_so_many_connections() {
    let node = Node::start(2, TCP).await;
    let mut swarm = raw::swarm(&secret(9), libp2p::swarm::dummy::Behaviour);
    let peer = peer_of(&node.key()).expect("a public key is a point");
    let excess = 2;
    for _ in 0..CONNECTIONS_PER_PEER_MAX + excess {
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![node.address().0])
            .build();
        swarm.dial(opts).expect("dials");
    }
    let drive = async { while swarm.next().await.is_some() {} };
    tokio::select! {
        () = drive => panic!("a swarm does not end"),
        _ = node.wait_for("denials", |metrics| metrics.connections_denied_total == u64::from(excess)) => {}
    }
}
