//! How fast orders meet offers on this machine, and how good what they meet is.
//!
//! Markets are drawn from a seed. Continuous matching is timed with an index of the offers and, in turns, without; both
//! must choose alike. Batches are timed, and what they are worth is compared with the optimum of a linear program that the
//! caller solves, and with serving the orders as they came.

mod market;
mod problem;

use std::time::Instant;

use gridhour_protocol::market::{batch::BatchError, index::OfferIndex, matching::Offer, score::Score};
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use self::market::{Market, Size};
pub use self::problem::{Pair, Problem};
use super::{matrix::Matrix, median};

/// Loads of a batch: orders for a hundred slots.
const LOADS_PERCENT: [usize; 3] = [50, 90, 130];
/// Orders and offers of the batches that are timed. The first are those that are compared with the optimum.
const SIZES: [(usize, usize); 2] = [(400, 120), (1_000, 300)];
/// By how much rounding may put a batch over the optimum, which is computed in floating point.
const OPTIMUM_SLACK: f64 = 1e-6;

/// What is measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Where providers and clients are.
    pub regions: Matrix,
    /// Orders that are matched one by one, a round.
    pub orders: usize,
    /// Offers that each of them meets.
    pub offers: usize,
    /// Rounds, of which the medians are told.
    pub repeat: usize,
    /// Markets of each load that are compared with the optimum.
    pub markets: usize,
}

/// What was found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// One order after the other.
    pub continuous: Continuous,
    /// Batches by size and load.
    pub batches: Vec<BatchTime>,
    /// What batches are worth, by load.
    pub surplus: Vec<Surplus>,
}

/// Speed of continuous matching, on one core.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Continuous {
    /// Live offers.
    pub offers: usize,
    /// Orders of a round.
    pub orders: usize,
    /// Orders that met an offer.
    pub matched: usize,
    /// Orders a second with an index.
    pub indexed_per_s: f64,
    /// Orders a second when every offer is judged.
    pub judged_per_s: f64,
    /// The former over the latter.
    pub ratio: f64,
    /// Milliseconds to make an index.
    pub index_ms: f64,
}

/// Speed of a batch.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BatchTime {
    /// Orders that wait.
    pub orders: usize,
    /// Offers.
    pub offers: usize,
    /// Orders for a hundred slots.
    pub load_percent: usize,
    /// Milliseconds from the signed orders and adverts to who gets what; the median.
    pub ms: f64,
    /// The slowest.
    pub worst_ms: f64,
}

/// What batches are worth against the optimum.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Surplus {
    /// Orders for a hundred slots.
    pub load_percent: usize,
    /// Markets that were compared.
    pub markets: usize,
    /// Surplus over the optimum's: the mean.
    pub mean: f64,
    /// The worst market's.
    pub worst: f64,
    /// The mean of greedy without improvement.
    pub greedy_mean: f64,
    /// The mean of serving orders as they came, each by its best offer.
    pub fifo_mean: f64,
    /// The worst market's.
    pub fifo_worst: f64,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum MatchBenchError {
    /// The plan asks for a batch that there is not.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The index chose otherwise than judging every offer does.
    #[error("order {0} met another offer through the index than without it; use neither")]
    Differs(usize),
    /// The optimum could not be computed, or is none.
    #[error("market {seed} at load {load_percent}%: {why}")]
    Optimum {
        /// The market's seed.
        seed: u64,
        /// Its load.
        load_percent: usize,
        /// What is wrong.
        why: String,
    },
}

/// Computes the largest surplus that a problem allows, or says why not.
pub type Optimum<'a> = &'a (dyn Fn(&Problem) -> Result<f64, String> + Sync);

/// Measures; `told` hears of each step that is done, of [`steps`].
///
/// # Errors
/// [`MatchBenchError`].
pub fn measure(
    plan: &Plan,
    optimum: Optimum<'_>,
    told: &(dyn Fn() + Sync),
) -> Result<Report, MatchBenchError> {
    let regions = &plan.regions;
    let continuous = continuous(plan, regions)?;
    told();
    let mut batches = Vec::new();
    for (orders, offers) in SIZES {
        for load_percent in LOADS_PERCENT {
            let [ms, worst_ms] = batch_ms(plan, regions, Size::at_load(orders, offers, load_percent))?;
            batches.push(BatchTime { orders, offers, load_percent, ms, worst_ms });
            told();
        }
    }
    let surplus = LOADS_PERCENT.map(|load_percent| surplus(plan, regions, load_percent, optimum, told));
    let surplus = surplus.into_iter().collect::<Result<_, _>>()?;
    Ok(Report { continuous, batches, surplus })
}

