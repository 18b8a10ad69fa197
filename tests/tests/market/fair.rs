//! Two hundred nodes trade for an hour; a fifth of them leaves and returns in every ten minutes, a tenth cheats.

use std::collections::BTreeSet;

use gridhour_node::bench::matrix::Matrix;
use gridhour_protocol::signed::PublicKey;
use testkit::{
    data,
    fair::Fair,
    scenario::ClientKind,
    seeds::{SEED, seeds},
    sim::world::Report,
};

fn matrix() -> Matrix {
    data::round_trips().cloned().unwrap_or_else(Matrix::synthetic)
}

/// Orders of honest clients: how many were made, and how many of them were served in time.
fn served(fair: &Fair, report: &Report) -> (usize, usize) {
    let honest = (0..fair.clients).filter(|at| fair.client_kind(*at) == ClientKind::Honest);
    let orders_of = |at| (0..fair.schedule(at).len()).map(move |errand| (fair.client(at), errand));
    let orders: BTreeSet<_> = honest.flat_map(orders_of).collect();
    (orders.len(), orders.intersection(&report.delivered).count())
}

fn run(fair: &Fair, story: &str) -> Report {
    fair.run().unwrap_or_else(|failure| {
        let replay = format!("{SEED}={} cargo test -p gridhour-testkit --test market {story}", fair.seed);
        panic!("{failure}\nreplay with: {replay}")
    })
}

fn count(report: &Report, what: &str) -> u64 {
    report.counts.get(what).copied().unwrap_or(0)
}

/// That nobody honest is shut out, that memory stays flat and that what is not served is refunded, the checkers see to. Here
/// it is asserted that there was something to withstand, and how much was served all the same.
#[test]
fn in_an_hour_of_churn_and_misdeeds_every_honest_order_is_served_or_refunded() {
    let story = "in_an_hour_of_churn_and_misdeeds_every_honest_order_is_served_or_refunded";
    for seed in seeds(1) {
        let fair = Fair::of_two_hundred(seed, matrix());
        assert_eq!((fair.nodes(), fair.cheats()), (200, 20));
        let report = run(&fair, story);
        let (orders, served) = served(&fair, &report);
        let misdeeds: BTreeSet<_> = report.accusations.iter().map(|(_, _, misdeed)| *misdeed).collect();
        let bans: BTreeSet<_> = report.bans.iter().map(|(_, _, why)| *why).collect();
        println!(
            "seed {seed}: {served} of {orders} orders served in {} ms; {:?}",
            report.ended_ms, report.counts
        );
        println!("accused of {misdeeds:?}; shut out for {bans:?}");
        assert!(
            orders > 1_500 && 100 * served >= 99 * orders,
            "seed {seed}: {served} of {orders} were served"
        );
        assert!(count(&report, "crash") > 200 && count(&report, "parted") > 1_000, "seed {seed}: too calm");
        for misdeed in
            ["wrong-digest", "extra-tokens", "wrong-receipt", "wrong-output", "silent", "voucher-reused"]
        {
            assert!(misdeeds.contains(misdeed), "seed {seed}: nobody was caught at {misdeed}: {misdeeds:?}");
        }
        assert!(bans.contains("over-rate") && bans.contains("bad-gossip"), "seed {seed}: {bans:?}");
        assert_eq!(report.held, 0, "seed {seed}");
    }
}

/// A third of the providers bring their neighbours as many valid adverts as they may, from the beginning to the end: of keys
/// that nobody knows, and renewals of these. Every honest offer is still known everywhere.
#[test]
fn a_flood_within_the_rates_keeps_no_honest_offer_from_anybody() {
    for seed in seeds(1) {
        let (providers, clients, pourers, minutes) = (12, 3, 4, 3);
        let adverts_ms = (15_000, 40_000);
        let fair = Fair { seed, providers, clients, pourers, adverts_ms, minutes, matrix: matrix() };
        let report = run(&fair, "a_flood_within_the_rates_keeps_no_honest_offer_from_anybody");
        let [there, known] = ["offer-there", "offer-known"].map(|what| count(&report, what));
        println!("seed {seed}: {known} of {there} offers known in {} ms", report.ended_ms);
        assert!(there > 100 && 100 * known >= 99 * there, "seed {seed}: {known} of {there} are known");
        let (orders, served) = served(&fair, &report);
        assert!(orders > 0 && orders == served, "seed {seed}: {served} of {orders} were served");
        let is_pourer = |key: &PublicKey| (0..pourers).any(|at| fair.provider(3 * at) == *key);
        let mut bans = report.bans.iter();
        assert!(!bans.any(|(_, whom, _)| is_pourer(whom)), "seed {seed}: it was within the rates");
    }
}

#[test]
fn one_seed_is_one_fair() {
    let of_forty =
        |seed| Fair { providers: 40, clients: 12, minutes: 10, ..Fair::of_two_hundred(seed, matrix()) };
    let trace = |seed| run(&of_forty(seed), "one_seed_is_one_fair").trace;
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
