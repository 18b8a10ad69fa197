//! What a buyer learned of a provider by running jobs there: how long they took, and whether it was there at all.
//!
//! Times are kept apart by model and size of the prompt, because both decide them: to the first token, and between the
//! tokens after it, which with the order's length give the total. What is said of a provider is what a run showed that
//! went as it should. A run that failed by the provider's fault, or for want of it, counts against its availability. One
//! that found the last free slot taken does not, but it was a try: whoever is always busy does not stay new. A run that
//! the caller broke off says nothing, and counts nowhere.
//!
//! Everything is bounded: [`CELLS_MAX`] pairs of model and size, [`RUNS_MAX`] runs of each, [`OUTCOMES_MAX`] outcomes;
//! the oldest go first. Samples fade by [`RUN_FADING`], so a provider that was slow once is judged anew.

use serde::{Deserialize, Serialize};

use super::{
    estimate::{Pace, TtftHistory},
    fading::Fading,
};
use crate::{
    id::ModelId,
    signed::PublicKey,
    units::{Millis, Timestamp},
    wire::{Wire, at_most},
};

/// Pairs of model and prompt size that are remembered of one provider.
pub const CELLS_MAX: usize = 32;
/// Runs that are remembered of one pair.
pub const RUNS_MAX: usize = 32;
/// Outcomes that are remembered of one provider, whatever the model.
pub const OUTCOMES_MAX: usize = 64;
/// How runs fade: half after an hour, gone after a day.
pub const RUN_FADING: Fading =
    Fading { half_life: Millis(60 * 60 * 1000), age_max: Millis(24 * 60 * 60 * 1000) };
/// Outcomes that count for availability are younger than this.
pub const AVAILABILITY_WINDOW: Millis = Millis(5 * 60 * 1000);
/// Runs that a provider is taken to have served before the first one was seen, so that one failure is not all that is
/// known of it.
pub const AVAILABILITY_PRIOR: u32 = 4;
/// One, in parts per million.
pub const PPM: u32 = 1_000_000;

/// Size of a prompt: 0 for up to 32 tokens, then one more for each doubling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PromptSize(u8);

impl PromptSize {
    /// The size of a prompt of `tokens`.
    #[must_use]
    pub const fn of(tokens: u32) -> Self {
        // The bits that are needed beyond the first five: at most 27.
        Self((u32::BITS - (tokens.saturating_sub(1) >> 5).leading_zeros()) as u8)
    }
}

/// One run that went as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it ended, by the buyer's clock.
    pub at: Timestamp,
    /// Microseconds from asking to the first token, round trip included.
    pub first_token_us: u64,
    /// Nanoseconds from a token to the next, on average; `None` for an output of one token.
    pub token_ns: Option<u64>,
}

impl Run {
    /// A run that delivered `tokens`, the first after `first_us` and the last after `total_us`.
    #[must_use]
    pub fn new(at: Timestamp, first_us: u64, total_us: u64, tokens: u32) -> Self {
        let rest = u128::from(total_us.saturating_sub(first_us)) * 1_000;
        let token_ns = rest.checked_div(u128::from(tokens.saturating_sub(1)));
        let token_ns = token_ns.map(|ns| u64::try_from(ns).unwrap_or(u64::MAX));
        Self { at, first_token_us: first_us, token_ns }
    }
}

/// How a job ended, as far as it says something of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It delivered.
    Served(Run),
    /// By the provider's fault, or it could not be reached or went away.
    Failed(Timestamp),
    /// Before it began: another caller took the free slot first.
    Busy(Timestamp),
    /// By the caller's fault or wish.
    Blameless,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cell {
    model: ModelId,
    size: PromptSize,
    /// The newest last.
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    at: Timestamp,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    Served,
    Failed,
    Busy,
}

/// All that is remembered of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderHistory {
    provider: PublicKey,
    /// The one that changed last is last.
    cells: Vec<Cell>,
    /// The newest last.
    outcomes: Vec<Outcome>,
}

/// What the history says of one model and prompt size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Learned {
    /// First tokens.
    pub first_token: Option<TtftHistory>,
    /// The tokens after them.
    pub pace: Option<Pace>,
    /// Runs that count in these, and those that came to nothing since the oldest that could: how often the provider was
    /// tried.
    pub tries: u32,
    /// Share of runs that were served in the last minutes, in parts per million.
    pub availability_ppm: u32,
}