/// Steps of a measurement.
#[must_use]
pub const fn steps(plan: &Plan) -> u64 {
    (1 + SIZES.len() * LOADS_PERCENT.len() + plan.markets * LOADS_PERCENT.len()) as u64
}

fn continuous(plan: &Plan, regions: &Matrix) -> Result<Continuous, MatchBenchError> {
    // So many slots that almost every offer has one.
    let size = Size { orders: plan.orders, offers: plan.offers, slots: 8 * plan.offers };
    let market = Market::drawn(size, regions, plan.seed);
    let (offers, matchers) = (market.offers(), market.matchers());
    let start = Instant::now();
    let indexes: Vec<_> = offers.iter().map(|offers| OfferIndex::new(offers)).collect();
    let index_ms = start.elapsed().as_secs_f64() * 1e3 / indexes.len() as f64;
    let (mut indexed, mut judged, mut matched) = (Vec::new(), Vec::new(), 0);
    for _ in 0..plan.repeat {
        let (start, count) = (Instant::now(), matchers.len() as f64);
        let found: Vec<_> = matchers.iter().map(|(home, matcher)| indexes[*home].best(matcher)).collect();
        indexed.push(count / start.elapsed().as_secs_f64());
        let start = Instant::now();
        let best = matchers.iter().map(|(home, matcher)| matcher.best(offers[*home].iter().copied()));
        let best: Vec<_> = best.collect();
        judged.push(count / start.elapsed().as_secs_f64());
        let name =
            |best: &Option<(Offer<'_>, Score)>| best.map(|(offer, score)| (offer.advert.provider, score));
        if let Some(order) = (0..best.len()).find(|&order| name(&found[order]) != name(&best[order])) {
            return Err(MatchBenchError::Differs(order));
        }
        matched = best.iter().flatten().count();
    }
    let (indexed_per_s, judged_per_s) = (median(&mut indexed), median(&mut judged));
    let ratio = indexed_per_s / judged_per_s;
    let Plan { orders, offers, .. } = *plan;
    Ok(Continuous { offers, orders, matched, indexed_per_s, judged_per_s, ratio, index_ms })
}

/// Times of so many markets: the median, and the worst.
fn batch_ms(plan: &Plan, regions: &Matrix, size: Size) -> Result<[f64; 2], MatchBenchError> {
    let mut samples = Vec::new();
    for at in 0..plan.repeat as u64 {
        let market = Market::drawn(size, regions, plan.seed.wrapping_add(at));
        let start = Instant::now();
        let outcome = market.batch()?.solve();
        samples.push(start.elapsed().as_secs_f64() * 1e3);
        drop(outcome);
    }
    let worst = samples.iter().copied().fold(0.0, f64::max);
    Ok([median(&mut samples), worst])
}

fn surplus(
    plan: &Plan,
    regions: &Matrix,
    load_percent: usize,
    optimum: Optimum<'_>,
    told: &(dyn Fn() + Sync),
) -> Result<Surplus, MatchBenchError> {
    let seeds = (0..plan.markets as u64).into_par_iter().map(|at| plan.seed.wrapping_add(at));
    let ratios = seeds.map(|seed| {
        let ratios = compare(regions, load_percent, seed, optimum);
        told();
        ratios
    });
    let ratios: Vec<[f64; 3]> = ratios.collect::<Result<_, _>>()?;
    let mean = |which: usize| ratios.iter().map(|ratios| ratios[which]).sum::<f64>() / ratios.len() as f64;
    let worst = |which: usize| ratios.iter().map(|ratios| ratios[which]).fold(f64::INFINITY, f64::min);
    Ok(Surplus {
        load_percent,
        markets: plan.markets,
        mean: mean(0),
        worst: worst(0),
        greedy_mean: mean(1),
        fifo_mean: mean(2),
        fifo_worst: worst(2),
    })
}

/// Batch, greedy alone and first come, first served, over the optimum.
fn compare(
    regions: &Matrix,
    load_percent: usize,
    seed: u64,
    optimum: Optimum<'_>,
) -> Result<[f64; 3], MatchBenchError> {
    let (orders, offers) = SIZES[0];
    let market = Market::drawn(Size::at_load(orders, offers, load_percent), regions, seed);
    let problem = Problem::of(&market);
    let failed = |why| MatchBenchError::Optimum { seed, load_percent, why };
    let best = optimum(&problem).map_err(failed)?;
    let outcome = market.batch()?.solve();
    let ratios = [outcome.surplus, outcome.greedy_surplus, problem.first_come()].map(|it| it as f64 / best);
    match ratios.iter().find(|ratio| !(0.0..=1.0 + OPTIMUM_SLACK).contains(*ratio)) {
        Some(ratio) => Err(failed(format!("a plan is worth {ratio} of the optimum"))),
        None => Ok(ratios),
    }
}

#[cfg(test)]
mod tests;
