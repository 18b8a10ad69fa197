//! Two hundred nodes trade for an hour; a fifth of them leaves and returns in every ten minutes, a tenth cheats.

use std::collections::BTreeSet;

use gridhour_node::bench::matrix::Matrix;
use testkit::{
    data,
    fair::Fair,
    scenario::{ClientKind, ProviderKind},
    seeds::{self, seeds},
    sim::world::Report,
};

/// Orders of honest clients: how many were made, and how many of them were served in time.
fn served(fair: &Fair, report: &Report) -> (usize, usize) {
    let honest = (0..fair.clients).filter(|at| fair.client_kind(*at) == ClientKind::Honest);
    let orders: BTreeSet<_> = honest
        .flat_map(|at| (0..fair.schedule(at).len()).map(move |errand| (fair.client(at), errand)))
        .collect();
    (orders.len(), orders.intersection(&report.delivered).count())
}

fn run(fair: &Fair, story: &str) -> Report {
    fair.run().unwrap_or_else(|failure| {
        let seed = fair.seed;
        panic!(
            "{failure}\nreplay with: {}={seed} cargo test -p gridhour-testkit --test market {story}",
            seeds::SEED
        )
    })
}

#[test]
fn one() {
    let matrix = data::round_trips().cloned().unwrap_or_else(Matrix::synthetic);
    let minutes = std::env::var("M").map_or(10, |m| m.parse().unwrap());
    for seed in seeds(1) {
        let fair = Fair { minutes, ..Fair::of_two_hundred(seed, matrix.clone()) };
        let start = std::time::Instant::now();
        let report = run(&fair, "one");
        println!("{:?} {} events, {} ms", start.elapsed(), report.events, report.ended_ms);
        println!("{:?}", served(&fair, &report));
        println!("{:?}", report.counts);
        println!("bans {:?}", report.bans.len());
        let mut acc: std::collections::BTreeMap<_, usize> = Default::default();
        report.accusations.iter().for_each(|(_, _, what)| *acc.entry(*what).or_default() += 1);
        println!("acc {acc:?} held {}", report.held);
    }
}
