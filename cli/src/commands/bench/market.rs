//! `gridhour bench market`.

use std::path::PathBuf;

use gridhour_node::bench::market::{Outcome, Plan, Policy, measure, regret};
use serde_json::{Value, json};

use super::matrix;
use crate::{context::Context, error::Result, output::Table};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench market
  gridhour bench market --seed 7 --seeds 4 --load 90
  gridhour bench market --matrix rtt_ms.csv --json | jq '.policies[] | {policy, regret_mean}'

A world is simulated from each seed: providers, buyers and orders over a network with jitter, loss and
late adverts. Every order is matched as clients do, by price alone, and by the first token alone. A
realised score is what is paid and the order's penalty for being late; regret is the share by which it
exceeds the best in hindsight. Without --matrix the round trips are those of a made-up globe. The same
seed gives the same figures everywhere. The command reports and never judges.";

/// Measure how well orders are matched in a simulated market
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Begin with seed S
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Simulate N worlds, each from the seed after the one before
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    seeds: u16,

    /// Match N orders in each
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    orders: u32,

    /// Let P providers offer
    #[arg(long, value_name = "P", default_value_t = 40)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    providers: u16,

    /// Order L hundredths of what all providers can do
    #[arg(long, value_name = "L", default_value_t = 70)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=95))]
    load: u16,

    /// Take round trips between regions from FILE: comma-separated, in milliseconds
    #[arg(long, value_name = "FILE")]
    matrix: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let matrix = matrix::load(args.matrix.as_deref())?;
    let plan = Plan {
        seed: args.seed,
        seeds: args.seeds.into(),
        orders: args.orders as usize,
        providers: args.providers.into(),
        load_percent: args.load.into(),
    };
    let bar = context.out.item_bar("simulating", plan.seeds);
    let outcomes = measure(&plan, &matrix, &|| bar.inc(1));
    bar.finish_and_clear();
    tell(&plan, args, &outcomes, context)
}

/// One policy over all worlds.
struct Row {
    policy: Policy,
    regret_mean: f64,
    regret_worst: f64,
    score: u64,
    late: f64,
    foreseen: f64,
    pings: f64,
    refusals: f64,
}

impl Row {
    fn of(outcomes: &[Outcome], policy: Policy) -> Self {
        let own: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.policy == policy).collect();
        let orders: usize = own.iter().map(|outcome| outcome.orders).sum();
        let share = |count: fn(&Outcome) -> usize| {
            own.iter().map(|outcome| count(outcome)).sum::<usize>() as f64 / (orders as f64).max(1.0)
        };
        let (regret_mean, regret_worst) = regret(outcomes, policy);
        Self {
            policy,
            regret_mean,
            regret_worst,
            score: own.iter().map(|outcome| outcome.score).sum(),
            late: share(|outcome| outcome.late),
            foreseen: share(|outcome| outcome.fastest_foreseen),
            pings: share(|outcome| outcome.pings),
            refusals: share(|outcome| outcome.refusals),
        }
    }

    fn json(&self) -> Value {
        json!({
            "policy": self.policy.name(), "regret_mean": self.regret_mean, "regret_worst": self.regret_worst,
            "score_micro": self.score, "late_share": self.late, "fastest_foreseen_share": self.foreseen,
            "pings_per_order": self.pings, "refusals_per_order": self.refusals,
        })
    }
}

fn tell(plan: &Plan, args: &Args, outcomes: &[Outcome], context: &Context) -> Result {
    let rows = Policy::ALL.map(|policy| Row::of(outcomes, policy));
    context.out.document(&json!({
        "seed": plan.seed,
        "seeds": plan.seeds,
        "orders": plan.orders,
        "providers": plan.providers,
        "load_percent": plan.load_percent,
        "matrix": args.matrix.as_ref().map(|path| path.display().to_string()),
        "policies": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "worlds": outcomes,
    }))?;
    let Plan { seed, seeds, orders, .. } = plan;
    context.out.line(format!("{seeds} worlds from seed {seed}, {orders} orders each"))?;
    let mut table =
        Table::new(["POLICY", "REGRET", "WORST", "SCORE", "LATE", "FASTEST FORESEEN", "PINGS", "REFUSALS"]);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let ours = rows[0].score.max(1) as f64;
    for row in &rows {
        table.row([
            row.policy.name().to_owned(),
            percent(row.regret_mean),
            percent(row.regret_worst),
            format!("{:.3}", row.score as f64 / ours),
            percent(row.late),
            percent(row.foreseen),
            format!("{:.1}", row.pings),
            format!("{:.1}", row.refusals),
        ]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}
