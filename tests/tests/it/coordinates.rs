//! Coordinates and geography against round trips that were measured between real regions.

use std::collections::BTreeMap;

use gridhour_node::bench::matrix::Matrix;
use gridhour_protocol::market::{
    coordinate::{Coordinate, Vivaldi},
    geography::{guess_us, light_us},
};
use testkit::{data, sim::rng::Rng};

/// Nodes in each region.
const NODES: usize = 10;
/// Peers that a node measures.
const NEIGHBOURS: usize = 16;
/// The usual way from a node to its region's network and back, in microseconds.
const ACCESS_US: u64 = 4_000;

/// Nodes of all regions, with the round trips between them.
struct Network<'m> {
    matrix: &'m Matrix,
    access_us: Vec<u64>,
    placed: Vec<Vivaldi>,
    neighbours: Vec<Vec<usize>>,
    /// The last pings of each node to each of its neighbours.
    last: BTreeMap<(usize, usize), Vec<u64>>,
    rng: Rng,
}

impl<'m> Network<'m> {
    fn new(matrix: &'m Matrix, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = matrix.names().len() * NODES;
        let access_us = (0..count).map(|_| ACCESS_US / 2 + rng.below(ACCESS_US)).collect();
        let placed = (0..count).map(|_| Vivaldi::new(Coordinate::UNKNOWN, rng.bits())).collect();
        let mut others = |node: usize| (node + 1 + rng.below(count as u64 - 1) as usize) % count;
        let neighbours = (0..count).map(|node| (0..NEIGHBOURS).map(|_| others(node)).collect()).collect();
        Self { matrix, access_us, placed, neighbours, last: BTreeMap::new(), rng }
    }

    fn rtt_us(&self, one: usize, other: usize) -> u64 {
        self.matrix.rtt_us(one / NODES, other / NODES) + self.access_us[one] + self.access_us[other]
    }

    /// One ping: 5 % of jitter, and one in a hundred takes three times as long.
    fn ping(&mut self, one: usize, other: usize) -> u64 {
        let jitter = 950 + self.rng.below(101);
        let held_up = if self.rng.one_in(100) { 3 } else { 1 };
        self.rtt_us(one, other) * jitter * held_up / 1_000
    }

    /// One more ping, and the middle of the last three between these two, as nodes use them.
    fn steady(&mut self, one: usize, other: usize) -> u64 {
        let rtt = self.ping(one, other);
        let last = self.last.entry((one, other)).or_default();
        last.push(rtt);
        let mut three: Vec<u64> = last.iter().rev().take(3).copied().collect();
        three.sort_unstable();
        three[three.len() / 2]
    }

    /// Every node pings one of its neighbours `samples` times over, in turns.
    fn learn(&mut self, samples: usize) {
        for _ in 0..samples {
            for node in 0..self.placed.len() {
                let other = self.neighbours[node][self.rng.below(NEIGHBOURS as u64) as usize];
                let (rtt, theirs) = (self.steady(node, other), self.placed[other].coordinate());
                self.placed[node].learn(&theirs, rtt, 0).expect("an honest round trip");
            }
        }
    }

    /// Relative errors of what is expected between all pairs, in parts per million, sorted.
    fn errors_ppm(&self) -> Vec<u64> {
        let all = 0..self.placed.len();
        let pairs = all.clone().flat_map(|one| (0..one).map(move |other| (one, other)));
        let error = |(one, other): (usize, usize)| {
            let expected = self.placed[one].coordinate().distance_us(&self.placed[other].coordinate());
            let rtt = self.rtt_us(one, other);
            expected.abs_diff(rtt) * 1_000_000 / rtt
        };
        let mut errors: Vec<u64> = pairs.map(error).collect();
        errors.sort_unstable();
        errors
    }
}

fn median(sorted: &[u64]) -> u64 {
    sorted[sorted.len() / 2]
}

#[test]
fn coordinates_foretell_real_round_trips_within_12_per_cent() {
    let Some(matrix) = data::round_trips() else { return };
    for seed in 1..=3 {
        let mut network = Network::new(matrix, seed);
        network.learn(120);
        let errors = network.errors_ppm();
        println!("seed {seed}: median {} ppm, 90th {} ppm", median(&errors), errors[errors.len() * 9 / 10]);
        assert!(median(&errors) <= 120_000, "seed {seed}: median {} ppm", median(&errors));
    }
}

/// One node in ten tells a place that is not its own, and is sure of it.
#[test]
fn liars_do_not_carry_honest_nodes_away() {
    let Some(matrix) = data::round_trips() else { return };
    let mut network = Network::new(matrix, 7);
    network.learn(120);
    let before: Vec<Coordinate> = network.placed.iter().map(Vivaldi::coordinate).collect();
    let lie = Coordinate { position_us: [9_000_000; 8], error_ppm: 1, ..Coordinate::UNKNOWN };
    for node in (0..before.len()).filter(|node| node % 10 != 0) {
        let liar = node - node % 10;
        let rtt = network.ping(node, liar);
        network.placed[node].learn(&lie, rtt, 0).expect("nothing says that it is a lie");
    }
    network.learn(40);
    let errors = network.errors_ppm();
    assert!(median(&errors) <= 250_000, "median {} ppm after the lie", median(&errors));
}

#[test]
fn no_real_round_trip_is_faster_than_light_and_geography_guesses_it_roughly() {
    let Some(matrix) = data::round_trips() else { return };
    let names = matrix.names();
    let mut errors = Vec::new();
    for (i, one) in names.iter().enumerate() {
        for (j, other) in names.iter().enumerate().take(i) {
            let rtt = matrix.rtt_us(i, j);
            assert!(light_us(Some(one), Some(other)) <= rtt, "{one} {other}");
            let guess = guess_us(one, other).expect("both regions are known");
            errors.push(guess.abs_diff(rtt) * 1_000_000 / rtt);
        }
    }
    errors.sort_unstable();
    assert!(median(&errors) <= 200_000, "median {} ppm", median(&errors));
}
