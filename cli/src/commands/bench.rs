//! `gridhour bench`: how fast this machine is.

mod audit;
mod engine;
mod first_token;
mod gossip;
mod ledger;
mod market;
mod matching;
mod matrix;

use clap::Subcommand;

use crate::{context::Context, error::Result};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench engine
  gridhour bench engine --threads 2 --prefill 256 --decode 64 --json
  gridhour bench ledger --json
  gridhour bench gossip --nodes 1000
  gridhour bench market --seeds 4
  gridhour bench audit --transactions 1000000
  gridhour bench match --json
  gridhour bench first-token";

/// Measure this machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Engine(engine::Args),
    Ledger(ledger::Args),
    Gossip(gossip::Args),
    Audit(audit::Args),
    Market(market::Args),
    Match(matching::Args),
    FirstToken(Box<first_token::Args>),
}

pub fn run(args: &Args, context: &Context) -> Result {
    match &args.command {
        Command::Engine(args) => engine::run(args, context),
        Command::Ledger(args) => ledger::run(args, context),
        Command::Gossip(args) => gossip::run(args, context),
        Command::Audit(args) => audit::run(args, context),
        Command::Market(args) => market::run(args, context),
        Command::Match(args) => matching::run(args, context),
        Command::FirstToken(args) => first_token::run(args, context),
    }
}
