//! `gridhour bench ledger`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gridhour_node::bench::ledger::{Plan, Row, measure, steps};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Result},
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench ledger
  gridhour bench ledger --transfers 100000 --repeat 9 --dir /mnt/disk/bench
  gridhour bench ledger --json | jq '.rows[] | select(.name == \"durable_transfers_per_s\")'

A new ledger is written to DIR and removed afterwards: durability is that of the disk under DIR.
Figures are medians, and those with a ratio are compared with checking signatures alone, in turns.
Proofs are those of a log of 2^20 entries and of a million accounts. The command reports and never
judges.";

/// Sizes of the log and of the state in which proofs are looked at.
const PROVEN_ENTRIES: u32 = 1 << 20;
const PROVEN_ACCOUNTS: u32 = 1_000_000;

/// Measure how fast transfers are ordered, made durable, replayed and proven here
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Give money to N accounts
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    accounts: u32,

    /// Make T transfers a round
    #[arg(long, value_name = "T", default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    transfers: u32,

    /// Let about B transfers make a block
    #[arg(long, value_name = "B", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4_096))]
    block: u16,

    /// Time A blocks of 100 transfers a round
    #[arg(long, value_name = "A", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    acks: u16,

    /// Take each figure N times, and tell the median
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,

    /// Write to DIR, which must not exist yet [default: bench-ledger in the data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let plan = Plan {
        accounts: args.accounts as usize,
        transfers: args.transfers as usize,
        block: args.block.into(),
        acks: args.acks.into(),
        repeat: args.repeat.into(),
        proven_entries: PROVEN_ENTRIES,
        proven_accounts: PROVEN_ACCOUNTS,
    };
    let dir = args.dir.clone().unwrap_or_else(|| context.data_dir.root().join("bench-ledger"));
    if dir.exists() {
        return Err(CommandError::usage(format!("{} exists: name a new directory", dir.display())));
    }
    let rows = measured(&dir, &plan, context);
    // What could not be created need not be removed.
    let _ = fs::remove_dir_all(&dir);
    tell(&rows?, args, context)
}

fn measured(dir: &Path, plan: &Plan, context: &Context) -> Result<Vec<Row>> {
    fs::create_dir_all(dir)
        .map_err(|error| CommandError::refused(format!("cannot create {}: {error}", dir.display())))?;
    let bar = context.out.item_bar("measuring", steps(plan));
    let rows = measure(dir, plan, &mut || bar.inc(1)).map_err(CommandError::refused)?;
    bar.finish_and_clear();
    Ok(rows)
}

fn tell(rows: &[Row], args: &Args, context: &Context) -> Result {
    let Args { accounts, transfers, block, repeat, .. } = args;
    context.out.document(&json!({
        "accounts": accounts,
        "transfers": transfers,
        "block": block,
        "repeat": repeat,
        "rows": rows,
    }))?;
    tell_rows(rows, context)
}

/// A line a figure, for people.
pub(super) fn tell_rows(rows: &[Row], context: &Context) -> Result {
    let mut table = Table::new(["FIGURE", "VALUE", "UNIT", "RATIO"]);
    for Row { name, value, unit, ratio, .. } in rows {
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        table.row([(*name).to_owned(), format!("{value:.1}"), (*unit).to_owned(), ratio]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}
