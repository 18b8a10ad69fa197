//! `gridhour audit replay`: a ledger as it stood after one block.

use std::path::{Path, PathBuf};

use gridhour_contracts_sim::{
    audit::{Auditor, Report},
    state::State,
};
use gridhour_node::{clock, drivers::validator::account_of};
use gridhour_protocol::{id::to_hex, note::to_base64, signed::PublicKey, units::Height};
use serde_json::{Value, json};

use super::{document, export::Source, reading::Reading, tell, trust, verify::save_checkpoint};
use crate::{
    commands::account::named,
    context::Context,
    error::{CommandError, Kind, Result},
    human_time::when,
    output::Table,
};

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The export [default: fetched from the ledger node; if nobody answers, the one in the data directory]
    file: Option<PathBuf>,

    /// Stop behind this block; 0 is the genesis
    #[arg(long, value_name = "HEIGHT")]
    to: u64,

    /// Tell what this account had and what was held for it then
    #[arg(long, value_name = "ID")]
    account: Option<PublicKey>,

    /// Pin the network in this file [default: the data directory's, if it has one]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,

    /// Write the block as a checkpoint for later audits
    #[arg(long, value_name = "FILE")]
    save_checkpoint: Option<PathBuf>,
}

pub(super) fn run(args: &ReplayArgs, context: &Context) -> Result {
    let source = Source::find(args.file.as_deref(), context)?;
    let auditor = Auditor::new(trust(args.network.as_deref(), context)?).until(Height(args.to));
    let (report, state) = replayed(auditor, &source.path, context)?;
    let Some(state) = state.filter(|_| report.ok) else {
        context.out.document(&document(&report))?;
        tell(context, &report)?;
        context.out.line(format!("NOT in order before block {}", args.to))?;
        return Err(CommandError::silent(Kind::Refused, format!("{} findings", report.findings.len())));
    };
    let end = state.tip().height.0;
    if end < args.to {
        let message = format!("the ledger ends at block {end}; there is no block {}", args.to);
        return Err(CommandError::refused(message).hint(format!("ask for --to {end}, or for a later export")));
    }
    let mut answer = as_of(&report, &state, args.account);
    answer["source"] = source.document();
    context.out.document(&answer)?;
    context.out.line(format!("ledger        {}", source.text()))?;
    say(context, &report, &state, args.account)?;
    save_checkpoint(args.save_checkpoint.as_deref(), &state)
}

/// Reads the file until the audit is over. A file that cannot be read is an audit that failed.
fn replayed(mut auditor: Auditor, file: &Path, context: &Context) -> Result<(Report, Option<State>)> {
    let refuse = |error| CommandError { kind: Kind::Refused, ..error };
    let mut reading = Reading::open(file).and_then(|reading| reading.with_bar(context)).map_err(refuse)?;
    while !auditor.is_over() {
        let piece = reading.next(u64::MAX).map_err(refuse)?;
        if piece.is_empty() {
            break;
        }
        auditor.push(piece);
        reading.show(format!("replay: block {}", auditor.height().0));
    }
    Ok(auditor.finish())
}

fn as_of(report: &Report, state: &State, account: Option<PublicKey>) -> Value {
    let tip = state.tip();
    let mut answer = document(report);
    answer["time"] = json!(tip.time.0);
    answer["log"] = json!({ "size": tip.log.size(), "root": to_base64(&tip.log.root()) });
    answer["state_root"] = json!(to_hex(&state.root()));
    answer["account"] = account.map_or(Value::Null, |id| account_json(state, id));
    answer
}

fn account_json(state: &State, id: PublicKey) -> Value {
    let known = account_of(state, &id);
    let holds = known.holds.iter().map(|hold| {
        let (id, purpose) = named(&hold.purpose, PublicKey::to_string);
        json!({ "id": id, "amount": hold.amount.0, "purpose": purpose, "deadline": hold.deadline.0 })
    });
    json!({ "id": id.to_string(), "balance": known.balance.0, "holds": holds.collect::<Vec<_>>() })
}

fn say(context: &Context, report: &Report, state: &State, account: Option<PublicKey>) -> Result {
    let (out, tip) = (context.out, state.tip());
    tell(context, report)?;
    out.line(format!("time          {}, by the ledger", when(tip.time, clock::now())))?;
    out.line(format!("log           {} entries, root {}", tip.log.size(), to_base64(&tip.log.root())))?;
    out.line(format!("state root    {}", to_hex(&state.root())))?;
    if let Some(id) = account {
        say_account(context, state, id)?;
    }
    out.line(format!("all in order up to block {}; what follows was not looked at", tip.height.0))
}

fn say_account(context: &Context, state: &State, id: PublicKey) -> Result {
    let known = account_of(state, &id);
    context.out.line(format!("account       {id}"))?;
    context.out.line(format!("balance       {} credits", known.balance))?;
    let mut table = Table::new(["held for", "what", "held", "released at"]);
    for hold in &known.holds {
        let (id, purpose) = named(&hold.purpose, PublicKey::short);
        let deadline = when(hold.deadline, state.tip().time);
        table.row([id.chars().take(8).collect(), purpose, hold.amount.to_string(), deadline]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}
