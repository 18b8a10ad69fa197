//! `gridhour audit`: the whole ledger as a file, and the check of all of it.

mod accuse;
pub mod balance;
mod consistency;
mod pin;
mod quorum;
mod witness;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use gridhour_contracts_sim::{
    audit::{Auditor, Report, Trust},
    checkpoint::Checkpoint,
    export::{block_frame, closing, opening},
    state::State,
    witnesses::{LogKeys, Quorum},
};
use gridhour_node::clock;
use gridhour_protocol::units::Height;
use serde_json::{Value, json};

use self::{
    accuse::AccuseArgs,
    consistency::{ConsistencyArgs, FraudArgs},
    pin::Pin,
    witness::WitnessArgs,
};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    joined::{network, with_client},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour audit export --out ledger.export
  gridhour audit verify ledger.export --network network.json
  gridhour audit verify ledger.export --save-checkpoint seen.txt
  gridhour audit verify later.export --checkpoint seen.txt --json | jq .ok
  gridhour audit verify --checkpoint http://192.0.2.7:4880 --json | jq .witnesses
  gridhour audit verify-balance balance.proof --network network.json
  gridhour audit verify-consistency http://192.0.2.7:4880 http://198.51.100.3:4880";

/// Bytes of the file that are read at once.
const PIECE_BYTES: usize = 1 << 20;

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
    /// Replay a ledger: signatures, hash chain, rules, conservation, roots
    ///
    /// Exits 1 if anything is wrong, naming height and rule. What the answer rests on is said: a network file or a
    /// checkpoint that you had before, or only the export itself.
    Verify(VerifyArgs),
    /// Check the proof of one balance that `account show --proof` wrote; works offline
    ///
    /// Exits 1 if nothing is proven. The balance is that of the checkpoint that the proof ends at; how old it is, is said.
    VerifyBalance(balance::Args),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The export [default: fetched from the ledger node; if nobody answers, the one in the data directory]
    file: Option<PathBuf>,

    /// Pin the network in this file [default: the data directory's, if it has one]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,

    /// Pin a checkpoint that was seen before: a file of `--save-checkpoint`, or a note that the operator signed, as a
    /// file or as the URL of a public log. Of a note, the network's witnesses must have cosigned as many as it requires
    #[arg(long, value_name = "FILE|URL")]
    checkpoint: Option<String>,

    /// Take a checkpoint that too few witnesses have cosigned
    #[arg(long, requires = "checkpoint")]
    allow_unwitnessed: bool,

    /// When all is well, write the last block as a checkpoint for later audits
    #[arg(long, value_name = "FILE")]
    save_checkpoint: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Export { out } => {
            let out = out.unwrap_or_else(|| context.data_dir.ledger_export());
            let (height, bytes) = export(context, &out)?;
            context.out.document(&json!({ "path": out, "height": height.0, "bytes": bytes }))?;
            context.out.line(format!("{} blocks, {bytes} bytes: {}", height.0, out.display()))
        }
        Command::Verify(args) => verify(&args, context),
        Command::VerifyBalance(args) => balance::run(&args, context),
        Command::VerifyConsistency(args) => consistency::verify(&args, context),
        Command::Accuse(args) => accuse::run(&args, context),
        Command::Witness(args) => witness::run(&args, context),
        Command::VerifyFraud(args) => consistency::verify_fraud(&args, context),
    }
}

/// Fetches the ledger into `out`. Returns height and size.
fn export(context: &Context, out: &Path) -> Result<(Height, usize)> {
    let network = network(context, None)?;
    let bar = context.out.item_bar("ledger", 0);
    let blocks = with_client(context, async |client, _| {
        let seen = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        };
        Ok(client.ledger().all_blocks(seen).await?)
    })?;
    bar.finish_and_clear();
    let height = Height(blocks.len() as u64);
    let mut bytes = opening(network.signed());
    blocks.iter().for_each(|block| bytes.extend(block_frame(block)));
    bytes.extend(closing(height));
    let unfinished = out.with_extension("part");
    let written = fs::write(&unfinished, &bytes).and_then(|()| fs::rename(&unfinished, out));
    written.map_err(|error| CommandError::file(out, &error))?;
    Ok((height, bytes.len()))
}

