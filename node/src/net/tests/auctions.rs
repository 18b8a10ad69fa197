//! Postings and quotes between nodes: both cross nodes in between, and only who posted is handed the quotes.

use gridhour_protocol::wire;

use super::{
    MEMORY, Node, TCP, line,
    raw::{self, Envelopes, RawGossiper},
};
use crate::net::{
    NetEvent, PublishError,
    auction_table::AuctionRefusal,
    gossip::Refusal,
    sample::{posting, quote},
};

/// A line in which each knows what the next one listens to: an advert has crossed it.
async fn acquainted(seeds: &[u8], listen: &str) -> Vec<Node> {
    let mut nodes = line(seeds, listen).await;
    nodes[0].publish(1).await;
    for node in &mut nodes[1..] {
        node.advert().await;
    }
    let last = nodes.len() - 1;
    nodes[last].publish(1).await;
    for node in &mut nodes[..last] {
        node.advert().await;
    }
    nodes
}

#[tokio::test]
async fn a_posting_crosses_a_middle_node_and_its_quote_comes_back() {
    let mut nodes = acquainted(&[1, 2, 3], MEMORY).await;
    let posted = posting(1, 1);
    nodes[0].net.publish_posting(posted.clone()).await.expect("an honest posting");
    for node in &mut nodes[1..] {
        let NetEvent::Posting(heard) = node.event().await else { panic!("expected a posting") };
        assert_eq!(wire::encode(heard.signed()), wire::encode(&posted));
    }
    let answer = quote(3, 1, posted.id());
    nodes[2].net.publish_quote(answer.clone()).await.expect("an honest quote");
    let NetEvent::Quote(heard) = nodes[0].event().await else { panic!("expected a quote") };
    assert_eq!(heard.signed(), &answer);
    // Adverts and no quotes are what the one in the middle hears of next.
    nodes[2].publish(2).await;
    assert_eq!(nodes[1].advert().await.sequence, 2);
    let twice = nodes[2].net.publish_quote(quote(3, 1, posted.id())).await;
    assert_eq!(twice, Err(PublishError::Auction(AuctionRefusal::Gossip(Refusal::Duplicate))));
    let unasked = nodes[2].net.publish_quote(quote(3, 1, posting(1, 2).id())).await;
    assert_eq!(unasked, Err(PublishError::Auction(AuctionRefusal::Unasked)));
}

/// A quote is for who posted; every honest node sees that it is for another, and passes it on to nobody.
#[tokio::test]
async fn who_brings_quotes_to_another_than_who_posted_is_shut_out() {
    let nodes = acquainted(&[1, 2], TCP).await;
    let posted = posting(1, 1);
    nodes[0].net.publish_posting(posted.clone()).await.expect("an honest posting");
    let topic = raw::names().quotes_topic();
    let mut raw = RawGossiper::connect_on(9, nodes[0].address(), Envelopes::Signed, topic).await;
    for seed in 20..25 {
        raw.send(wire::encode(&quote(seed, 9, posted.id())));
    }
    raw.wait_until_thrown_out().await;
    let metrics = nodes[0].net.metrics();
    assert_eq!((metrics.auctions_accepted_total, metrics.auctions_refused_total), (0, 5));
}
