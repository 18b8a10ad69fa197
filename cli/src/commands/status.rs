//! `gridhour status`: what I am, how it goes, and how far the nodes that have the ledger are.

use std::{collections::BTreeSet, time::Duration};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{
    clock,
    drivers::{
        ledger_client::{CheckedAccount, LedgerError},
        results::Results,
        visitor::Visitor,
    },
    keys,
    limbo::Limbo,
    net::Address,
    rpc::{Account, Hold, LedgerStatus, Purpose, Selling},
};
use gridhour_protocol::{
    id::NetworkId,
    market::advert::Advert,
    signed::{PublicKey, Verified},
    units::Credits,
};
use serde_json::{Value, json};

use super::{account::proven_line, limbo};
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time,
    joined::{network, runtime},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour status
  gridhour status --json
  gridhour status --node /ip4/192.0.2.8/tcp/4803/p2p/12D3KooW...   How far an observer is";

/// What this program is.
const VERSION: &str = env!("CARGO_PKG_VERSION");
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

/// What was asked of the network.
struct Standing {
    id: PublicKey,
    network: NetworkId,
    peers: usize,
    offers: Vec<Verified<Advert>>,
    status: LedgerStatus,
    account: CheckedAccount,
    devices: usize,
    stuck: Vec<Limbo>,
    nodes: Vec<Seen>,
    /// Results that are kept here.
    results: usize,
}

/// Opens nothing in the directory but the key, so that it works beside a running node.
pub fn run(args: &Args, context: &Context) -> Result {
    let standing = runtime()?.block_on(async {
        let network = network(context, None)?;
        let id = keys::load_or_create(&context.data_dir.key())?.public();
        let visitor = Visitor::connect(&network).await?;
        let standing = ask(args, context, &network, &visitor, id).await;
        visitor.leave().await;
        standing
    })?;
    context.out.document(&standing.to_json())?;
    standing.tell(context)
}

async fn ask(
    args: &Args,
    context: &Context,
    network: &Verified<NetworkFile>,
    visitor: &Visitor,
    id: PublicKey,
) -> Result<Standing> {
    let (ledger, offers) = (visitor.ledger(), visitor.offers(1, OFFERS_TIME).await);
    Ok(Standing {
        id,
        network: network.id(),
        peers: visitor.net().peers().len(),
        offers,
        status: ledger.status().await?,
        account: ledger.checked_account(id).await?,
        devices: ledger.devices(id).await?.len(),
        stuck: ledger.limbo(id).await?,
        nodes: nodes(args, network, visitor).await?,
        results: Results::new(context.data_dir.results()).list()?.len(),
    })
}

impl Standing {
    /// The advert under this key, as others see it.
    fn own_offer(&self) -> Option<&Verified<Advert>> {
        self.offers.iter().find(|advert| advert.provider == self.id)
    }

    fn to_json(&self) -> Value {
        let (account, status) = (&self.account.said, &self.status);
        let nodes = self.nodes.iter().map(|node| node_json(node, highest(&self.nodes)));
        json!({
            "version": VERSION, "id": self.id.to_string(), "network": self.network.to_string(),
            "peers": self.peers, "offers": self.offers.len(),
            "offer": self.own_offer().map(|advert| offer_json(advert)),
            "selling": {
                "sessions": account.selling.sessions, "held": account.selling.held.0,
                "collected": account.selling.collected.0,
            },
            "balance": account.balance.0, "holds": account.holds.len(), "results": self.results,
            "proven": self.account.is_proven(), "devices": self.devices, "at_stake": at_stake(account).0,
            "limbo": limbo::document(&self.stuck),
            "ledger": {
                "height": status.height.0, "hash": status.hash.to_string(), "time": status.time.0,
                "age_ms": clock::now().since(status.time).0,
            },
            "nodes": nodes.collect::<Vec<_>>(),
        })
    }

    fn tell(&self, context: &Context) -> Result {
        let (out, account) = (&context.out, &self.account.said);
        out.line(format!("version  {VERSION}"))?;
        out.line(format!("account  {}", self.id))?;
        out.line(format!("balance  {} credits, {} holds", account.balance, account.holds.len()))?;
        out.line(format!("proven   {}", proven_line(&self.account)))?;
        out.line(format!("devices  {} registered, {} credits at stake", self.devices, at_stake(account)))?;
        limbo::report(context, self.id, &self.stuck)?;
        out.line(offer_text(self.own_offer()))?;
        out.line(selling_text(&account.selling))?;
        out.line(format!("network  {}", self.network))?;
        out.line(format!("seen     {} peers, {} offers", self.peers, self.offers.len()))?;
        let (height, hash) = (self.status.height.0, self.status.hash.short());
        let age = human_time::when(self.status.time, clock::now());
        out.line(format!("ledger   height {height}, block {hash} of {age}"))?;
        let nodes = self.nodes.iter().map(|node| node_text(node, highest(&self.nodes)));
        nodes.into_iter().try_for_each(|line| out.line(line))?;
        out.line(format!("results  {} kept here", self.results))
    }
}

fn offer_json(advert: &Advert) -> Value {
    json!({
        "sequence": advert.sequence, "slots_free": advert.slots_free, "expires_at": advert.expires_at.0,
        "models": advert.models.iter().map(|offer| offer.model.to_string()).collect::<Vec<_>>(),
        "ask_per_gpu_hour": advert.ask.to_string(),
    })
}

/// The advert under this key, as others see it.
fn offer_text(own: Option<&Verified<Advert>>) -> String {
    match own {
        None => "offer    none under this key".into(),
        Some(advert) if advert.models.is_empty() => "offer    withdrawn for now".into(),
        Some(advert) => {
            let (ask, free) = (advert.ask, advert.slots_free);
            format!("offer    {ask} credits a GPU-hour, {free} slots free, advert {}", advert.sequence)
        }
    }
}

fn selling_text(selling: &Selling) -> String {
    let Selling { sessions, held, collected } = selling;
    format!(
        "selling  {sessions} sessions open, {collected} credits collected of them, at most {held} to come"
    )
}

/// What the account would lose if all its devices were slashed.
fn at_stake(account: &Account) -> Credits {
    let is_stake = |hold: &&Hold| matches!(hold.purpose, Purpose::Bond { .. } | Purpose::Unbonding { .. });
    let parts = account.holds.iter().filter(is_stake).map(|hold| hold.amount);
    // All that was issued fits, so a node that says more is wrong anyway.
    Credits::sum(parts).unwrap_or(Credits(u64::MAX))
}

/// Asks every node of the network file, and those that were named, where each of them stands.
async fn nodes(args: &Args, network: &Verified<NetworkFile>, visitor: &Visitor) -> Result<Vec<Seen>> {
    let known = network.bootstrap.iter().filter_map(|text| text.parse::<Address>().ok()?.peer());
    let mut ids: BTreeSet<PublicKey> = known.collect();
    for address in &args.node {
        ids.insert(visitor.net().dial(address.clone()).await.map_err(CommandError::network)?);
    }
    let mut seen = Vec::new();
    for id in ids {
        let ledger = visitor.ledger().at(id);
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
