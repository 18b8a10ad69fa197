//! Orders matched over a simulated WAN with the round trips of real regions: jitter, loss, late adverts, slots that
//! others took, and providers slower than they say.

use gridhour_node::bench::market::{Outcome, Plan, Policy, measure, regret};
use testkit::data;

/// `gridhour bench market` runs twenty worlds.
const PLAN: Plan = Plan { seed: 1, seeds: 3, orders: 2_000, providers: 40, load_percent: 70 };

fn of(outcomes: &[Outcome], policy: Policy) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().filter(move |outcome| outcome.policy == policy)
}

fn score(outcomes: &[Outcome], policy: Policy) -> u64 {
    of(outcomes, policy).map(|outcome| outcome.score).sum()
}

#[test]
fn choices_in_the_simulated_wan_cost_little_more_than_the_best_in_hindsight() {
    let Some(matrix) = data::round_trips() else { return };
    let outcomes = measure(&PLAN, matrix, &|| ());
    let (mean, worst) = regret(&outcomes, Policy::Ours);
    println!("from seed {}: mean regret {mean:.4}, worst {worst:.4}", PLAN.seed);
    assert!(mean < 0.05, "from seed {}: mean regret {mean:.4}, worst {worst:.4}", PLAN.seed);
    for simpler in [Policy::CheapestFirst, Policy::FirstTokenFirst] {
        let (ours, theirs) = (score(&outcomes, Policy::Ours), score(&outcomes, simpler));
        assert!(ours < theirs, "from seed {}: {ours} against {theirs} of {}", PLAN.seed, simpler.name());
    }
    for outcome in of(&outcomes, Policy::Ours) {
        assert!(outcome.pings < 10 * outcome.orders, "the shortlist is pinged, not everybody: {outcome:?}");
        assert!(
            3 * outcome.fastest_foreseen > 2 * outcome.orders,
            "who finishes first is foreseen: {outcome:?}"
        );
    }
}
