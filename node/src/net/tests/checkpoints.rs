//! Checkpoints between nodes: the newest reaches everyone, and two histories do not go together unseen.

use gridhour_contracts_sim::{
    fraud::{Conflict, Fraud},
    witnesses::{LogKeys, Witnesses},
};

use super::{MEMORY, Node, config, within};
use crate::net::{
    NetConfig, SeenCheckpoints,
    sample::{OPERATOR, WITNESSES, checkpoint, log_keys, operator_vkey, secret, witness_name},
};

impl Node {
    /// A node that follows the ledger's operator.
    async fn following(seed: u8) -> Self {
        Self::with(seed, NetConfig { log_keys: Some(log_keys()), ..config(seed, MEMORY) }).await
    }

    async fn publish_checkpoint(&self, height: u64, history: u8) {
        let signed = checkpoint(height, history).sign(&secret(OPERATOR));
        self.net.publish_checkpoint(signed).await.expect("the network runs");
    }

    async fn wait_until_seen(
        &self,
        what: &str,
        reached: impl Fn(&SeenCheckpoints) -> bool,
    ) -> SeenCheckpoints {
        let mut seen = self.net.watch_checkpoints();
        within(what, seen.wait_for(|seen| reached(seen))).await.expect("the network runs").clone()
    }

    async fn wait_for_height(&self, height: u64) {
        let newest = |seen: &SeenCheckpoints| {
            seen.newest.as_ref().is_some_and(|newest| newest.checkpoint().height.0 == height)
        };
        self.wait_until_seen("checkpoint", newest).await;
    }
}

/// A line of nodes that follow the operator.
async fn following_line(seeds: &[u8]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for &seed in seeds {
        let node = Node::following(seed).await;
        if let Some(last) = nodes.last() {
            node.connect(last).await;
        }
        nodes.push(node);
    }
    nodes
}

#[tokio::test]
async fn the_newest_checkpoint_crosses_a_middle_node() {
    let nodes = following_line(&[1, 2, 3]).await;
    for height in [3, 4, 9] {
        nodes[0].publish_checkpoint(height, 0).await;
        nodes[1].wait_for_height(height).await;
        nodes[2].wait_for_height(height).await;
    }
    assert!(nodes[2].net.watch_checkpoints().borrow().fraud.is_none());
}

/// Each of its witnesses is news of a checkpoint, in the middle of a line and at its end; a node whose
/// network file does not name them passes the checkpoint on without.
#[tokio::test]
async fn cosignatures_cross_nodes_that_know_their_witnesses() {
    let mut nodes = following_line(&[1, 2]).await;
    let unaware = LogKeys::new(operator_vkey(), &Witnesses::default()).expect("a good key");
    let unaware = Node::with(3, NetConfig { log_keys: Some(unaware), ..config(3, MEMORY) }).await;
    unaware.connect(&nodes[1]).await;
    let last = Node::following(4).await;
    last.connect(&unaware).await;
    nodes.extend([unaware, last]);

    let mut signed = checkpoint(7, 0).sign(&secret(OPERATOR));
    for (count, seed) in WITNESSES.into_iter().enumerate() {
        let mut note = signed.note().clone();
        note.add(note.cosignature(&witness_name(seed), &secret(seed), 7).expect("a name")).expect("room");
        signed = log_keys().merge(&signed, &note);
        nodes[0].net.publish_checkpoint(signed.clone()).await.expect("the network runs");
        let lines = |seen: &SeenCheckpoints| {
            seen.newest.as_ref().is_some_and(|newest| newest.note().signatures().len() == count + 2)
        };
        nodes[1].wait_until_seen("cosignature", lines).await;
    }
    for node in &nodes[2..] {
        node.wait_for_height(7).await;
        let seen = node.net.watch_checkpoints().borrow().newest.clone().expect("seen");
        assert_eq!(seen, signed.bare(&operator_vkey()));
    }
}

/// The operator tells its neighbours different histories. Whoever is between them has the proof, and so does everyone.
#[tokio::test]
async fn a_split_view_is_found_where_the_two_histories_meet() {
    let nodes = following_line(&[1, 2, 3, 4]).await;
    nodes[0].publish_checkpoint(7, 0).await;
    nodes[1].wait_for_height(7).await;
    nodes[3].publish_checkpoint(7, 1).await;
    for node in &nodes {
        let seen = node.wait_until_seen("fraud", |seen| seen.fraud.is_some()).await;
        let fraud = seen.fraud.expect("waited for");
        assert_eq!(fraud.conflict(), Conflict::Height);
        let file = fraud.to_string();
        assert_eq!(Fraud::open(file.as_bytes(), &operator_vkey()).as_ref(), Ok(&*fraud), "a file for anyone");
    }
}

/// A peer that brings a forged checkpoint is at fault; one that does not follow the operator passes nothing on.
#[tokio::test]
async fn a_forged_checkpoint_reaches_nobody() {
    let nodes = following_line(&[1, 2]).await;
    let mut stranger = Node::with(3, config(3, MEMORY)).await;
    stranger.connect(&nodes[1]).await;
    let forger_key =
        gridhour_contracts_sim::checkpoint::operator_key(&crate::net::sample::NETWORK, secret(66).public());
    let forger_keys = LogKeys::new(forger_key.expect("a good key"), &Witnesses::default());
    let forger = NetConfig { log_keys: forger_keys.ok(), ..config(4, MEMORY) };
    let forger = Node::with(4, forger).await;
    forger.connect(&nodes[0]).await;
    forger.net.publish_checkpoint(checkpoint(5, 0).sign(&secret(66))).await.expect("the network runs");
    nodes[0].wait_for("refusal", |metrics| metrics.checkpoints_refused_total == 1).await;
    nodes[0].publish_checkpoint(6, 0).await;
    nodes[1].wait_for_height(6).await;
    stranger.wait_for("refusal", |metrics| metrics.checkpoints_refused_total == 1).await;
    assert!(stranger.net.watch_checkpoints().borrow().newest.is_none());
    assert!(stranger.events.try_recv().is_err(), "no event either");
}
