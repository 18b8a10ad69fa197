//! Job streams.

use futures::{AsyncWriteExt, StreamExt};
use gridhour_protocol::limits::JOB_FRAME_BYTES_MAX;
use libp2p::{Stream, Swarm};
use tokio::sync::oneshot;

use super::{MEMORY, Node, QUIC, TCP, line, raw, within};
use crate::net::{
    FrameError, JobStream, RequestError,
    identity::peer_of,
    job_protocol::JobBehaviour,
    limits::JOBS_PER_PEER_MAX,
    sample::{advert, secret},
};

async fn echo_until_end(mut job: JobStream) -> Result<(), FrameError> {
    while let Some(frame) = job.recv().await? {
        job.send(&frame).await?;
    }
    job.close().await
}

async fn frames_come_back(listen: &str) {
    let mut nodes = line(&[1, 2], listen).await;
    let ours = within("open", nodes[1].net.open_job(nodes[0].key())).await.expect("opens");
    assert_eq!(ours.peer(), nodes[0].key());
    let (mut sender, mut receiver) = ours.split();
    sender.send(&[]).await.expect("sent");
    let theirs = nodes[0].job().await;
    assert_eq!(theirs.peer(), nodes[1].key());
    let echoes = tokio::spawn(echo_until_end(theirs));
    assert_eq!(within("echo", receiver.recv()).await.expect("whole"), Some(Vec::new()));
    for len in [1, 70_000, JOB_FRAME_BYTES_MAX] {
        let frame = vec![len as u8; len];
        let (sent, back) = within("echo", async { tokio::join!(sender.send(&frame), receiver.recv()) }).await;
        sent.expect("sent");
        assert!(back.expect("whole").as_ref() == Some(&frame), "{len} bytes");
    }
    sender.close().await.expect("closed");
    assert_eq!(within("end", receiver.recv()).await.expect("a clean end"), None);
    within("echoes", echoes).await.expect("no panic").expect("no failure");
}

#[tokio::test]
async fn frames_come_back_over_tcp() {
    frames_come_back(TCP).await;
}

#[tokio::test]
async fn frames_come_back_over_quic() {
    frames_come_back(QUIC).await;
}

