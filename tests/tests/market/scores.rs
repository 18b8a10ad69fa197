//! What callers do, and what it says of their providers.

use testkit::{
    scenario::{ClientKind, Scenario},
    seeds::{for_each_seed, wrongly_accused},
    sim::{rng::Rng, world::Report},
};

/// Several clients want the few slots of one honest provider at once, and stop many of their jobs.
fn crowd(seed: u64) -> Scenario {
    let clients = vec![ClientKind::Honest; 3 + Rng::new(seed).below(3) as usize];
    Scenario { clients, cancels: 200, token_ms: Some(60), ..Scenario::honest(seed, 1, 1) }
}

/// Nothing goes wrong but by the callers: so nobody remembers a failure of the provider.
fn nothing_is_held_against_it(scenario: &Scenario, report: &Report) -> Result<(), String> {
    wrongly_accused(scenario, report).map_or(Ok(()), Err)?;
    match report.counts.get("learned-failed") {
        None => Ok(()),
        Some(failures) => Err(format!("{failures} failures of an honest provider are remembered")),
    }
}

#[test]
fn no_failure_is_remembered_of_a_provider_whose_callers_were_at_fault() {
    let story = "no_failure_is_remembered_of_a_provider_whose_callers_were_at_fault";
    let tally = for_each_seed(story, 60, crowd, nothing_is_held_against_it);
    tally.has_all(&["refused", "cancel", "receipt-client-fault", "learned"]);
}
