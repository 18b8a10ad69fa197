//! What tokens that were there before take off their logits.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    exact::round::{round_shift, sat32},
    job::sampling::Sampling,
};

/// The tokens before the one that is chosen.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The prompt.
    pub prompt: &'a [u32],
    /// The output so far.
    pub output: &'a [u32],
}

impl History<'_> {
    /// The last `count` tokens of prompt and output, as a set.
    fn last(&self, count: u32) -> BTreeSet<u32> {
        self.output.iter().rev().chain(self.prompt.iter().rev()).take(count as usize).copied().collect()
    }

    /// How often each token stands in the output.
    fn counts(&self) -> BTreeMap<u32, i64> {
        let mut counts = BTreeMap::new();
        self.output.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
        counts
    }
}

/// The logits after all three penalties: repetition first, then frequency and presence.
pub(super) fn penalise(logits: &[i32], rules: &Sampling, history: History<'_>) -> Vec<i32> {
    let (repeated, counts) = (history.last(rules.repeat_last), history.counts());
    let one = |(id, &logit): (u32, &i32)| {
        let logit = if repeated.contains(&id) { repeat(logit, rules.repetition_q16) } else { logit.into() };
        let count = counts.get(&id).copied().unwrap_or(0);
        let frequency = count * i64::from(rules.frequency_q16);
        let presence = count.min(1) * i64::from(rules.presence_q16);
        sat32(logit - frequency - presence)
    };
    (0u32..).zip(logits).map(one).collect()
}

/// A repeated token's logit: divided if it is positive, multiplied if not.
fn repeat(logit: i32, penalty: u32) -> i64 {
    let (logit, penalty) = (i64::from(logit), i64::from(penalty));
    let factor = if logit > 0 { (1 << 32) / penalty } else { penalty };
    round_shift(logit * factor, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;

    #[test]
    fn repetition_looks_on_the_last_tokens_of_prompt_and_output() {
        let history = History { prompt: &[0, 1, 2], output: &[3] };
        let rules = |repeat_last| Sampling { repetition_q16: 2 << 16, repeat_last, ..Sampling::GREEDY };
        let logits = [4 * ONE, -4 * ONE, 0, 3, 4 * ONE];
        let after = |repeat_last| penalise(&logits, &rules(repeat_last), history);
        assert_eq!(after(0), logits);
        assert_eq!(after(1), [4 * ONE, -4 * ONE, 0, 2, 4 * ONE]);
        assert_eq!(after(3), [4 * ONE, -8 * ONE, 0, 2, 4 * ONE]);
        assert_eq!(after(u32::MAX), [2 * ONE, -8 * ONE, 0, 2, 4 * ONE]);
    }

    #[test]
    fn frequency_counts_and_presence_does_not_and_both_see_the_output_alone() {
        let history = History { prompt: &[2, 2], output: &[0, 1, 0, 0] };
        let rules = Sampling { frequency_q16: 100, presence_q16: 7, ..Sampling::GREEDY };
        assert_eq!(penalise(&[0, 0, 0], &rules, history), [-307, -107, 0]);
        let rewards = Sampling { frequency_q16: -100, presence_q16: -7, ..Sampling::GREEDY };
        assert_eq!(penalise(&[0, 0, 0], &rewards, history), [307, 107, 0]);
    }

    #[test]
    fn what_leaves_the_range_stays_at_its_end() {
        let history = History { prompt: &[], output: &[0, 1] };
        let rules = Sampling { repetition_q16: 100 << 16, presence_q16: 2 << 16, ..Sampling::GREEDY };
        assert_eq!(penalise(&[i32::MIN + 1, 5], &rules, history)[0], -i32::MAX);
        let raised = Sampling { repetition_q16: 656, presence_q16: -2 << 16, ..Sampling::GREEDY };
        assert_eq!(penalise(&[i32::MAX, 5], &raised, history)[0], i32::MAX);
    }
}