fn verify(args: &VerifyArgs, context: &Context) -> Result {
    let keys = known_keys(args, context)?;
    // What pins an audit is older than what is audited.
    let pin = args.checkpoint.as_deref().map(|place| Pin::load(place, keys.as_ref())).transpose()?;
    let quorum = match (&pin, &keys) {
        (Some(pin), Some(keys)) if pin.is_of(keys) => pin.quorum(keys),
        (Some(_), Some(_)) if args.network.is_some() => {
            return Err(CommandError::usage("the checkpoint is of another network than the network file"));
        }
        _ => None,
    };
    let file = match &args.file {
        Some(file) => file.clone(),
        None => fetched(context)?,
    };
    // An export that cannot be read is an audit that failed, not a wrong command.
    let audited = audit_file(&file, trust(args, pin.as_ref(), context)?);
    let (mut report, state) = audited.map_err(|error| CommandError { kind: Kind::Refused, ..error })?;
    if let (Some(pin), Some(quorum), false) = (&pin, &quorum, args.allow_unwitnessed) {
        let finding = quorum::finding(quorum, pin.checkpoint.height);
        report.ok &= finding.is_none();
        report.findings.extend(finding);
    }
    tell(context, &report, quorum.as_ref())?;
    let Some(state) = state else { return Ok(()) };
    pin.map_or(Ok(()), |pin| pin.check_signature(&state))?;
    args.save_checkpoint.as_deref().map_or(Ok(()), |path| {
        fs::write(path, Checkpoint::of(&state).to_string()).map_err(|error| CommandError::file(path, &error))
    })
}

/// Says what was found; an error if anything is wrong.
fn tell(context: &Context, report: &Report, quorum: Option<&Quorum>) -> Result {
    let mut document = document(report);
    document["witnesses"] = quorum.map_or(Value::Null, quorum::document);
    context.out.document(&document)?;
    text(context, report, quorum)?;
    if report.ok {
        return Ok(());
    }
    Err(CommandError::silent(Kind::Refused, format!("{} findings", report.findings.len())))
}

/// The keys of the network that is known from elsewhere, if one is.
fn known_keys(args: &VerifyArgs, context: &Context) -> Result<Option<LogKeys>> {
    if args.network.is_none() && !context.data_dir.network().exists() {
        return Ok(None);
    }
    quorum::log_keys(context, args.network.as_deref()).map(Some)
}

/// The ledger as its node has it now; if nobody answers, as it was last exported.
fn fetched(context: &Context) -> Result<PathBuf> {
    let path = context.data_dir.ledger_export();
    match export(context, &path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind == Kind::Network && path.exists() => Ok(path),
        Err(error) => Err(error),
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
    let fail = |error: io::Error| CommandError::file(path, &error);
    let mut file = fs::File::open(path).map_err(fail)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).map_err(fail)? {
            0 => return Ok(()),
            count => auditor.push(&piece[..count]),
        }
    }
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

fn trust(args: &VerifyArgs, pin: Option<&Pin>, context: &Context) -> Result<Trust> {
    if let Some(pin) = pin {
        return Ok(Trust::Checkpoint(pin.checkpoint));
    }
    if args.network.is_none() && !context.data_dir.network().exists() {
        return Ok(Trust::SelfTrust);
    }
    Ok(Trust::Genesis(network(context, args.network.as_deref())?.id()))
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
        "trust": report.trust.name(),
    })
}

fn text(context: &Context, report: &Report, quorum: Option<&Quorum>) -> Result {
    let out = context.out;
    out.line(format!("height        {} (block {})", report.height.0, report.root))?;
    out.line(format!("transactions  {}, receipts {}", report.transactions, report.receipts))?;
    let Report { issued, balances, holds, stakes, .. } = report;
    out.line(format!(
        "credits       {issued} issued = {balances} in balances + {holds} held + {stakes} at stake"
    ))?;
    out.line(format!("rests on      {}", rests_on(&report.trust)))?;
    if let Some(quorum) = quorum {
        out.line(format!("witnesses     {}", quorum::text(quorum)))?;
    }
    for finding in &report.findings {
        let (height, rule) = (finding.height.0, finding.rule.name());
        out.line(format!(
            "WRONG at height {height}: {rule}: expected {}, found {}",
            finding.expected, finding.found
        ))?;
    }
    out.line(if report.ok { "all in order" } else { "NOT in order" })
}

fn rests_on(trust: &Trust) -> &'static str {
    match trust {
        Trust::Genesis(_) => "the network file: its operator signed every block",
        Trust::Checkpoint(_) => "a block that you saw before",
        Trust::SelfTrust => "nothing but the file itself; pin a network with --network FILE",
    }
}
