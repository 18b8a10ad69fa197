//! `gridhour local`: which providers are this user's own machines.

use std::collections::BTreeSet;

use clap::Subcommand;
use gridhour_node::{
    keys,
    own_machines::{self, OwnError},
};
use gridhour_protocol::signed::PublicKey;
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Result},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour local add 3fb2a901…e1
  gridhour local list
  gridhour run \"Summarise my notes.\" --local-only

A provider's account is what `gridhour key show` prints where it runs. Orders go to your own machines as long as they are
in time, whatever they ask, and to the market when their queues would break an order's limits. What is ordered with
--local-only goes to them and to nobody else. You alone say which machines are yours: nothing that a provider says makes
it one of them.";

/// Say which providers are your own machines: orders go there first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add providers, by their accounts
    Add {
        /// The account of a provider of yours; it pays nobody if it is the account that orders, so it needs its own
        #[arg(required = true)]
        accounts: Vec<PublicKey>,
    },
    /// Take providers off the list
    Remove {
        /// Accounts that are on it
        #[arg(required = true)]
        accounts: Vec<PublicKey>,
    },
    /// Print the list
    List,
}

pub fn run(args: Args, context: &Context) -> Result {
    let path = context.data_dir.own_machines();
    let own = match args.command {
        Command::Add { accounts } => {
            check_sellers(&accounts, context)?;
            own_machines::change(&path, |own| {
                own.extend(accounts);
                Ok::<_, OwnError>(())
            })?
        }
        Command::Remove { accounts } => own_machines::change(&path, |own| {
            if let Some(unknown) = accounts.iter().find(|account| !own.contains(account)) {
                return Err(CommandError::usage(format!("{unknown} is not on the list"))
                    .hint("`gridhour local list` prints it"));
            }
            own.retain(|account| !accounts.contains(account));
            Ok(())
        })?,
        Command::List => own_machines::load(&path)?,
    };
    report(context, &own)
}

/// Nobody sells to itself: the ledger opens no session between an account and itself.
fn check_sellers(accounts: &[PublicKey], context: &Context) -> Result {
    let Ok(key) = keys::load(&context.data_dir.key()) else { return Ok(()) };
    match accounts.contains(&key.public()) {
        true => Err(CommandError::usage("this is the account that orders, and nobody sells to itself")
            .hint("run the provider with a data directory, and so a key, of its own")),
        false => Ok(()),
    }
}

fn report(context: &Context, own: &BTreeSet<PublicKey>) -> Result {
    let accounts: Vec<String> = own.iter().map(ToString::to_string).collect();
    context.out.document(&json!({ "own": accounts, "path": context.data_dir.own_machines() }))?;
    if accounts.is_empty() {
        return context.out.line("no provider is listed as your own");
    }
    accounts.iter().try_for_each(|account| context.out.line(account))
}
