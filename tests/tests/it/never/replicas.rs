//! Nodes, network, clocks and disks, and everything that can go wrong with them at once.

use testkit::{
    scenario::{Scenario, Trouble},
    seeds::{for_each_seed, wrongly_accused},
    sim::{
        clock::Moment,
        durable::Cut,
        net::{NodeId, Partition, Weather},
        rng::Rng,
        world::{Outage, Report},
    },
};

/// Worlds of this story in every run of the tests.
const WORLDS: u64 = 1_000;

/// A small market in a storm with two copies of its ledger. The ledger node and one copy lose their power, or are killed,
/// at any operation of their disks; the other copy finds a bit of its disk turned over after a power cut; somebody who
/// trades crashes, and somebody is cut off for a while.
fn troubled(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed ^ 0x7407_b1ed);
    let (providers, clients) = (1 + rng.below(2) as usize, 1 + rng.below(2) as usize);
    let market = Scenario::honest(seed, providers, clients);
    let scenario = Scenario { weather: Weather::STORMY, observers: 2, token_ms: Some(40), ..market };
    let trades = NodeId(1 + rng.below((providers + clients) as u64) as u16);
    let at_operation = |rng: &mut Rng| Outage::AtWrite(Cut { at: rng.below(45), kept: rng.one_in(2) });
    let at_moment = |rng: &mut Rng| Outage::At(Moment(1_500 + rng.below(9_000)));
    let trouble = |rng: &mut Rng, node, outage, flips_bit| Trouble {
        node,
        outage,
        down_ms: Some(500 + rng.below(4_000)),
        flips_bit,
    };
    let outages = [at_operation(&mut rng), at_operation(&mut rng), at_moment(&mut rng), at_moment(&mut rng)];
    let [ledger, copy, flipped, trader] = outages;
    let troubles = vec![
        trouble(&mut rng, Scenario::LEDGER, ledger, false),
        trouble(&mut rng, scenario.observer(0), copy, false),
        trouble(&mut rng, scenario.observer(1), flipped, true),
        trouble(&mut rng, trades, trader, false),
    ];
    let (node, from) =
        (NodeId(rng.below(u64::from(scenario.observer(2).0)) as u16), Moment(rng.below(12_000)));
    let partition = Partition::of(node, from, from.after(500 + rng.below(6_000)));
    Scenario { troubles, partitions: vec![partition], ..scenario }
}

/// After every block that any of them takes in, its root is that of the blocks (the checkers see to it), and at the end
/// all have all blocks (the world does not end before). What one disk has lost, or holds wrong, comes back from the ledger.
#[test]
fn two_honest_replicas_never_differ() {
    let judge = |scenario: &Scenario, report: &Report| {
        if report.counts.get("copied").is_none_or(|copied| *copied < 2) {
            return Err("nobody copied anything".into());
        }
        wrongly_accused(scenario, report).map_or(Ok(()), Err)
    };
    let tally = for_each_seed("two_honest_replicas_never_differ", WORLDS, troubled, judge);
    tally.has_worlds(WORLDS as usize);
    let mishaps = ["crash", "torn-tail", "lost-write", "bit-flip", "damage-named"];
    tally.has_all(&mishaps);
    tally.has_all(&["stalled", "lost", "duplicate", "parted", "opened", "closed"]);
}
