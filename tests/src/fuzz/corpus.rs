//! What new inputs are made from: the sound entries, and inputs that led somewhere new.

use std::collections::BTreeSet;

use crate::sim::rng::Rng;

/// Inputs kept beside the sound entries.
const KEPT_MAX: usize = 256;
/// Different reasons that are told apart.
const REASONS_MAX: usize = 1_024;
/// Letters of a refusal that are compared.
const REASON_CHARS: usize = 80;

/// Of so many accepted inputs one is kept: most are the same in other words.
const ACCEPTED_PER_KEPT: u64 = 16;

/// Entries to build upon; the kept ones that are oldest are forgotten for new ones.
#[derive(Clone, Debug)]
pub(super) struct Corpus {
    entries: Vec<Vec<u8>>,
    sound: usize,
    replace_next: usize,
    accepted: u64,
    reasons: BTreeSet<String>,
}

impl Corpus {
    /// A corpus of sound entries alone.
    ///
    /// # Panics
    /// If there are none.
    pub(super) fn new(sound: Vec<Vec<u8>>) -> Self {
        assert!(!sound.is_empty(), "a target begins with at least one sound entry");
        Self { sound: sound.len(), entries: sound, replace_next: 0, accepted: 0, reasons: BTreeSet::new() }
    }

    /// An entry to build upon: a sound one half of the time, so that inputs do not drift towards the trivial.
    pub(super) fn pick(&self, rng: &mut Rng) -> &[u8] {
        let end = if rng.one_in(2) { self.sound } else { self.entries.len() };
        &self.entries[rng.below(end as u64) as usize]
    }

    /// Different reasons seen.
    pub(super) fn reasons(&self) -> usize {
        self.reasons.len()
    }

    /// Keeps `input` if it was refused in words that no other was refused in, and some of those that were
    /// accepted.
    pub(super) fn learn(&mut self, input: Vec<u8>, outcome: &Result<(), String>) {
        self.accepted += u64::from(outcome.is_ok());
        let leads_on = match outcome {
            Ok(()) => self.accepted % ACCEPTED_PER_KEPT == 1,
            Err(_) if self.reasons.len() == REASONS_MAX => false,
            Err(words) => self.reasons.insert(reason(words)),
        };
        if !leads_on {
            return;
        }
        if self.entries.len() < self.sound + KEPT_MAX {
            self.entries.push(input);
        } else {
            self.entries[self.sound + self.replace_next] = input;
            self.replace_next = (self.replace_next + 1) % KEPT_MAX;
        }
    }
}

/// The words of a refusal without what it quotes, and without its numbers and ids.
fn reason(words: &str) -> String {
    let own = words.split('"').step_by(2).flat_map(str::split_whitespace);
    let plain = own.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    plain.collect::<Vec<_>>().join(" ").chars().take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_reasons_and_accepted_inputs_are_kept() {
        let mut corpus = Corpus::new(vec![vec![0]]);
        corpus.learn(vec![1], &Err("frame of 12 bytes".into()));
        corpus.learn(vec![2], &Err("frame of 3 bytes".into()));
        corpus.learn(vec![3], &Ok(()));
        assert_eq!(corpus.entries, [[0], [1], [3]]);
        assert_eq!(corpus.reasons(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_and_sound_entries_stay() {
        let mut corpus = Corpus::new(vec![vec![9]]);
        for _ in 0..3 * KEPT_MAX as u64 * ACCEPTED_PER_KEPT {
            corpus.learn(vec![1], &Ok(()));
        }
        assert_eq!(corpus.entries.len(), 1 + KEPT_MAX);
        assert_eq!(corpus.entries[0], [9]);
    }

    #[test]
    fn reasons_are_compared_without_names_and_numbers() {
        assert_eq!(reason("tensor \"a 1\" has 3 rows, key 7fab"), "tensor has rows, key");
        assert_eq!(reason(&"long ".repeat(99)).len(), REASON_CHARS);
    }
}
