//! Requests and answers.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use gridhour_protocol::signed::PublicKey;
use libp2p::{
    request_response::{self, Message, ProtocolSupport},
    swarm::SwarmEvent,
};

use super::{MEMORY, Node, QUIC, TCP, config, line, raw, within};
use crate::net::{
    NetConfig, RequestError, Service,
    codec::{Answer, Bounded},
    identity::peer_of,
    limits::{ASSET_RESPONSE_BYTES_MAX, LEDGER_RESPONSE_BYTES_MAX, REQUESTS_IN_MAX, REQUESTS_OUT_MAX},
    sample::secret,
};

async fn serves(listen: &str, service: Service, answer_len: usize) {
    let mut nodes = line(&[1, 2], listen).await;
    let (client, server) = (nodes[1].net.clone(), nodes[0].key());
    let asked = tokio::spawn(async move { client.request(server, service, b"ask".to_vec()).await });
    let request = nodes[0].request().await;
    assert_eq!((request.peer, request.service), (nodes[1].key(), service));
    assert_eq!(request.bytes, b"ask");
    request.responder.respond(vec![5; answer_len]).await.expect("the network runs");
    let answer = within("answer", asked).await.expect("no panic").expect("served");
    assert!(answer == vec![5; answer_len]);
}

#[tokio::test]
async fn the_longest_answers_arrive_over_tcp() {
    serves(TCP, Service::Ledger, LEDGER_RESPONSE_BYTES_MAX).await;
    serves(TCP, Service::Asset, ASSET_RESPONSE_BYTES_MAX).await;
}

#[tokio::test]
async fn the_longest_answers_arrive_over_quic() {
    serves(QUIC, Service::Ledger, LEDGER_RESPONSE_BYTES_MAX).await;
    serves(QUIC, Service::Asset, ASSET_RESPONSE_BYTES_MAX).await;
}

#[tokio::test]
async fn a_refusal_says_why() {
    let mut nodes = line(&[1, 2], MEMORY).await;
    let (client, server) = (nodes[1].net.clone(), nodes[0].key());
    let ask = || client.request(server, Service::Ledger, Vec::new());
    let (answer, ()) = tokio::join!(ask(), async {
        nodes[0].request().await.responder.refuse("no such block").await.expect("the network runs");
    });
    assert_eq!(answer, Err(RequestError::Refused("no such block".into())));
    let (answer, ()) = tokio::join!(ask(), async {
        let too_long = vec![0; LEDGER_RESPONSE_BYTES_MAX + 1];
        nodes[0].request().await.responder.respond(too_long).await.expect("the network runs");
    });
    assert_eq!(
        answer,
        Err(RequestError::Refused("the answer of 4194305 bytes is over the limit of 4194304".into()))
    );
    let (answer, ()) = tokio::join!(ask(), async { drop(nodes[0].request().await) });
    assert!(matches!(answer, Err(RequestError::Refused(_))), "{answer:?}");
}

