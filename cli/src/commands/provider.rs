//! `gridhour provider`: what the ledger knows of an account's devices, and what is at stake for them.

mod devices;
mod stake;

use clap::Subcommand;
use gridhour_protocol::signed::PublicKey;

use crate::{context::Context, error::Result};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour provider devices                 What the ledger knows of this provider's devices
  gridhour provider devices 3fb2a901…e1     Of another's
  gridhour provider stake show
  gridhour provider stake bond 50 --for 90d
  gridhour provider stake unbond 20         On its way back for 16 days, and still at stake
  gridhour provider stake withdraw          What is due comes home";

/// See and change what a provider has on the ledger: devices, stakes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the registered devices of an account, who measured them, and what is at stake for each
    Devices {
        /// The account [default: this data directory's]
        account: Option<PublicKey>,
    },
    /// Show what is at stake, put credits at stake, and take them back
    Stake(stake::Args),
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Devices { account } => devices::run(context, account),
        Command::Stake(args) => stake::run(&args, context),
    }
}
