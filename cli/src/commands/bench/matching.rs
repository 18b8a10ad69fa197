//! `gridhour bench match`.

use std::path::PathBuf;

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, microlp, variable};
use gridhour_node::{
    bench::matching::{Plan, Problem, Report, measure, steps},
    keys::random_u64,
};
use serde_json::json;

use super::matrix;
use crate::{
    context::Context,
    error::{CommandError, Result},
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench match
  gridhour bench match --seed 1 --matrix rtt_ms.csv --json
  gridhour bench match --markets 2 --repeat 1

Orders and offers are drawn from a seed, which is printed. One core matches orders one by one against
live offers; batches of waiting orders are compared with the optimum of the linear program, and with
serving orders as they came. The command reports and never judges.";

/// Measure how fast orders meet offers here, and how near the optimum batches come
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Draw from this seed [default: at random]
    #[arg(long)]
    seed: Option<u64>,

    /// Take regions and round trips from this file: a header `id,NAME,...`, then `NAME,MILLISECONDS,...`
    #[arg(long, value_name = "FILE")]
    matrix: Option<PathBuf>,

    /// Match N orders one by one, a round
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    orders: u32,

    /// Let N offers be alive
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4_096))]
    offers: u32,

    /// Compare N markets of each load with the optimum
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    markets: u32,

    /// Take each figure N times, and tell the median
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let plan = Plan {
        seed: args.seed.map_or_else(random_u64, Ok).map_err(CommandError::internal)?,
        regions: matrix::load(args.matrix.as_deref())?,
        orders: args.orders as usize,
        offers: args.offers as usize,
        repeat: args.repeat.into(),
        markets: args.markets as usize,
    };
    let bar = context.out.item_bar("matching", steps(&plan));
    let report = measure(&plan, &optimum, &|| bar.inc(1)).map_err(CommandError::refused);
    bar.finish_and_clear();
    tell(&report?, args, &plan, context)
}

/// The largest surplus, by the linear program. Its optimum is whole-numbered: every order takes one slot.
fn optimum(problem: &Problem) -> std::result::Result<f64, String> {
    let mut variables = ProblemVariables::new();
    let (mut orders, mut offers) =
        (vec![Expression::default(); problem.orders], vec![Expression::default(); problem.slots.len()]);
    let mut surplus = Expression::default();
    for pair in &problem.pairs {
        let share = variables.add(variable().min(0.0));
        surplus.add_mul(pair.surplus as f64, share);
        orders[pair.order].add_mul(1.0, share);
        offers[pair.offer].add_mul(1.0, share);
    }
    let mut model = variables.maximise(surplus.clone()).using(microlp);
    for order in orders {
        model.add_constraint(order.leq(1.0));
    }
    for (offer, &slots) in offers.into_iter().zip(&problem.slots) {
        model.add_constraint(offer.leq(f64::from(slots)));
    }
    let solution = model.solve().map_err(|error| format!("the linear program is not solved: {error}"))?;
    Ok(solution.eval(surplus))
}

fn tell(report: &Report, args: &Args, plan: &Plan, context: &Context) -> Result {
    context.out.document(&json!({
        "seed": plan.seed, "regions": if args.matrix.is_some() { "file" } else { "synthetic" },
        "repeat": plan.repeat, "continuous": report.continuous, "batches": report.batches,
        "surplus": report.surplus,
    }))?;
    context.out.line(format!("seed {}", plan.seed))?;
    let it = &report.continuous;
    context.out.line(format!(
        "{} of {} orders met one of {} offers: {:.0} orders/s with an index ({:.2} ms to make), {:.0} without",
        it.matched, it.orders, it.offers, it.indexed_per_s, it.index_ms, it.judged_per_s
    ))?;
    let mut table = Table::new(["BATCH", "LOAD", "MS", "WORST MS"]);
    for it in &report.batches {
        let size = format!("{} x {}", it.orders, it.offers);
        table.row([size, percent(it.load_percent), format!("{:.2}", it.ms), format!("{:.2}", it.worst_ms)]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))?;
    let mut table = Table::new(["SURPLUS", "MARKETS", "MEAN", "WORST", "GREEDY", "AS THEY CAME", "WORST"]);
    for it in &report.surplus {
        let ratios = [it.mean, it.worst, it.greedy_mean, it.fifo_mean, it.fifo_worst];
        let [mean, worst, greedy, fifo, fifo_worst] = ratios.map(|ratio| format!("{ratio:.4}"));
        table.row([percent(it.load_percent), it.markets.to_string(), mean, worst, greedy, fifo, fifo_worst]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

fn percent(load: usize) -> String {
    format!("{load}%")
}

#[cfg(test)]
mod tests {
    use gridhour_node::bench::matching::Pair;

    use super::*;

    #[test]
    fn the_linear_program_finds_what_trying_all_would() {
        let pair = |order, offer, surplus| Pair { order, offer, surplus };
        // 100 + 97 is what greedy takes; 99 + 98 + 90 is the most.
        let pairs = vec![pair(0, 0, 100), pair(0, 1, 99), pair(1, 0, 98), pair(2, 1, 97), pair(2, 2, 90)];
        let problem = |slots| Problem { orders: 3, slots, pairs: pairs.clone() };
        let most = |slots| optimum(&problem(slots)).expect("it is solved").round();
        assert_eq!(most(vec![1, 1, 1]), 287.0);
        assert_eq!(most(vec![2, 0, 1]), 100.0 + 98.0 + 90.0);
        assert_eq!(most(vec![0, 0, 0]), 0.0);
    }
}
