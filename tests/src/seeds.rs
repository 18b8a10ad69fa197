//! One story, many seeds. A failure prints its seed and the command that runs just that one.

use std::{collections::BTreeMap, env};

use rayon::prelude::*;

use crate::{scenario::Scenario, sim::world::Report};

/// Runs only this seed.
pub const SEED: &str = "GRIDHOUR_SEED";
/// Multiplies the number of seeds: a number, or `full`.
pub const SCALE: &str = "GRIDHOUR_TEST_SCALE";
/// What `full` multiplies by: a run of `engine_gpu` then compares over 1,000 generations.
const FULL: u64 = 36;

/// The seeds of a story that by default has `count`: fewer or more by [`SCALE`], or the one of [`SEED`].
///
/// # Panics
/// If one of the variables is set to something that is no number.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    match number(SEED) {
        Some(seed) => vec![seed],
        None => (0..count * scale()).collect(),
    }
}

/// How many times as long a test should look for trouble.
///
/// # Panics
/// If [`SCALE`] is set to something that is no number, nor `full`.
#[must_use]
pub fn scale() -> u64 {
    if env::var(SCALE).is_ok_and(|text| text == "full") { FULL } else { number(SCALE).unwrap_or(1) }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, which is no number")))
}

/// Runs the scenario of each seed and hands its report to `judge`. What happened is counted over all of them.
/// Worlds share nothing, so they run on all cores.
///
/// # Panics
/// With the seed, the command that replays it and what was found, if a checker or `judge` says no.
pub fn for_each_seed(
    story: &str,
    count: u64,
    scenario: impl Fn(u64) -> Scenario + Sync,
    judge: impl Fn(&Scenario, &Report) -> Result<(), String> + Sync,
) -> Tally {
    let run = |seed: u64| {
        let scenario = scenario(seed);
        let report = scenario.run().map_err(|failure| failure.to_string());
        let verdict = report.and_then(|report| judge(&scenario, &report).map(|()| report));
        verdict.map_err(|what| (seed, what))
    };
    let runs: Vec<Result<Report, (u64, String)>> = seeds(count).into_par_iter().map(run).collect();
    let failed: Vec<&(u64, String)> = runs.iter().filter_map(|run| run.as_ref().err()).collect();
    if let Some((seed, what)) = failed.first() {
        let replay = format!("{SEED}={seed} cargo test -p gridhour-testkit --test it {story}");
        panic!("{} seeds failed; the first is {seed}\n{what}\nreplay with: {replay}", failed.len());
    }
    Tally::of(runs.into_iter().flatten())
}

/// How often things happened in all worlds of a story.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    worlds: usize,
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn of(reports: impl Iterator<Item = Report>) -> Self {
        let mut tally = Self::default();
        for report in reports {
            tally.worlds += 1;
            for (what, count) in report.counts {
                *tally.counts.entry(what).or_default() += count;
            }
        }
        tally
    }

    /// Asserts that so many worlds ran, unless one was asked for.
    ///
    /// # Panics
    /// If there were fewer.
    pub fn has_worlds(&self, least: usize) {
        assert!(self.worlds >= least || number(SEED).is_some(), "{} worlds, not {least}", self.worlds);
        println!("{} worlds: {:?}", self.worlds, self.counts);
    }

    /// Asserts that all of these happened somewhere, so that a story cannot pass by never getting to what it
    /// is about. Says nothing about a single seed.
    ///
    /// # Panics
    /// If one never did.
    pub fn has_all(&self, things: &[&'static str]) {
        let missing: Vec<_> = things.iter().filter(|thing| !self.counts.contains_key(*thing)).collect();
        assert!(
            missing.is_empty() || number(SEED).is_some(),
            "never happened: {missing:?}; counts: {:?}",
            self.counts
        );
    }
}

/// Who was accused although honest.
#[must_use]
pub fn wrongly_accused(scenario: &Scenario, report: &Report) -> Option<String> {
    let found = report.accusations.iter().find(|(_, whom, _)| scenario.is_honest(whom));
    found.map(|(by, whom, misdeed)| format!("node {} accused honest {} of {misdeed}", by.0, whom.short()))
}
