//! Fuzzing as ordinary tests: bytes that were sound once, damaged from a seed, against one decoder.
//!
//! ```text
//! corpus ── mutate ──> check ── accepted, or refused for a new reason ──> corpus
//!                        └───── panics, or takes too long ──> shrunk, printed as hexadecimal, and the test fails
//! ```
//! There is no instrumentation, so the words of a refusal stand in for coverage: an input that is refused
//! for a reason not seen before got to a place not seen before, and is built upon.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `GRIDHOUR_SEED` | decides every input | [`SEED`] |
//! | `GRIDHOUR_FUZZ_SECONDS` | how long each target runs, at least | [`SECONDS`] |
//!
//! The n-th input of a target depends on the seed alone, so a longer run repeats a shorter one and goes on.

mod corpus;
mod mutate;
mod shrink;

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
    time::{Duration, Instant},
};

use gridhour_protocol::id::to_hex;

use self::{corpus::Corpus, mutate::Mutator, shrink::shrink};
use crate::sim::rng::Rng;

/// Seed where the environment names none.
pub const SEED: u64 = 20_260_801;
/// Seconds that each target runs where the environment names none.
pub const SECONDS: u64 = 2;
/// Inputs that each target sees, however slow the machine.
const INPUTS_LEAST: u64 = 400;
/// How long one input may take: far above what any takes on a busy machine, far below what a loop without
/// end does.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);

/// One decoder under test, and what it is fed.
#[derive(Clone, Debug)]
pub struct Target {
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static str],
    len_max: usize,
    inputs_least: u64,
    seed: u64,
    time: Duration,
}

/// What a run saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Inputs given.
    pub inputs: u64,
    /// Inputs that the decoder took.
    pub accepted: u64,
    /// Different reasons for which it refused.
    pub reasons: usize,
}

impl Target {
    /// A target that begins with `corpus`, bytes that the decoder takes.
    #[must_use]
    pub fn new(name: &'static str, corpus: Vec<Vec<u8>>) -> Self {
        let longest = corpus.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            name,
            corpus,
            words: &[],
            len_max: 4 * longest.max(256),
            inputs_least: INPUTS_LEAST,
            seed: from_environment("GRIDHOUR_SEED").unwrap_or(SEED),
            time: Duration::from_secs(from_environment("GRIDHOUR_FUZZ_SECONDS").unwrap_or(SECONDS)),
        }
    }

    /// With words that mean something to the decoder.
    #[must_use]
    pub fn with_words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    /// With another length of the longest input, in bytes.
    #[must_use]
    pub fn with_len_max(self, len_max: usize) -> Self {
        Self { len_max, ..self }
    }

    /// With another number of inputs that are given in any case.
    #[must_use]
    pub fn with_inputs_least(self, inputs_least: u64) -> Self {
        Self { inputs_least, ..self }
    }

    /// Feeds `check` until the time is over. It returns the words of the refusal for bytes that the decoder
    /// refuses, and panics where a property does not hold.
    ///
    /// # Panics
    /// If `check` refuses an entry of the corpus, panics, or takes too long; after printing the input.
    pub fn run(&self, check: impl Fn(&[u8]) -> Result<(), String>) -> Tally {
        println!("fuzz target {}: GRIDHOUR_SEED={}", self.name, self.seed);
        let mut corpus = Corpus::new(self.corpus.clone());
        let mut tally = Tally { inputs: 0, accepted: 0, reasons: 0 };
        for (place, entry) in self.corpus.iter().enumerate() {
            let sound = self.attempt(entry, &check);
            assert_eq!(sound, Ok(()), "{}: entry {place} of the corpus is refused", self.name);
        }
        let mut mutator = Mutator::new(Rng::new(self.seed ^ hash_of(self.name)), self.words, self.len_max);
        let start = Instant::now();
        while tally.inputs < self.inputs_least || start.elapsed() < self.time {
            let input = mutator.next(&corpus);
            let outcome = self.attempt(&input, &check);
            tally.inputs += 1;
            tally.accepted += u64::from(outcome.is_ok());
            corpus.learn(input, &outcome);
        }
        tally.reasons = corpus.reasons();
        self.print(&tally, start.elapsed());
        tally
    }

    fn attempt(&self, input: &[u8], check: &impl Fn(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
        let took = start.elapsed();
        match outcome {
            Ok(_) if took > INPUT_TIME_MAX => self.fail(input, &format!("it took {took:?}")),
            Ok(outcome) => outcome,
            Err(panic) => {
                let fails = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| check(input))).is_err();
                let smaller = quietly(|| shrink(input, fails));
                self.fail(&smaller, &words_of(&*panic))
            }
        }
    }

    fn fail(&self, input: &[u8], why: &str) -> ! {
        let (name, seed, hex) = (self.name, self.seed, to_hex(input));
        panic!("fuzz target {name}, GRIDHOUR_SEED={seed}: {why}\ninput of {} bytes: {hex}", input.len());
    }

    fn print(&self, tally: &Tally, took: Duration) {
        let Tally { inputs, accepted, reasons } = tally;
        let rate = *inputs as f64 / took.as_secs_f64();
        println!(
            "{}: {inputs} inputs, {rate:.0} a second, {accepted} accepted, {reasons} reasons",
            self.name
        );
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without a message for each of its panics: the first one was shown.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                shown(info);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// FNV-1a: two targets of one run see different damage.
fn hash_of(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte that says how many follow.
    fn counted(bytes: &[u8]) -> Result<(), String> {
        let (len, rest) = bytes.split_first().ok_or("nothing")?;
        if rest.len() == usize::from(*len) { Ok(()) } else { Err(format!("{} for {len}", rest.len())) }
    }

    fn target(corpus: &[&[u8]]) -> Target {
        let corpus = corpus.iter().map(|entry| entry.to_vec()).collect();
        Target { time: Duration::ZERO, seed: 7, ..Target::new("sample", corpus) }.with_inputs_least(20_000)
    }

    #[test]
    fn one_seed_gives_one_run() {
        let run = || target(&[b"\x03abc", b"\x00"]).run(counted);
        let tally = run();
        assert_eq!(tally, run());
        assert!(tally.accepted > 100 && tally.accepted < tally.inputs, "{tally:?}");
        assert_eq!(tally.reasons, 2, "numbers in a refusal do not count");
    }

    #[test]
    fn a_planted_bug_is_found_and_its_input_made_small() {
        let buggy = |bytes: &[u8]| {
            counted(bytes)?;
            assert!(bytes.len() < 9 || bytes[6] != 0x7f, "planted");
            Ok(())
        };
        let run = catch_unwind(|| target(&[b"\x0cabcdefghijkl"]).run(buggy));
        let words = words_of(&*run.expect_err("the bug is found"));
        assert!(words.contains("fuzz target sample, GRIDHOUR_SEED=7: planted"), "{words}");
        let hex = words.rsplit(' ').next().expect("the input ends the message");
        let (tail, head) = (&hex[12..14], hex.len() / 2);
        assert_eq!(tail, "7f");
        assert!(hex.starts_with(&format!("{:02x}", head - 1)), "{hex} still has the shape");
        assert!(hex[2..12].chars().all(|digit| digit == '0'), "{hex}: what does not matter is zero");
    }

    #[test]
    fn an_unsound_corpus_is_refused() {
        assert!(catch_unwind(|| target(&[b"\x05abc"]).run(counted)).is_err());
    }
}