#[tokio::test]
async fn jobs_opened_at_once_all_arrive() {
    let mut nodes = line(&[1, 2], TCP).await;
    let (net, provider) = (nodes[1].net.clone(), nodes[0].key());
    let opened = futures::future::join_all((0..JOBS_PER_PEER_MAX).map(|_| net.open_job(provider))).await;
    let mut ours: Vec<_> = opened.into_iter().map(|job| job.expect("opens")).collect();
    for (n, job) in ours.iter_mut().enumerate() {
        job.send(&[n as u8]).await.expect("sent");
    }
    let mut heard = Vec::new();
    for _ in 0..JOBS_PER_PEER_MAX {
        let mut theirs = nodes[0].job().await;
        heard.push(within("frame", theirs.recv()).await.expect("whole").expect("not ended")[0]);
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..JOBS_PER_PEER_MAX as u8).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_job_too_many_ends_at_once_and_the_others_go_on() {
    let mut nodes = line(&[1, 2], MEMORY).await;
    let provider = nodes[0].key();
    let mut held = Vec::new();
    for _ in 0..JOBS_PER_PEER_MAX {
        let mut ours = nodes[1].net.open_job(provider).await.expect("opens");
        ours.send(b"hold").await.expect("sent");
        held.push((ours, nodes[0].job().await));
    }
    let mut refused = nodes[1].net.open_job(provider).await.expect("opens");
    // The refusal may reach us before or after the frame left.
    let _ = refused.send(b"one more").await;
    let end = within("refusal", refused.recv()).await;
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    assert_eq!(nodes[0].net.metrics().jobs_refused_total, 1);

    let (ours, theirs) = &mut held[0];
    theirs.send(b"still here").await.expect("sent");
    assert_eq!(within("frame", ours.recv()).await.expect("whole"), Some(b"still here".to_vec()));
    drop(held);
    let mut again = nodes[1].net.open_job(provider).await.expect("opens");
    again.send(b"again").await.expect("sent");
    nodes[0].job().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_not_sent() {
    let nodes = line(&[1, 2], MEMORY).await;
    let mut job = nodes[1].net.open_job(nodes[0].key()).await.expect("opens");
    let sent = job.send(&vec![0; JOB_FRAME_BYTES_MAX + 1]).await;
    assert!(matches!(sent, Err(FrameError::Oversized { .. })), "{sent:?}");
}

/// A peer that writes any bytes to a job stream, and holds it open until it is dropped.
async fn write_raw(to: &Node, bytes: &[u8]) -> (Swarm<JobBehaviour>, Stream) {
    let mut swarm = raw::swarm(&secret(9), JobBehaviour::new(raw::names().stream("job")));
    let peer = peer_of(&to.key()).expect("a public key is a point");
    let (reply, mut opened) = oneshot::channel();
    swarm.behaviour_mut().open(peer, vec![to.address().0], reply);
    let mut stream = loop {
        tokio::select! {
            _ = swarm.next() => {}
            stream = &mut opened => break stream.expect("runs").expect("opens"),
        }
    };
    stream.write_all(bytes).await.expect("sent");
    stream.flush().await.expect("sent");
    (swarm, stream)
}

async fn recv_driven(
    swarm: &mut Swarm<JobBehaviour>,
    node: &mut Node,
) -> (JobStream, Result<Option<Vec<u8>>, FrameError>) {
    let receive = async {
        let mut job = node.job().await;
        let received = job.recv().await;
        (job, received)
    };
    let drive = async { while swarm.next().await.is_some() {} };
    within("frame", async {
        tokio::select! {
            received = receive => received,
            () = drive => panic!("a swarm does not end"),
        }
    })
    .await
}

#[tokio::test]
async fn an_announced_frame_over_the_limit_is_refused_before_it_comes() {
    let mut node = Node::start(2, TCP).await;
    let (mut swarm, _stream) = write_raw(&node, &u32::MAX.to_le_bytes()).await;
    let (_, received) = recv_driven(&mut swarm, &mut node).await;
    assert!(matches!(received, Err(FrameError::Oversized { .. })), "{received:?}");
}

#[tokio::test]
async fn a_peer_that_dies_within_a_frame_gives_a_clear_end() {
    let mut node = Node::start(2, TCP).await;
    let (mut swarm, stream) = write_raw(&node, &[2, 0, 0, 0, 7, 7, 9, 0]).await;
    let (mut job, received) = recv_driven(&mut swarm, &mut node).await;
    assert_eq!(received.expect("whole"), Some(vec![7, 7]));
    drop((stream, swarm));
    let end = within("end", job.recv()).await;
    assert!(matches!(end, Err(FrameError::Truncated | FrameError::Io(_))), "{end:?}");
}

#[tokio::test]
async fn a_provider_that_goes_away_ends_its_streams() {
    for listen in [TCP, QUIC] {
        let mut nodes = line(&[1, 2], listen).await;
        let mut ours = nodes[1].net.open_job(nodes[0].key()).await.expect("opens");
        ours.send(b"work").await.expect("sent");
        let theirs = nodes[0].job().await;
        nodes[0].net.shutdown().await;
        drop(theirs);
        let end = within("end", ours.recv()).await;
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
        nodes[1].wait_without_peer(nodes[0].key()).await;
    }
}

#[tokio::test]
async fn a_job_finds_its_provider_by_its_advert() {
    let middle = Node::start(2, TCP).await;
    let mut provider = Node::start(1, TCP).await;
    let mut client = Node::start(3, TCP).await;
    provider.connect(&middle).await;
    client.connect(&middle).await;
    let mut offer = advert(1, 1);
    offer.addresses = vec!["rubbish".into(), provider.address().to_string()];
    provider.net.publish_advert(secret(1).sign(offer)).await.expect("published");
    client.advert().await;
    let mut job = within("open", client.net.open_job(provider.key())).await.expect("opens");
    job.send(b"hello").await.expect("sent");
    assert_eq!(provider.job().await.peer(), client.key());
}

#[tokio::test]
async fn a_job_with_nobody_is_an_error() {
    let node = Node::start(1, MEMORY).await;
    let nobody = within("open", node.net.open_job(secret(8).public())).await;
    assert!(matches!(nobody, Err(RequestError::Unreachable(_))), "{nobody:?}");
}
