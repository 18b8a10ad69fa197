//! `gridhour provider stake`: what is at stake for a device, and how it gets there and home.

use clap::Subcommand;
use gridhour_contracts_sim::{
    limits::{BOND_MS_MAX, UNBOND_DELAY},
    tx::Call,
};
use gridhour_node::{
    clock,
    drivers::ledger_client::{LedgerClient, LedgerError},
};
use gridhour_protocol::{
    signed::SecretKey,
    units::{Credits, Millis, Timestamp},
};
use serde_json::json;

use super::devices::{Listed, chosen, list, stake_json, stake_text};
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::{parse_span, span, when},
    joined::with_ledger,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour provider stake show
  gridhour provider stake bond 50 --for 90d
  gridhour provider stake bond 0 --for 180d     Move the end alone
  gridhour provider stake unbond --all
  gridhour provider stake withdraw --json

What is at stake is lost if two receipts of the device contradict each other. A running provider
with --stake keeps its stake by itself: restart it without before you unbond.";

/// Show what is at stake, put credits at stake, and take them back
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// The device: its id, or how that begins [default: the only one]
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what is at stake for this provider's devices, until when, and what is on its way back
    Show,
    /// Put AMOUNT credits more at stake, or with 0 move the end of what is bonded
    Bond {
        /// Credits, such as 50; at least 1, or 0
        amount: Credits,

        /// From now on for so long at least; an end that is further ahead stays
        #[arg(long = "for", value_name = "SPAN", default_value = "90d", value_parser = parse_span)]
        span: Millis,
    },
    /// Begin to take AMOUNT credits back; they stay at stake for 16 days
    Unbond {
        /// Credits, such as 20
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        amount: Option<Credits>,

        /// All that is bonded
        #[arg(long)]
        all: bool,
    },
    /// Have paid out what is due of what was unbonded
    Withdraw,
}

/// Whoever asks: the ledger, and the account whose stakes it is about.
struct Asker<'a> {
    context: &'a Context,
    ledger: &'a LedgerClient,
    key: &'a SecretKey,
}

pub fn run(args: &Args, context: &Context) -> Result {
    with_ledger(context, async |ledger, key| {
        let asker = Asker { context, ledger, key };
        let device = async || chosen(ledger, key.public(), args.device.as_deref()).await;
        match &args.command {
            Command::Show => show(args, &asker).await,
            Command::Bond { amount, span } => bond(&asker, &device().await?, *amount, *span).await,
            Command::Unbond { amount, .. } => unbond(&asker, &device().await?, *amount).await,
            Command::Withdraw => withdraw(&asker, &device().await?).await,
        }
    })
}

async fn show(args: &Args, asker: &Asker<'_>) -> Result {
    let (context, account) = (asker.context, asker.key.public());
    let named = args.device.as_deref().unwrap_or("").to_lowercase();
    let mut listed = list(asker.ledger, account).await?;
    listed.retain(|listed| listed.id.to_string().starts_with(&named));
    let documents = listed.iter().map(|listed| {
        let stake = listed.stake.as_ref().map(stake_json);
        json!({ "device": listed.id.to_string(), "stake": stake, "proven": listed.proven })
    });
    let total = Credits::sum(listed.iter().map(Listed::total)).unwrap_or(Credits(u64::MAX));
    context.out.document(&json!({
        "account": account.to_string(), "at_stake": total.0, "stakes": documents.collect::<Vec<_>>(),
    }))?;
    context.out.line(format!("{total} credits at stake for {} devices of {}", listed.len(), account))?;
    for listed in &listed {
        context.out.line(format!("device   {}", listed.id))?;
        stake_text(listed.stake.as_ref()).iter().try_for_each(|line| context.out.line(line))?;
    }
    Ok(())
}

async fn bond(asker: &Asker<'_>, listed: &Listed, amount: Credits, length: Millis) -> Result {
    if !(1..=BOND_MS_MAX).contains(&length.0) {
        return Err(CommandError::usage(format!("a bond for {} cannot be made", span(length)))
            .hint(format!("at most {} ahead", span(Millis(BOND_MS_MAX)))));
    }
    let until = clock::now().after(length).unwrap_or(Timestamp(u64::MAX));
    let call = Call::Bond { device: listed.id, amount, until };
    submit(asker, listed, call).await?;
    let until = listed
        .stake
        .as_ref()
        .filter(|stake| stake.bonded != Credits::ZERO)
        .map_or(until, |stake| stake.until.max(until));
    asker
        .context
        .out
        .line(format!("{amount} credits more are at stake; the bond ends {}", when(until, clock::now())))
}

async fn unbond(asker: &Asker<'_>, listed: &Listed, amount: Option<Credits>) -> Result {
    let bonded = listed.stake.as_ref().map_or(Credits::ZERO, |stake| stake.bonded);
    let amount = amount.unwrap_or(bonded);
    submit(asker, listed, Call::Unbond { device: listed.id, amount }).await?;
    let now = clock::now();
    let home = now.after(UNBOND_DELAY).unwrap_or(now);
    asker.context.out.line(format!(
        "{amount} credits are on their way back, and still at stake until {}",
        when(home, now)
    ))?;
    asker
        .context
        .out
        .line("then anyone may send them home: `gridhour provider stake withdraw`, or the ledger node does")
}

async fn withdraw(asker: &Asker<'_>, listed: &Listed) -> Result {
    submit(asker, listed, Call::Withdraw { device: listed.id }).await?;
    asker.context.out.line("what was due is back in the account")
}

/// Has the ledger apply `call`, and reports the block that holds it; with what to do if it refuses.
async fn submit(asker: &Asker<'_>, listed: &Listed, call: Call) -> Result {
    let name = call.name();
    let applied = asker.ledger.submit(asker.key, call).await;
    let applied = applied.map_err(|error| advised(error, listed))?;
    asker.context.out.document(&json!({
        "call": name, "device": listed.id.to_string(), "tx": applied.tx.to_string(), "height": applied.height.0,
    }))
}

fn advised(error: LedgerError, listed: &Listed) -> CommandError {
    let hint = match &error {
        LedgerError::Rejected { name, .. } => hint(name, listed),
        _ => None,
    };
    let error = CommandError::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What to do about a refusal of the ledger.
fn hint(name: &str, listed: &Listed) -> Option<String> {
    let now = clock::now();
    let stake = listed.stake.as_ref();
    match name {
        "insufficient-balance" => {
            Some("`gridhour account show` says what the account has; fund it first".into())
        }
        "unknown-device" => Some("start the provider, which registers its device, or renew its entry".into()),
        "over-stake" => stake.map(|stake| format!("{} credits are bonded", stake.bonded)),
        "nothing-due" => {
            let first = stake.and_then(|stake| stake.unbonding.first())?;
            Some(format!("the next {} credits are due {}", first.amount, when(first.release_at, now)))
        }
        "device-barred" => {
            let until = stake.and_then(|stake| stake.barred_until)?;
            Some(format!("it can be staked for again {}", when(until, now)))
        }
        "unbondings-full" => Some("withdraw what is due, or unbond in fewer parts".into()),
        _ => None,
    }
}
