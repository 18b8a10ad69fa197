//! `gridhour doctor`: looks a data directory over, and asks others how its node looks from outside.

mod finding;
mod ledger;
mod local;
mod offer;

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{drivers::visitor::Visitor, net::Address};
use gridhour_protocol::signed::{SecretKey, Verified};
use serde_json::json;

use self::finding::{Finding, State};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    joined::runtime,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour doctor
  gridhour --data-dir me doctor --json | jq '.checks[] | select(.state == \"failed\")'
  gridhour doctor --node /ip4/192.0.2.8/tcp/4803/p2p/12D3KooW...   Also ask this observer

Run it beside the node, on the same machine. Exit code 1 if a check failed.";

/// Look this machine's node over: key, disk, models, ledger, clock, offer, reachability
///
/// Others are asked: the nodes of the network file, and those that are named. They dial the ports that the node's own
/// advert names, at the address that this question comes from, and at no other.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Also ask the ledger node or observer at this multiaddress, which ends in /p2p/PEER; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    node: Vec<Address>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let (key, mut findings) = local::look(context);
    let (network, about) = local::network(context);
    findings.push(about);
    match network.zip(key) {
        Some((network, key)) => findings.extend(runtime()?.block_on(outside(args, &network, &key))?),
        None => {
            let why = "it takes a key and a network file to ask";
            findings.push(Finding::skipped(ledger::REACHED, why));
            findings.extend(unasked(why));
        }
    }
    report(context, &findings)
}

/// What others say.
async fn outside(args: &Args, network: &Verified<NetworkFile>, key: &SecretKey) -> Result<Vec<Finding>> {
    let visitor = match Visitor::connect(network).await {
        Ok(visitor) => visitor,
        Err(error) => {
            let todo = "start the ledger node or an observer, and see that its port is open";
            let mut findings = vec![Finding::failed(ledger::REACHED, error, todo)];
            findings.extend(unasked("nobody of the network answers"));
            return Ok(findings);
        }
    };
    let nodes = ledger::nodes(args, network, &visitor).await;
    let mut findings = ledger::look(network, &nodes).await;
    findings.extend(offer::look(key.public(), visitor.ledger(), &nodes, network).await);
    visitor.leave().await;
    Ok(findings)
}

/// The checks that others would answer, and why they were not asked.
fn unasked(why: &str) -> impl Iterator<Item = Finding> {
    let names = [ledger::HISTORY, offer::CLOCK, offer::SEEN, offer::PORTS];
    names.into_iter().map(move |name| Finding::skipped(name, why))
}

fn report(context: &Context, findings: &[Finding]) -> Result {
    let failed = findings.iter().filter(|finding| finding.state == State::Failed).count();
    let checks: Vec<_> = findings.iter().map(Finding::to_json).collect();
    context.out.document(&json!({ "ok": failed == 0, "checks": checks }))?;
    for finding in findings {
        finding.lines().into_iter().try_for_each(|line| context.out.line(line))?;
    }
    match failed {
        0 => Ok(()),
        count => Err(CommandError::silent(Kind::Refused, format!("{count} checks failed"))),
    }
}
