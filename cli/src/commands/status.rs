//! `gridhour status`: what I am, and how it goes.

use std::time::Duration;

use serde_json::json;

use super::account::proven_line;
use crate::{context::Context, error::Result, joined::with_client};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour status
  gridhour status --json";

/// How long to wait for offers.
const OFFERS_TIME: Duration = Duration::from_secs(3);

/// Print what I am and how it goes: account, network, peers, offers, ledger
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

pub fn run(_: &Args, context: &Context) -> Result {
    with_client(context, async |client, _| {
        let offers = client.offers(1, OFFERS_TIME).await.len();
        let status = client.ledger().status().await?;
        let checked = client.ledger().checked_account(client.id()).await?;
        let account = &checked.said;
        let peers = client.net().peers().len();
        let results = client.results().list()?.len();
        context.out.document(&json!({
            "id": client.id().to_string(), "network": client.network().to_string(), "peers": peers,
            "offers": offers, "balance": account.balance.0, "holds": account.holds.len(), "results": results,
            "proven": checked.is_proven(),
            "ledger": { "height": status.height.0, "hash": status.hash.to_string(), "time": status.time.0 },
        }))?;
        context.out.line(format!("account  {}", client.id()))?;
        context.out.line(format!("balance  {} credits, {} holds", account.balance, account.holds.len()))?;
        context.out.line(format!("proven   {}", proven_line(&checked)))?;
        context.out.line(format!("network  {}", client.network()))?;
        context.out.line(format!("seen     {peers} peers, {offers} offers"))?;
        context.out.line(format!("ledger   height {}, block {}", status.height.0, status.hash.short()))?;
        context.out.line(format!("results  {results} kept here"))
    })
}
