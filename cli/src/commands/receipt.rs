//! `gridhour receipt`: look at results, check what signs them, compute them again.

pub mod chain;
pub mod check;
mod mismatch;
mod proof;
pub mod rerun;

use std::path::PathBuf;

use clap::Subcommand;
use gridhour_node::drivers::results::{JobResult, Results};
use gridhour_protocol::id::ReceiptId;
use serde_json::{Value, json};

use super::run::{json_of, summary};
use crate::{
    context::Context,
    error::{CommandError, Result},
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour receipt list
  gridhour receipt show 7d21…a0
  gridhour receipt verify 7d21…a0            Signatures, digests, work, ledger; no model needed
  gridhour receipt verify 7d21…a0 --save-proof r.proof
  gridhour receipt verify --proof r.proof --network network.json
  gridhour receipt rerun 7d21…a0             Compute it again here, and compare bit by bit
  gridhour receipt mismatch 3c09…7f.mismatch What several providers signed that did not agree";

/// Look at results, check them, compute them again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the results kept in the data directory, oldest first
    List,
    /// Print one result: what was asked, answered, signed and paid
    Show {
        /// The receipt's id
        id: ReceiptId,
    },
    /// Check one result without computing it: signatures, digests, work, and whether the ledger has it
    ///
    /// Works offline, on the ledger that was last exported to the data directory. Exits 1 if anything does not fit.
    /// With --save-proof, writes what proves to anyone who has the network file that the provider was paid for it; with
    /// --proof, checks such a file.
    Verify(VerifyArgs),
    /// Compute one result again on this machine and compare tokens, output digest and score chain
    ///
    /// Exits 1 if they differ.
    Rerun(rerun::Args),
    /// Check what providers signed that were asked for one answer at the same time and did not all agree
    ///
    /// `gridhour run --redundant` names the file. Works offline; exits 1 if anything in it does not fit.
    Mismatch {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The receipt's id
    #[arg(required_unless_present = "proof")]
    id: Option<ReceiptId>,

    /// Write a proof for others to this file
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    save_proof: Option<PathBuf>,

    /// Check the proof in this file instead; it needs no data directory
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    proof: Option<PathBuf>,

    /// With --proof: pin the network in this file [default: the data directory's]
    #[arg(long, value_name = "FILE", requires = "proof")]
    network: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result {
    let results = Results::new(context.data_dir.results());
    match args.command {
        Command::List => list(context, &results),
        Command::Show { id } => show(context, &results, id),
        Command::Verify(args) => verify(&args, context, &results),
        Command::Rerun(args) => rerun::run(&args, context, &results),
        Command::Mismatch { file } => mismatch::run(context, &file),
    }
}

fn verify(args: &VerifyArgs, context: &Context, results: &Results) -> Result {
    match (args.id, &args.proof) {
        (Some(id), _) => check::run(context, results, id, args.save_proof.as_deref()),
        (None, Some(file)) => proof::verify(context, file, args.network.as_deref()),
        (None, None) => Err(CommandError::usage("name a receipt, or a proof with --proof FILE")),
    }
}

fn list(context: &Context, results: &Results) -> Result {
    let all = results.list()?;
    let documents: Vec<Value> = all.iter().map(|(result, text)| json_of(result, text)).collect();
    context.out.document(&json!({ "results": documents }))?;
    let mut table = Table::new(["receipt", "provider", "tokens", "credits", "cause", "text"]);
    for (result, text) in &all {
        let receipt = &result.receipt.body;
        table.row([
            result.receipt.id().to_string(),
            result.terms.provider.short(),
            format!("{}+{}", result.request.prompt.len(), result.answer().len()),
            result.cost_in_all().to_string(),
            receipt.cause.name().to_owned(),
            first_words(text),
        ]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

fn first_words(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect();
    line.trim().to_owned()
}

fn show(context: &Context, results: &Results, id: ReceiptId) -> Result {
    let (result, text) = results.load(id)?;
    context.out.document(&full_json(&result, &text))?;
    let (out, receipt) = (context.out, &result.receipt.body);
    out.line(format!("receipt   {id}"))?;
    out.line(format!("provider  {}", result.terms.provider))?;
    out.line(format!("model     {}", result.terms.model))?;
    out.line(format!("session   {}", result.terms.id()))?;
    out.line(format!("request   {}", receipt.request))?;
    out.line(format!("output    {}", receipt.output))?;
    out.line(format!("scores    {}", receipt.scores))?;
    out.line(format!("work      {} + {} MACs", receipt.prefill_work.0, receipt.decode_work.0))?;
    let (measured, clock) = (receipt.measured.0 / 1_000_000, receipt.measured_by.name());
    out.line(format!("measured  {measured} ms by {clock}, the provider's word and not billed"))?;
    chain::lines(&result).iter().try_for_each(|line| out.line(line))?;
    out.line(format!("job       {}", summary(&result)))?;
    out.line(format!("\n{text}"))
}

fn full_json(result: &JobResult, text: &str) -> Value {
    let receipt = &result.receipt.body;
    let mut document = json_of(result, text);
    document["receipt"] = json!({
        "request": receipt.request.to_string(), "output": receipt.output.to_string(),
        "scores": receipt.scores.to_string(), "prefill_work": receipt.prefill_work.0,
        "decode_work": receipt.decode_work.0, "reference_ns": receipt.reference.0,
        "measured_ns": receipt.measured.0, "measured_by": receipt.measured_by.name(), "started_at": receipt.started_at.0, "ended_at": receipt.ended_at.0,
        "lane": receipt.lane, "index": receipt.index,
    });
    document["prompt_token_ids"] = json!(result.request.prompt);
    document
}
