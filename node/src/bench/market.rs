//! How well orders are matched over a network that misbehaves: a simulated WAN with jitter, loss, queues, adverts that
//! are late, and providers slower than they say.
//!
//! Every order of a run is matched by the rules that clients use ([`Policy::Ours`]), by price alone, and by the first
//! token alone. What each choice really costs is its realised score: what is paid, and the order's penalty for every
//! millisecond that its last token is late. The regret of a choice is what it cost more than the best in hindsight: the
//! same order at the same moment on each provider that could have taken it.
//!
//! All follows from a seed. Times are virtual; nothing waits.

mod buyer;
mod policy;
mod run;
mod world;

use rayon::prelude::*;
use serde::Serialize;

pub use self::policy::Policy;
use self::{run::run, world::World};
use super::matrix::Matrix;

/// What is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The first seed.
    pub seed: u64,
    /// Worlds, each from the seed after the one before.
    pub seeds: u64,
    /// Orders of each.
    pub orders: usize,
    /// Providers of each.
    pub providers: usize,
    /// Work that is ordered, in hundredths of what all providers can do.
    pub load_percent: u32,
}

/// How one policy did in one world.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outcome {
    /// Of the world.
    pub seed: u64,
    /// How it chose.
    pub policy: Policy,
    /// Sum of realised scores, in micro-credits.
    pub score: u64,
    /// Sum of what was paid, in micro-credits.
    pub paid: u64,
    /// Sum of the best scores in hindsight, in micro-credits.
    pub best: u64,
    /// Orders.
    pub orders: usize,
    /// Orders whose last token came after their soft limit.
    pub late: usize,
    /// Choices that were the best in hindsight.
    pub best_chosen: usize,
    /// Orders at which the offer that was expected to finish first did.
    pub fastest_foreseen: usize,
    /// Round trips measured for an order before it was matched, over all orders.
    pub pings: usize,
    /// Times that a provider had no free slot any more when an order came.
    pub refusals: usize,
}

impl Outcome {
    /// What the choices cost more than the best in hindsight, as a share of that.
    #[must_use]
    pub fn regret(&self) -> f64 {
        (self.score as f64 - self.best as f64) / (self.best as f64).max(1.0)
    }
}

/// Runs every policy in every world. `tick` is called after each world.
#[must_use]
pub fn measure(plan: &Plan, matrix: &Matrix, tick: &(dyn Fn() + Sync)) -> Vec<Outcome> {
    let seeds: Vec<u64> = (0..plan.seeds).map(|i| plan.seed.wrapping_add(i)).collect();
    let outcomes = seeds.into_par_iter().flat_map_iter(|seed| {
        let world = World::new(seed, plan, matrix);
        let outcomes = Policy::ALL.map(|policy| run(&world, policy));
        tick();
        outcomes
    });
    outcomes.collect()
}

/// The mean regret of a policy over all worlds, and the worst.
#[must_use]
pub fn regret(outcomes: &[Outcome], policy: Policy) -> (f64, f64) {
    let regrets: Vec<f64> =
        outcomes.iter().filter(|outcome| outcome.policy == policy).map(Outcome::regret).collect();
    let worst = regrets.iter().copied().fold(0.0, f64::max);
    (regrets.iter().sum::<f64>() / (regrets.len() as f64).max(1.0), worst)
}

#[cfg(test)]
mod tests;
