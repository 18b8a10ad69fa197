//! `gridhour account`: balances, holds with their deadlines, and credits from the issuer.

use clap::Subcommand;
use gridhour_contracts_sim::tx::Call;
use gridhour_node::{
    clock, keys,
    rpc::{Account, Purpose},
};
use gridhour_protocol::{
    signed::PublicKey,
    units::{Credits, Height},
};
use serde_json::json;

use super::{audit::offline_state, issuer::issue};
use crate::{
    context::Context,
    error::{Kind, Result},
    joined::with_client,
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour account show
  gridhour account show --json | jq .balance
  gridhour account fund 25                   Where the network was made: mint into this account";

/// Show and fund accounts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what an account can spend, and what is held for its sessions until when
    ///
    /// Asks the ledger; if nobody answers, reads the ledger that was last exported to the data directory, and says so.
    Show {
        /// The account [default: this data directory's]
        account: Option<PublicKey>,
    },
    /// Mint AMOUNT credits into an account; needs the issuer's key
    Fund {
        /// Credits, such as 25
        amount: Credits,
        /// The account [default: this data directory's]
        #[arg(long)]
        to: Option<PublicKey>,
    },
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Show { account } => show(context, account),
        Command::Fund { amount, to } => {
            let to = own_or(context, to)?;
            issue(context, Call::Mint { to, amount })
        }
    }
}

fn own_or(context: &Context, account: Option<PublicKey>) -> Result<PublicKey> {
    match account {
        Some(account) => Ok(account),
        None => Ok(keys::load_or_create(&context.data_dir.key())?.public()),
    }
}

fn show(context: &Context, account: Option<PublicKey>) -> Result {
    let id = own_or(context, account)?;
    let asked = with_client(context, async |client, _| {
        let height = client.ledger().status().await?.height;
        Ok((client.ledger().account(id).await?, height))
    });
    let (account, height, source) = match asked {
        Ok((account, height)) => (account, height, "ledger"),
        Err(error) if error.kind == Kind::Network => match offline_state(context)? {
            Some(state) => {
                (gridhour_node::drivers::validator::account_of(&state, &id), state.tip().height, "export")
            }
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    report(context, id, &account, height, source)
}

fn report(context: &Context, id: PublicKey, account: &Account, height: Height, source: &str) -> Result {
    let holds = account.holds.iter().map(|hold| {
        let (id, purpose) = named(&hold.purpose, PublicKey::to_string);
        json!({ "id": id, "amount": hold.amount.0, "purpose": purpose, "deadline": hold.deadline.0 })
    });
    context.out.document(&json!({
        "id": id.to_string(), "balance": account.balance.0, "holds": holds.collect::<Vec<_>>(),
        "height": height.0, "source": source,
    }))?;
    let from = if source == "export" { "the exported ledger" } else { "the ledger" };
    context.out.line(format!("account  {id}"))?;
    context.out.line(format!("balance  {} credits (from {from} at height {})", account.balance, height.0))?;
    if account.holds.is_empty() {
        return context.out.line("held     nothing");
    }
    let mut table = Table::new(["held for", "what", "held", "released in"]);
    for hold in &account.holds {
        let left = hold.deadline.since(clock::now()).0 / 1_000;
        let (id, purpose) = named(&hold.purpose, PublicKey::short);
        table.row([id.chars().take(8).collect(), purpose, hold.amount.to_string(), format!("{left} s")]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

/// The id of what a hold is for, and what that is, with keys as `key` writes them.
fn named(purpose: &Purpose, key: impl Fn(&PublicKey) -> String) -> (String, String) {
    match purpose {
        Purpose::Session { session, provider } => {
            (session.to_string(), format!("session with provider {}", key(provider)))
        }
        Purpose::Budget { budget } => (budget.to_string(), "pot of a budget".into()),
        Purpose::Bond { device } => (device.to_string(), "stake of a device".into()),
        Purpose::Unbonding { device } => (device.to_string(), "stake on its way back".into()),
    }
}
