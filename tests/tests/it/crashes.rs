//! The power goes, at every write of every party. Nobody loses more than a chunk, nobody is accused, nothing
//! stays held.

use testkit::{
    actors::client::Errand,
    scenario::{Scenario, Trouble},
    seeds::{for_each_seed, wrongly_accused},
    sim::{
        clock::Moment,
        durable::Cut,
        net::{NodeId, Weather},
        world::{Outage, Report},
    },
};

use gridhour_protocol::job::sampling::Sampling;

fn two_jobs(seed: u64) -> Scenario {
    let errand = |seed| Errand {
        prompt: vec![5; 6],
        max_tokens: 12,
        sampling: Sampling { temperature_q16: 65_536, seed, ..Sampling::GREEDY },
        stop: Vec::new(),
        stop_texts: Vec::new(),
        logprobs: 0,
    };
    Scenario { errands: Some(vec![errand(1), errand(2)]), ..Scenario::honest(seed, 1, 1) }
}

/// Lets the power of `node` go right before and right after each of its writes, in turn; of the ledger node, the power, or
/// the process, at each operation of its disk.
fn at_every_write(seed: u64, node: NodeId, down_ms: Option<u64>, judge: impl Fn(&Scenario, &Report, Cut)) {
    let calm = two_jobs(seed).run().expect("nothing goes wrong yet");
    let writes = calm.writes[usize::from(node.0)];
    assert!(writes > 2, "node {} wrote {writes} times only: the story has no point", node.0);
    for cut in (0..writes).flat_map(|at| [false, true].map(|kept| Cut { at, kept })) {
        let trouble = Trouble { node, outage: Outage::AtWrite(cut), down_ms, flips_bit: false };
        let scenario = Scenario { troubles: vec![trouble], ..two_jobs(seed) };
        let report = scenario.run().unwrap_or_else(|failure| panic!("{cut:?} of node {}: {failure}", node.0));
        assert_eq!(wrongly_accused(&scenario, &report), None, "{cut:?} of node {}, seed {seed}", node.0);
        judge(&scenario, &report, cut);
    }
}

fn is_served(scenario: &Scenario, report: &Report, cut: Cut) {
    let delivered: Vec<_> =
        report.delivered.iter().filter(|(client, _)| *client == scenario.client(0)).collect();
    assert_eq!(delivered.len(), 2, "{cut:?}, seed {}: a job was not delivered", scenario.seed);
}

/// At each operation of the ledger's disk, the power is cut, or the process killed. Whatever an answer, a copy or a checker
/// had seen is there when it is back: a checker holds the node to it.
#[test]
fn nothing_acknowledged_is_ever_lost_by_a_kill_9_or_a_power_cut() {
    for seed in 0..3 {
        at_every_write(seed, Scenario::LEDGER, Some(4_000), is_served);
    }
}

#[test]
fn a_provider_that_crashes_at_any_write_is_paid_for_what_it_sent() {
    for seed in 0..3 {
        at_every_write(seed, two_jobs(seed).provider(0), Some(4_000), is_served);
    }
}

#[test]
fn a_client_that_crashes_at_any_write_pays_for_what_it_got() {
    for seed in 0..3 {
        // What was delivered before the crash is not delivered again.
        at_every_write(seed, two_jobs(seed).client(0), Some(4_000), |_, _, _| {});
    }
}

#[test]
fn a_client_that_never_returns_owes_only_what_it_signed() {
    for seed in 0..2 {
        at_every_write(seed, two_jobs(seed).client(0), None, |_, report, _| assert_eq!(report.held, 0));
    }
}

#[test]
fn nothing_is_held_after_the_deadline_of_a_provider_that_died_mid_stream() {
    for seed in 0..2 {
        at_every_write(seed, two_jobs(seed).provider(0), None, |_, report, _| assert_eq!(report.held, 0));
    }
}

#[test]
fn crashes_at_any_moment_in_a_storm_cost_at_most_a_chunk() {
    let story = "crashes_at_any_moment_in_a_storm_cost_at_most_a_chunk";
    let scenario = |seed: u64| {
        let mut scenario =
            Scenario { weather: Weather::STORMY, token_ms: Some(80), ..Scenario::honest(seed, 2, 2) };
        let node = NodeId((seed % 5) as u16);
        let outage = Outage::At(Moment(500 + seed * 97 % 9_000));
        scenario.troubles =
            vec![Trouble { node, outage, down_ms: Some(1_000 + seed * 31 % 6_000), flips_bit: false }];
        scenario
    };
    for_each_seed(story, 300, scenario, |scenario, report| {
        wrongly_accused(scenario, report).map_or(Ok(()), Err)
    });
}
