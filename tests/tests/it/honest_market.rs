//! Honest parties: everyone is served and paid, whatever the network does.

use testkit::{
    scenario::Scenario,
    seeds::{for_each_seed, wrongly_accused},
    sim::{
        clock::Moment,
        net::{NodeId, Partition, Weather},
        rng::Rng,
        world::Report,
    },
};

fn market(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let (providers, clients) = (1 + rng.below(3) as usize, 1 + rng.below(3) as usize);
    Scenario::honest(seed, providers, clients)
}

fn everyone_is_served(scenario: &Scenario, report: &Report) -> Result<(), String> {
    nobody_is_accused(scenario, report)?;
    if report.held > 0 {
        return Err(format!("{} micro-credits are held at the end", report.held));
    }
    for at in 0..scenario.clients.len() {
        let errands = scenario.errands_of(at).len();
        let missing = (0..errands).find(|errand| !report.delivered.contains(&(scenario.client(at), *errand)));
        if let Some(errand) = missing {
            return Err(format!("errand {errand} of client {at} was not delivered"));
        }
    }
    Ok(())
}

fn nobody_is_accused(scenario: &Scenario, report: &Report) -> Result<(), String> {
    wrongly_accused(scenario, report).map_or(Ok(()), Err)
}

#[test]
fn honest_parties_in_calm_weather_are_all_served() {
    let story = "honest_parties_in_calm_weather_are_all_served";
    let tally = for_each_seed(story, 500, market, everyone_is_served);
    tally.has_all(&["opened", "closing", "collected", "closed", "final", "voucher", "refused"]);
}

#[test]
fn honest_parties_in_a_storm_are_never_accused_and_lose_nothing() {
    let stormy =
        |seed| Scenario { weather: Weather::STORMY, engine_failures: 5, cancels: 30, ..market(seed) };
    let story = "honest_parties_in_a_storm_are_never_accused_and_lose_nothing";
    let tally = for_each_seed(story, 500, stormy, nobody_is_accused);
    tally.has_all(&["fault", "cancel", "refused", "topped-up", "closed"]);
}

#[test]
fn partitions_that_heal_cost_time_and_nothing_else() {
    let parted = |seed| {
        let mut rng = Rng::new(seed ^ 0x9a7);
        let mut scenario = market(seed);
        let nodes = 1 + scenario.providers.len() + scenario.clients.len();
        let partition = |rng: &mut Rng| {
            let from = Moment(rng.below(15_000));
            let (node, until) = (NodeId(rng.below(nodes as u64) as u16), from.after(500 + rng.below(8_000)));
            Partition::of(node, from, until)
        };
        scenario.partitions = (0..1 + rng.below(3)).map(|_| partition(&mut rng)).collect();
        scenario
    };
    for_each_seed("partitions_that_heal_cost_time_and_nothing_else", 300, parted, everyone_is_served);
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        let run = || Scenario { weather: Weather::STORMY, ..market(seed) }.run().expect("no checker says no");
        let (first, second) = (run(), run());
        assert_eq!(first, second, "seed {seed}");
        let other =
            Scenario { weather: Weather::STORMY, ..market(seed + 1_000) }.run().expect("no checker says no");
        assert_ne!(first.trace, other.trace, "seed {seed}");
    }
}
