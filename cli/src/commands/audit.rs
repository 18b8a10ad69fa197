//! `gridhour audit`: the whole ledger as a file, and the check of all of it.

mod accuse;
pub mod balance;
mod consistency;
mod export;
mod kept;
mod pin;
mod quorum;
mod reading;
mod replay;
mod rerun;
mod verify;
mod witness;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use gridhour_contracts_sim::{
    audit::{Auditor, Report, Trust},
    state::State,
};
use gridhour_node::clock;
use serde_json::{Value, json};

pub use self::export::write_export;
use self::{
    accuse::AccuseArgs,
    consistency::{ConsistencyArgs, FraudArgs},
    reading::Reading,
    replay::ReplayArgs,
    rerun::RerunArgs,
    verify::VerifyArgs,
    witness::WitnessArgs,
};
use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::network,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour audit export --out ledger.export
  gridhour audit verify ledger.export --network network.json
  gridhour audit verify ledger.export --save-checkpoint seen.txt
  gridhour audit verify later.export --checkpoint seen.txt --json | jq .ok
  gridhour audit verify --checkpoint http://192.0.2.7:4880 --json | jq .witnesses
  gridhour audit replay --to 1200 ledger.export --account 5f1c…09
  gridhour audit rerun --sample 0.05
  gridhour audit verify-balance balance.proof --network network.json
  gridhour audit verify-consistency http://192.0.2.7:4880 http://198.51.100.3:4880";

/// Export the ledger, and check every credit on it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the whole ledger from its node into a file
    Export {
        /// Write here [default: ledger.export in the data directory]
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Compare two signed checkpoints: is the shorter log a beginning of the longer?
    ///
    /// Exits 1 if they show two histories, and writes the proof of it, which anyone can check with `verify-fraud`.
    VerifyConsistency(ConsistencyArgs),
    /// Cosign a ledger's checkpoints, each if it continues the one that was cosigned last
    Witness(WitnessArgs),
    /// Show that a provider signed two receipts that cannot both be true, and have its stake taken
    Accuse(AccuseArgs),
    /// Check a proof that an operator signed two histories
    VerifyFraud(FraudArgs),
    /// Check a ledger: signatures, hash chain, rules, conservation, roots
    ///
    /// Exits 1 if anything is wrong, naming height and rule. What the answer rests on is said: a network file or a
    /// checkpoint that you had before, or only the export itself. An audit that is interrupted goes on where it stood when
    /// the same command is given again.
    Verify(VerifyArgs),
    /// Replay a ledger up to one block: what was issued, held and owned then, and the root of it
    ///
    /// Exits 1 if anything is wrong up to there. What follows is not looked at.
    Replay(ReplayArgs),
    /// Compute a sample of the results kept here again, and say how much a cheat could have hidden from it
    ///
    /// All results are checked against their receipts and against the ledger first. Exits 1 if one is false, naming its
    /// receipt.
    Rerun(RerunArgs),
    /// Check the proof of one balance that `account show --proof` wrote; works offline
    ///
    /// Exits 1 if nothing is proven. The balance is that of the checkpoint that the proof ends at; how old it is, is said.
    VerifyBalance(balance::Args),
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Export { out } => export::run(out, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Replay(args) => replay::run(&args, context),
        Command::Rerun(args) => rerun::run(&args, context),
        Command::VerifyBalance(args) => balance::run(&args, context),
        Command::VerifyConsistency(args) => consistency::verify(&args, context),
        Command::Accuse(args) => accuse::run(&args, context),
        Command::Witness(args) => witness::run(&args, context),
        Command::VerifyFraud(args) => consistency::verify_fraud(&args, context),
    }
}

/// Audits the export at `path`, a piece at a time.
pub fn audit_file(path: &Path, trust: Trust) -> Result<(Report, Option<State>)> {
    let mut auditor = Auditor::new(trust).with_clock(clock::now());
    push_file(path, &mut auditor)?;
    Ok(auditor.finish())
}

/// Gives the file at `path` to an audit, a piece at a time.
pub fn push_file(path: &Path, auditor: &mut Auditor) -> Result {
    let mut reading = Reading::open(path)?;
    reading.pieces(u64::MAX, |piece| auditor.push(piece))
}

/// The state of the ledger that was last exported to the data directory, checked against its network. `None` without
/// an export.
pub fn offline_state(context: &Context) -> Result<Option<State>> {
    let path = context.data_dir.ledger_export();
    if !path.exists() {
        return Ok(None);
    }
    let trust = Trust::Genesis(network(context, None)?.id());
    let (report, state) = audit_file(&path, trust)?;
    match report.findings.first() {
        None => Ok(state),
        Some(finding) => Err(CommandError::refused(format!(
            "the ledger in {} is not in order: {} at height {}",
            path.display(),
            finding.rule.name(),
            finding.height.0
        ))),
    }
}

/// What an audit rests on: the network in `file`, else the one of the data directory, else nothing.
fn trust(file: Option<&Path>, context: &Context) -> Result<Trust> {
    if file.is_none() && !context.data_dir.network().exists() {
        return Ok(Trust::SelfTrust);
    }
    Ok(Trust::Genesis(network(context, file)?.id()))
}

/// The file's bytes, if there are not too many.
pub fn read_at_most(path: &Path, max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| CommandError::file(path, &error))?;
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(|error| CommandError::file(path, &error))?;
    if bytes.len() > max {
        return Err(CommandError::usage(format!("{} is over {max} bytes", path.display())));
    }
    Ok(bytes)
}

/// The report as scripts read it.
pub fn document(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "height": finding.height.0, "rule": finding.rule.name(), "expected": finding.expected,
            "found": finding.found,
        })
    });
    json!({
        "ok": report.ok, "height": report.height.0, "root": report.root.to_string(),
        "transactions": report.transactions, "receipts": report.receipts, "issued": report.issued.0,
        "balances": report.balances.0, "holds": report.holds.0, "stakes": report.stakes.0,
        "findings": findings.collect::<Vec<_>>(),
        "trust": report.trust.name(), "checked": report.checked(),
        "resumed": report.resumed.map(|at| json!({ "height": at.height.0, "transactions": at.transactions })),
    })
}

/// Numbers, what they rest on, and what is wrong, for people.
fn tell(context: &Context, report: &Report) -> Result {
    let out = context.out;
    out.line(format!("height        {} (block {})", report.height.0, report.root))?;
    out.line(format!("transactions  {}, receipts {}", report.transactions, report.receipts))?;
    let Report { issued, balances, holds, stakes, .. } = report;
    out.line(format!(
        "credits       {issued} issued = {balances} in balances + {holds} held + {stakes} at stake"
    ))?;
    out.line(format!("rests on      {}", rests_on(&report.trust)))?;
    for finding in &report.findings {
        let (height, rule) = (finding.height.0, finding.rule.name());
        out.line(format!(
            "WRONG at height {height}: {rule}: expected {}, found {}",
            finding.expected, finding.found
        ))?;
    }
    Ok(())
}

fn rests_on(trust: &Trust) -> &'static str {
    match trust {
        Trust::Genesis(_) => "the network file: its operator signed every block",
        Trust::Checkpoint(_) => "a block that you saw before",
        Trust::SelfTrust => "nothing but the file itself; pin a network with --network FILE",
    }
}
