//! `gridhour status`: what I am, how it goes, and how far the nodes that have the ledger are.

use std::{collections::BTreeSet, time::Duration};

use gridhour_node::{
    drivers::{client::Client, ledger_client::LedgerError},
    net::Address,
    rpc::{Account, Hold, LedgerStatus, Purpose},
};
use gridhour_protocol::{signed::PublicKey, units::Credits};
use serde_json::{Value, json};

use super::{account::proven_line, limbo};
use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::{network, with_client},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour status
  gridhour status --json
  gridhour status --node /ip4/192.0.2.8/tcp/4803/p2p/12D3KooW...   How far an observer is";

/// How long to wait for offers.
const OFFERS_TIME: Duration = Duration::from_secs(3);

/// Print what I am and how it goes: account, network, peers, offers, ledger
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Also ask the ledger node or observer at this multiaddress how far it is; may be repeated. Those of the network
    /// file are always asked
    #[arg(long, value_name = "MULTIADDR")]
    node: Vec<Address>,
}

/// A node that has the ledger, and how far it is.
struct Seen {
    id: PublicKey,
    status: std::result::Result<LedgerStatus, LedgerError>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    with_client(context, async |client, _| {
        let offers = client.offers(1, OFFERS_TIME).await.len();
        let status = client.ledger().status().await?;
        let checked = client.ledger().checked_account(client.id()).await?;
        let account = &checked.said;
        let devices = client.ledger().devices(client.id()).await?.len();
        let at_stake = at_stake(account);
        let stuck = client.ledger().limbo(client.id()).await?;
        let peers = client.net().peers().len();
        let results = client.results().list()?.len();
        let nodes = nodes(args, context, &client).await?;
        context.out.document(&json!({
            "id": client.id().to_string(), "network": client.network().to_string(), "peers": peers,
            "offers": offers, "balance": account.balance.0, "holds": account.holds.len(), "results": results,
            "proven": checked.is_proven(), "devices": devices, "at_stake": at_stake.0,
            "limbo": limbo::document(&stuck),
            "ledger": { "height": status.height.0, "hash": status.hash.to_string(), "time": status.time.0 },
            "nodes": nodes.iter().map(|node| node_json(node, highest(&nodes))).collect::<Vec<_>>(),
        }))?;
        context.out.line(format!("account  {}", client.id()))?;
        context.out.line(format!("balance  {} credits, {} holds", account.balance, account.holds.len()))?;
        context.out.line(format!("proven   {}", proven_line(&checked)))?;
        context.out.line(format!("devices  {devices} registered, {at_stake} credits at stake"))?;
        limbo::report(context, client.id(), &stuck)?;
        context.out.line(format!("network  {}", client.network()))?;
        context.out.line(format!("seen     {peers} peers, {offers} offers"))?;
        context.out.line(format!("ledger   height {}, block {}", status.height.0, status.hash.short()))?;
        let lines = nodes.iter().map(|node| node_text(node, highest(&nodes)));
        lines.into_iter().try_for_each(|line| context.out.line(line))?;
        context.out.line(format!("results  {results} kept here"))
    })
}

/// What the account would lose if all its devices were slashed.
fn at_stake(account: &Account) -> Credits {
    let is_stake = |hold: &&Hold| matches!(hold.purpose, Purpose::Bond { .. } | Purpose::Unbonding { .. });
    let parts = account.holds.iter().filter(is_stake).map(|hold| hold.amount);
    // All that was issued fits, so a node that says more is wrong anyway.
    Credits::sum(parts).unwrap_or(Credits(u64::MAX))
}

/// Asks every node of the network file, and those that were named, where each of them stands.
async fn nodes(args: &Args, context: &Context, client: &Client) -> Result<Vec<Seen>> {
    let file = network(context, None)?;
    let known = file.bootstrap.iter().filter_map(|text| text.parse::<Address>().ok()?.peer());
    let mut ids: BTreeSet<PublicKey> = known.collect();
    for address in &args.node {
        ids.insert(client.net().dial(address.clone()).await.map_err(CommandError::network)?);
    }
    let mut seen = Vec::new();
    for id in ids {
        let ledger = client.ledger().at(id);
        seen.push(Seen { id, status: ledger.status().await });
    }
    Ok(seen)
}

/// Height of the longest ledger that any of them says it has.
fn highest(nodes: &[Seen]) -> u64 {
    nodes.iter().filter_map(|node| Some(node.status.as_ref().ok()?.height.0)).max().unwrap_or(0)
}

fn node_json(node: &Seen, highest: u64) -> Value {
    let id = node.id.to_string();
    match &node.status {
        Ok(status) => json!({
            "id": id, "height": status.height.0, "hash": status.hash.to_string(),
            "behind": highest - status.height.0, "error": null,
        }),
        Err(error) => {
            json!({ "id": id, "height": null, "hash": null, "behind": null, "error": error.to_string() })
        }
    }
}

fn node_text(node: &Seen, highest: u64) -> String {
    match &node.status {
        Ok(status) => format!(
            "node     {}: height {}, {} blocks behind",
            node.id.short(),
            status.height.0,
            highest - status.height.0
        ),
        Err(error) => format!("node     {}: {error}", node.id.short()),
    }
}