impl ProviderHistory {
    /// Nothing is known of `provider` yet.
    #[must_use]
    pub fn new(provider: PublicKey) -> Self {
        Self { provider, cells: Vec::new(), outcomes: Vec::new() }
    }

    /// Whom it is about.
    #[must_use]
    pub fn provider(&self) -> PublicKey {
        self.provider
    }

    /// When anything was learned last; the beginning of time if nothing was.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        self.outcomes.last().map_or(Timestamp(0), |outcome| outcome.at)
    }

    /// Learns how a job ended. `false` if that says nothing of the provider.
    pub fn record(&mut self, model: ModelId, prompt_tokens: u32, ended: Ended) -> bool {
        let outcome = match ended {
            Ended::Blameless => return false,
            Ended::Failed(at) => Outcome { at, how: How::Failed },
            Ended::Busy(at) => Outcome { at, how: How::Busy },
            Ended::Served(run) => {
                self.record_run(model, PromptSize::of(prompt_tokens), run);
                Outcome { at: run.at, how: How::Served }
            }
        };
        push_bounded(&mut self.outcomes, outcome, OUTCOMES_MAX);
        true
    }

    fn record_run(&mut self, model: ModelId, size: PromptSize, run: Run) {
        let known = self.cells.iter().position(|cell| (cell.model, cell.size) == (model, size));
        let mut cell = match known {
            Some(place) => self.cells.remove(place),
            None => Cell { model, size, runs: Vec::new() },
        };
        push_bounded(&mut cell.runs, run, RUNS_MAX);
        push_bounded(&mut self.cells, cell, CELLS_MAX);
    }

    /// What is known at `now` of jobs like this one.
    #[must_use]
    pub fn learned(&self, now: Timestamp, model: &ModelId, prompt_tokens: u32) -> Learned {
        let size = PromptSize::of(prompt_tokens);
        let cell = self.cells.iter().find(|cell| (cell.model, cell.size) == (*model, size));
        let runs = cell.map_or(&[][..], |cell| &cell.runs);
        let first = RUN_FADING.summary(now, runs.iter().map(|run| (run.at, run.first_token_us)));
        let pace = RUN_FADING.summary(now, runs.iter().filter_map(|run| Some((run.at, run.token_ns?))));
        let recent = |how| self.count(now, AVAILABILITY_WINDOW, how);
        let in_vain = |how| self.count(now, RUN_FADING.age_max, how);
        let served = first.map_or(0, |it| it.samples);
        Learned {
            first_token: first.map(|it| TtftHistory {
                ewma_us: it.mean,
                p95_us: it.p95,
                samples: it.samples,
            }),
            pace: pace.map(|it| Pace { ewma_ns: it.mean, p95_ns: it.p95, samples: it.samples }),
            tries: served.saturating_add(in_vain(How::Failed)).saturating_add(in_vain(How::Busy)),
            availability_ppm: availability_ppm(recent(How::Served), recent(How::Failed)),
        }
    }

    /// Outcomes of this kind that are no older than `age_max`.
    fn count(&self, now: Timestamp, age_max: Millis, how: How) -> u32 {
        let alike =
            self.outcomes.iter().filter(|outcome| outcome.how == how && now.since(outcome.at) <= age_max);
        u32::try_from(alike.count()).unwrap_or(u32::MAX)
    }
}

/// Availability of a provider that served and failed so many runs of the last minutes, in parts per million, rounded
/// down: the share that was served, with [`AVAILABILITY_PRIOR`] more that are taken to have been. All of it if nothing
/// is known.
#[must_use]
pub fn availability_ppm(served: u32, failed: u32) -> u32 {
    let served = u64::from(served) + u64::from(AVAILABILITY_PRIOR);
    let share = served * u64::from(PPM) / (served + u64::from(failed));
    u32::try_from(share).unwrap_or(PPM)
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, max: usize) {
    if list.len() >= max {
        list.remove(0);
    }
    list.push(item);
}

impl Wire for ProviderHistory {
    const BYTES_MAX: usize = 64 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("cells", self.cells.len(), CELLS_MAX)?;
        at_most("outcomes", self.outcomes.len(), OUTCOMES_MAX)?;
        self.cells.iter().try_for_each(|cell| at_most("runs", cell.runs.len(), RUNS_MAX))
    }
}

#[cfg(test)]
mod tests;
