//! `gridhour issuer`: bring credits in and out. Only the data directory where the network was made has the key.

use clap::Subcommand;
use gridhour_contracts_sim::tx::Call;
use gridhour_node::keys;
use gridhour_protocol::{signed::PublicKey, units::Credits};
use serde_json::json;

use crate::{context::Context, error::Result, joined::with_ledger};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour issuer mint 3f9c…e1 25
  gridhour issuer burn 10";

/// Bring credits into existence and out of it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mint AMOUNT new credits into an account
    Mint {
        /// The account: 64 hexadecimal digits
        account: PublicKey,
        /// Credits, such as 2.5
        amount: Credits,
    },
    /// Burn AMOUNT credits of the issuer's own account
    Burn {
        /// Credits, such as 2.5
        amount: Credits,
    },
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Mint { account, amount } => issue(context, Call::Mint { to: account, amount }),
        Command::Burn { amount } => issue(context, Call::Burn { amount }),
    }
}

/// Has the issuer's key sign `call`, and reports the block that holds it.
pub fn issue(context: &Context, call: Call) -> Result {
    let issuer = keys::load(&context.data_dir.issuer_key())?;
    let name = call.name();
    let applied = with_ledger(context, async |ledger, _| Ok(ledger.submit(&issuer, call).await?))?;
    context
        .out
        .document(&json!({ "call": name, "tx": applied.tx.to_string(), "height": applied.height.0 }))?;
    context.out.line(format!(
        "{name} applied at height {} (transaction {})",
        applied.height.0,
        applied.tx.short()
    ))
}