#[tokio::test]
async fn no_answer_is_a_timeout() {
    let mut server = Node::start(1, MEMORY).await;
    let patience = Duration::from_millis(200);
    let client = Node::with(2, NetConfig { request_timeout: patience, ..config(2, MEMORY) }).await;
    client.connect(&server).await;
    let (answer, request) = tokio::join!(
        within("timeout", client.net.request(server.key(), Service::Ledger, Vec::new())),
        server.request(),
    );
    assert_eq!(answer, Err(RequestError::Timeout));
    request.responder.respond(Vec::new()).await.expect("a late answer is no error");
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_request_is_told_from_nobody_there() {
    for listen in [TCP, QUIC] {
        let mut nodes = line(&[1, 2], listen).await;
        let (client, server) = (nodes[1].net.clone(), nodes[0].key());
        let asked = tokio::spawn(async move { client.request(server, Service::Ledger, Vec::new()).await });
        let unanswered = nodes[0].request().await;
        nodes[0].net.shutdown().await;
        let answer = within("the end of the connection", asked).await.expect("no panic");
        assert!(matches!(answer, Err(RequestError::Broken(_))), "{listen}: {answer:?}");
        drop(unanswered);
    }
}

#[tokio::test]
async fn a_request_over_the_limit_is_the_callers_fault() {
    let node = Node::start(1, MEMORY).await;
    let answer = node.net.request(secret(2).public(), Service::Asset, vec![0; 1025]).await;
    assert_eq!(answer, Err(RequestError::TooLong { len: 1025, max: 1024 }));
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_no_key_is_no_peer() {
    let node = Node::start(1, MEMORY).await;
    let ask = async |key| within("answer", node.net.request(key, Service::Ledger, Vec::new())).await;
    let nobody = ask(secret(2).public()).await;
    assert!(matches!(nobody, Err(RequestError::Unreachable(_))), "{nobody:?}");
    let bytes = (0..=255).map(|byte| PublicKey([byte; 32]));
    let no_point =
        bytes.into_iter().find(|key| peer_of(key).is_none()).expect("half of all keys are no points");
    assert_eq!(ask(no_point).await, Err(RequestError::NotAPeer(no_point)));
}

#[tokio::test]
async fn one_peer_has_only_so_many_requests_unanswered() {
    let mut nodes = line(&[1, 2], MEMORY).await;
    let (client, server) = (nodes[1].net.clone(), nodes[0].key());
    let ask = move || {
        let client = client.clone();
        tokio::spawn(async move { client.request(server, Service::Ledger, Vec::new()).await })
    };
    let mut waiting = Vec::new();
    let mut held = Vec::new();
    for _ in 0..REQUESTS_IN_MAX {
        waiting.push(ask());
        held.push(nodes[0].request().await.responder);
    }
    let refused = within("refusal", ask()).await.expect("no panic");
    let why = "too many requests at once; wait for answers";
    assert_eq!(refused, Err(RequestError::Refused(why.into())));
    for responder in held {
        responder.respond(vec![1]).await.expect("the network runs");
    }
    for answer in waiting {
        assert_eq!(within("answer", answer).await.expect("no panic"), Ok(vec![1]));
    }
}

#[tokio::test]
async fn our_own_unanswered_requests_are_limited_too() {
    let nodes = line(&[1, 2], MEMORY).await;
    let asks =
        (0..=REQUESTS_OUT_MAX).map(|_| nodes[1].net.request(nodes[0].key(), Service::Ledger, Vec::new()));
    let answered_at_once = 1 + REQUESTS_OUT_MAX - REQUESTS_IN_MAX;
    let answers = FuturesUnordered::from_iter(asks).take(answered_at_once);
    let first = within("refusals", answers.collect::<Vec<_>>()).await;
    let busy = first.iter().filter(|answer| matches!(answer, Err(RequestError::Busy(_)))).count();
    let refused = first.iter().filter(|answer| matches!(answer, Err(RequestError::Refused(_)))).count();
    assert_eq!((busy, refused), (1, REQUESTS_OUT_MAX - REQUESTS_IN_MAX));
}

/// A server that keeps none of the limits.
async fn raw_server(service: Service, answer_len: usize) -> (PublicKey, crate::net::Address) {
    let codec = Bounded { request_max: usize::MAX, response_max: usize::MAX };
    let protocol = [(raw::names().stream(service.name()), ProtocolSupport::Inbound)];
    let behaviour =
        request_response::Behaviour::with_codec(codec, protocol, request_response::Config::default());
    let mut swarm = raw::swarm(&secret(9), behaviour);
    swarm.listen_on(MEMORY.parse().expect("an address")).expect("listens");
    let address = loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::NewListenAddr { address, .. } = event {
            break crate::net::Address::of_peer(address, *swarm.local_peer_id());
        }
    };
    tokio::spawn(async move {
        loop {
            let event = swarm.select_next_some().await;
            if let SwarmEvent::Behaviour(request_response::Event::Message { message, .. }) = event
                && let Message::Request { channel, .. } = message
            {
                let answer = Answer::Served(vec![0; answer_len]);
                swarm.behaviour_mut().send_response(channel, answer).expect("the client waits");
            }
        }
    });
    (secret(9).public(), address)
}

#[tokio::test]
async fn an_answer_over_the_limit_is_the_peers_fault() {
    let (server, address) = raw_server(Service::Ledger, LEDGER_RESPONSE_BYTES_MAX + 1).await;
    let client = Node::start(1, MEMORY).await;
    // It does not name its network, so the dial is not answered well; the connection is there all the same.
    let dialled = within("dial", client.net.dial(address)).await;
    assert!(dialled.is_err(), "{dialled:?}");
    let answer = within("answer", client.net.request(server, Service::Ledger, Vec::new())).await;
    assert!(
        matches!(&answer, Err(RequestError::Misbehaved(why)) if why.contains("over the limit")),
        "{answer:?}"
    );
    let other = within("answer", client.net.request(server, Service::Asset, Vec::new())).await;
    assert_eq!(other, Err(RequestError::Unsupported(raw::names().stream("asset").to_string())));
}
