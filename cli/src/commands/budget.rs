//! `gridhour budget`: an organisation pays into a pot once, and its keys spend from it, each under a cap.

mod draw;
mod plan_file;
mod set;
mod show;

use clap::Subcommand;
use gridhour_contracts_sim::{
    state::{Budget, StateKey, StateValue},
    tx::Call,
};
use gridhour_node::drivers::ledger_client::LedgerClient;
use gridhour_protocol::{id::BudgetId, signed::PublicKey};
use serde_json::json;

pub use self::draw::{DrawOptions, Drawing};
use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::with_ledger,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour budget set --total 100 --period 30d --spender 3fb2a901…e1
  gridhour budget set --file acme.toml --pay-in 500
  gridhour budget show
  gridhour run \"Hello\" --budget 7d21a0c4 --cap research
  gridhour budget close 7d21a0c4            The pot comes home at once

A plan file is a tree of caps, each below one before it:
  period = \"30d\"
  for = \"365d\"
  [[cap]]
  name = \"acme\"
  amount = \"100\"
  [[cap]]
  name = \"alice\"
  parent = \"acme\"
  amount = \"10\"
  spender = \"3fb2a901…e1\"";

/// Give keys a budget: set, show and close pots with caps
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a budget or change its caps, and pay into its pot
    ///
    /// A budget that exists keeps its period and its caps in their places; caps are added at the end, and changed.
    Set(set::Args),
    /// Print a budget: pot, period, end, and of each cap what is used
    Show {
        /// The budget: its id, or how that begins [default: all that this account owns or may spend from]
        budget: Option<String>,
    },
    /// Pay the pot back to its owner; what sessions hold follows as they end
    Close {
        /// The budget: its id, or how that begins
        budget: String,
    },
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Set(args) => set::run(&args, context),
        Command::Show { budget } => show::run(context, budget.as_deref()),
        Command::Close { budget } => close(context, &budget),
    }
}

fn close(context: &Context, named: &str) -> Result {
    with_ledger(context, async |ledger, key| {
        let id = chosen(ledger, key.public(), named).await?;
        let budget = load(ledger, id).await?;
        let applied = ledger.submit(key, Call::CloseBudget { budget: id }).await?;
        context.out.document(&json!({
            "id": id.to_string(), "paid_back": budget.pot.0, "open": budget.open, "tx": applied.tx.to_string(),
            "height": applied.height.0,
        }))?;
        context.out.line(format!("{} credits are back with {}", budget.pot, budget.owner))?;
        match budget.open {
            0 => Ok(()),
            open => context.out.line(format!("{open} sessions are open; what they hold follows as they end")),
        }
    })
}

/// The budget whose id is `named`, or the one of this account's whose id begins so.
async fn chosen(ledger: &LedgerClient, account: PublicKey, named: &str) -> Result<BudgetId> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let named = named.to_lowercase();
    let mut found = ledger.budgets(account).await?;
    found.retain(|id| id.to_string().starts_with(&named));
    match found[..] {
        [id] => Ok(id),
        [] => Err(CommandError::refused(format!("no budget of {account} begins with {named:?}"))
            .hint("`gridhour budget show` lists those that this account owns or may spend from")),
        _ => Err(CommandError::usage(format!("{} budgets begin with {named:?}", found.len()))
            .hint("give more of the id")),
    }
}

/// The budget as it is now.
async fn load(ledger: &LedgerClient, id: BudgetId) -> Result<Budget> {
    match ledger.record(StateKey::Budget(id)).await? {
        Some(StateValue::Budget(budget)) => Ok(*budget),
        _ => Err(CommandError::refused(format!("there is no budget {id}: it was closed, or never made"))),
    }
}

/// Where the names of a budget's caps are kept: the ledger knows their places alone.
fn names_of(context: &Context, id: BudgetId) -> Vec<String> {
    let text = std::fs::read_to_string(context.data_dir.budget_names(id)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
