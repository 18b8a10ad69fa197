//! `gridhour bench audit`: a ledger of a given length, audited by a process of its own.

use std::{
    env,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gridhour_contracts_sim::limits::VALID_BLOCKS_MAX;
use gridhour_node::bench::{
    audit::{Plan, Written, signatures_per_s, write},
    ledger::Row,
};
use serde_json::{Value, json};

use super::ledger::tell_rows;
use crate::{
    context::Context,
    error::{CommandError, Result},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench audit
  gridhour bench audit --transactions 100000 --json
  gridhour bench audit --transactions 4000000 --dir /mnt/disk/bench --keep

A ledger of so many transfers is written to DIR as an exported file, always the same one for the
same settings, and removed afterwards. `gridhour audit verify` checks it as a process of its own,
whose memory at its highest is told. Speed is compared with checking signatures alone, before and
after.";

/// Seconds between two times that the audit keeps where it stands: often enough that a short ledger pays for it as well.
const SAVE_EVERY: &str = "1";
/// Tries of checking signatures alone, before and after the audit.
const TRIES: usize = 3;

/// Measure how fast, and in how much memory, a ledger of a given length is audited here
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Audit a ledger of N transfers
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    transactions: u64,

    /// Give money to N accounts; that takes a transfer for each after the first 1,024
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    accounts: u32,

    /// Let B transfers make a block
    #[arg(long, value_name = "B", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4_096))]
    block: u16,

    /// Let transfers be valid for V blocks: for so long the ledger remembers them
    #[arg(long, value_name = "V", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=VALID_BLOCKS_MAX))]
    valid_blocks: u64,

    /// Let S decide who pays whom
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Write to DIR, which must not exist yet [default: bench-audit in the data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Leave the ledger in DIR, as ledger.export
    #[arg(long)]
    keep: bool,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let plan = Plan {
        accounts: args.accounts as usize,
        transactions: args.transactions,
        block: args.block.into(),
        valid_blocks: args.valid_blocks,
        seed: args.seed,
    };
    let dir = args.dir.clone().unwrap_or_else(|| context.data_dir.root().join("bench-audit"));
    if dir.exists() {
        return Err(CommandError::usage(format!("{} exists: name a new directory", dir.display())));
    }
    let measured = measured(&dir, &plan, context);
    if !args.keep {
        // What could not be created need not be removed.
        let _ = fs::remove_dir_all(&dir);
    }
    let (written, rows) = measured?;
    context.out.document(&json!({
        "accounts": args.accounts, "transactions": written.transactions, "height": written.height.0,
        "block": args.block, "valid_blocks": args.valid_blocks, "seed": args.seed, "rows": rows,
    }))?;
    tell_rows(&rows, context)
}

fn measured(dir: &Path, plan: &Plan, context: &Context) -> Result<(Written, Vec<Row>)> {
    fs::create_dir_all(dir).map_err(|error| CommandError::file(dir, &error))?;
    let path = dir.join("ledger.export");
    let written = write_ledger(&path, plan, context)?;
    let bytes = fs::metadata(&path).map_err(|error| CommandError::file(&path, &error))?.len();
    let before = signatures_per_s(plan, TRIES);
    let answer = audited(&path, dir)?;
    let verified = f64::midpoint(before, signatures_per_s(plan, TRIES));
    Ok((written, rows(&answer, bytes, verified)?))
}

fn write_ledger(path: &Path, plan: &Plan, context: &Context) -> Result<Written> {
    let file = File::create(path).map_err(|error| CommandError::file(path, &error))?;
    let bar = context.out.item_bar("writing", plan.transactions);
    let written = write(plan, &mut BufWriter::new(file), &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    written.map_err(CommandError::refused)
}

/// What `gridhour audit verify` answers, as a process of its own with `dir` as its data directory.
fn audited(path: &Path, dir: &Path) -> Result<Value> {
    let program = env::current_exe().map_err(CommandError::internal)?;
    let output = Command::new(program)
        .args(["--json", "audit", "verify", "--fresh", "--save-every", SAVE_EVERY, "--data-dir"])
        .args([dir, path])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| CommandError::internal(format!("cannot start the audit: {error}")))?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| CommandError::internal(format!("the audit gave no answer: {error}")))?;
    if answer["ok"] == json!(true) {
        Ok(answer)
    } else {
        Err(CommandError::internal(format!("the ledger that was written does not pass its audit: {answer}")))
    }
}

fn rows(answer: &Value, bytes: u64, verified: f64) -> Result<Vec<Row>> {
    let number = |name: &str| {
        let missing = || CommandError::internal(format!("the audit does not say {name}"));
        answer[name].as_f64().ok_or_else(missing)
    };
    let seconds = number("took_ms")?.max(1.0) / 1e3;
    let rate = number("checked")? / seconds;
    let plain = |name, value, unit| Row { name, value, unit, reference: None, ratio: None };
    let against = Row {
        name: "audit_per_s",
        value: rate,
        unit: "1/s",
        reference: Some(verified),
        ratio: Some(rate / verified),
    };
    Ok(vec![
        plain("verify_strict_per_s", verified, "1/s"),
        against,
        plain("audit_s", seconds, "s"),
        plain("audit_peak_bytes", number("peak_memory_bytes")?, "B"),
        plain("export_bytes", bytes as f64, "B"),
    ])
}
