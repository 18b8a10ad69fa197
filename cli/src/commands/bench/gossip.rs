//! `gridhour bench gossip`: how fast a new advert is known everywhere.

use std::time::Duration;

use gridhour_node::bench::gossip::{Plan, measure, steps};
use serde_json::json;

use super::ledger::tell_rows;
use crate::{
    context::Context,
    error::{CommandError, Result},
    joined,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench gossip
  gridhour bench gossip --nodes 1000 --json

Every node is a whole node of a network of its own, with its key, handshakes, checks, scores and
meshes; only sockets are missing. All share this machine's processors, so with many nodes it is
these that are measured.";

/// Measure after how many heartbeats a new advert is known by the nodes of a network
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Start N nodes
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=10_000))]
    nodes: u16,

    /// Let each dial D of those before it
    #[arg(long, value_name = "D", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=16))]
    dials: u8,

    /// Publish A adverts, one after the other
    #[arg(long, value_name = "A", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    adverts: u16,

    /// Let S decide who dials whom
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Give up on an advert after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_600))]
    patience: u64,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let plan = Plan {
        nodes: args.nodes.into(),
        dials: args.dials.into(),
        adverts: args.adverts.into(),
        seed: args.seed,
        patience: Duration::from_secs(args.patience),
    };
    let runtime = joined::runtime()?;
    let bar = context.out.item_bar("measuring", steps(&plan));
    let measured = runtime.block_on(measure(&plan, &mut || bar.inc(1)));
    bar.finish_and_clear();
    let rows = measured.map_err(CommandError::refused)?.rows(&plan);
    context.out.document(&json!({
        "nodes": args.nodes, "dials": args.dials, "adverts": args.adverts, "seed": args.seed, "rows": rows,
    }))?;
    tell_rows(&rows, context)
}
