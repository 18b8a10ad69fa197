//! The ledger as its node and the observers show it: reached, level, and one history.

use std::collections::BTreeSet;

use gridhour_contracts_sim::{block::Block, network_file::NetworkFile};
use gridhour_node::{
    clock,
    drivers::{
        ledger_client::{LedgerClient, LedgerError},
        visitor::Visitor,
    },
    net::Address,
    rpc::LedgerStatus,
};
use gridhour_protocol::{
    id::BlockHash,
    signed::{PublicKey, Verified},
    units::Height,
    wire,
};

use super::{Args, finding::Finding};
use crate::human_time;

/// Whether the ledger node and the observers answer.
pub const REACHED: &str = "ledger";
/// Whether they show one history.
pub const HISTORY: &str = "history";
/// A copy that is further behind than this does not keep up.
const BEHIND_MAX: u64 = 10;

/// A node that has the ledger.
pub struct Node {
    pub id: PublicKey,
    pub ledger: LedgerClient,
    pub status: Result<LedgerStatus, String>,
}

/// The nodes of the network file and those that were named, each asked where it stands.
pub async fn nodes(args: &Args, network: &Verified<NetworkFile>, visitor: &Visitor) -> Vec<Node> {
    let operator = network.genesis.operator;
    let named = network.bootstrap.iter().filter_map(|text| text.parse::<Address>().ok()?.peer());
    let mut ids: BTreeSet<PublicKey> = named.chain([operator]).collect();
    for address in &args.node {
        // One that is not reached is found out when it is asked.
        ids.extend(visitor.net().dial(address.clone()).await.ok().or_else(|| address.peer()));
    }
    let mut nodes = Vec::new();
    for id in ids {
        let ledger = visitor.ledger().at(id);
        let status = ledger.status().await.map_err(|error| error.to_string());
        nodes.push(Node { id, ledger, status });
    }
    nodes
}

/// What the nodes say of the ledger.
pub async fn look(network: &Verified<NetworkFile>, nodes: &[Node]) -> Vec<Finding> {
    vec![reached(network.genesis.operator, nodes), history(nodes).await]
}

fn reached(operator: PublicKey, nodes: &[Node]) -> Finding {
    let found = |node: &&Node| Some((node.id, *node.status.as_ref().ok()?));
    let known: Vec<(PublicKey, LedgerStatus)> = nodes.iter().filter_map(|node| found(&node)).collect();
    let Some((_, best)) = known.iter().max_by_key(|(_, status)| status.height) else {
        return Finding::failed(REACHED, silent(nodes), "start the ledger node, or mend the way to it");
    };
    let behind = known.iter().filter(|(_, status)| best.height.0 - status.height.0 > BEHIND_MAX).count();
    let what = format!(
        "height {}, last block {}, {} of {} nodes answer",
        best.height.0,
        human_time::when(best.time, clock::now()),
        known.len(),
        nodes.len()
    );
    if !known.iter().any(|(id, _)| *id == operator) {
        let todo = "nothing can be ordered until the ledger node runs: ask its operator";
        return Finding::failed(REACHED, format!("{what}; {}", silent(nodes)), todo);
    }
    match (known.len() == nodes.len(), behind) {
        (true, 0) => Finding::ok(REACHED, what),
        (false, _) => Finding::warning(REACHED, format!("{what}; {}", silent(nodes)), "see that it runs"),
        (true, count) => {
            let todo = "see what its events say: its disk may be full, or its source unreachable";
            Finding::warning(
                REACHED,
                format!("{what}; {count} are more than {BEHIND_MAX} blocks behind"),
                todo,
            )
        }
    }
}

/// Who does not answer, and why.
fn silent(nodes: &[Node]) -> String {
    let silent = nodes.iter().filter_map(|node| node.status.as_ref().err());
    silent.cloned().collect::<Vec<_>>().join("; ")
}

/// Compares every node's last block with the block that the furthest has at that height.
async fn history(nodes: &[Node]) -> Finding {
    let known = nodes.iter().filter_map(|node| Some((node, node.status.as_ref().ok()?)));
    let known: Vec<(&Node, &LedgerStatus)> = known.collect();
    let Some((furthest, best)) = known.iter().max_by_key(|(_, status)| status.height) else {
        return Finding::skipped(HISTORY, "no node answers");
    };
    let mut same = 0;
    for (node, status) in known.iter().filter(|(node, _)| node.id != furthest.id) {
        let there = match status.height == best.height {
            true => Ok(best.hash),
            false => hash_at(&furthest.ledger, status.height).await,
        };
        match there {
            Ok(hash) if hash == status.hash || status.height == Height(0) => same += 1,
            Ok(_) => return two_histories(node, furthest, status.height),
            Err(error) => return Finding::warning(HISTORY, error, "run `gridhour doctor` again"),
        }
    }
    match same {
        0 => Finding::skipped(HISTORY, "only one node answers: name an observer with --node"),
        others => Finding::ok(HISTORY, format!("{} nodes show one history", others + 1)),
    }
}

async fn hash_at(ledger: &LedgerClient, height: Height) -> Result<BlockHash, LedgerError> {
    let blocks = ledger.blocks(height).await?;
    // What is no block has no hash that anyone else could have.
    let block = blocks.first().and_then(|bytes| wire::decode::<Block>(bytes).ok());
    Ok(block.map_or(BlockHash([0; 32]), |block| block.hash()))
}

fn two_histories(one: &Node, other: &Node, height: Height) -> Finding {
    let what =
        format!("{} and {} show other blocks at height {}", one.id.short(), other.id.short(), height.0);
    let todo = "trade no more: one of them lies, or the operator signed two histories; run an observer of both, which \
                keeps the proof";
    Finding::failed(HISTORY, what, todo)
}
