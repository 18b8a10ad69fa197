//! Penalties on tokens that were there before, counted as the output grows.

use std::collections::{HashMap, VecDeque};

use gridhour_protocol::job::sampling::Sampling;

use super::super::fixed::{round_shift, sat32};

/// What stands before the next token, as far as penalties look at it.
#[derive(Clone, Debug)]
pub(super) struct Penalties {
    rules: Sampling,
    /// The last tokens of prompt and output, the oldest first.
    window: VecDeque<u32>,
    /// Tokens that the window holds at most.
    room: usize,
    seen: HashMap<u32, Seen>,
    /// Logits after penalties.
    penalised: Vec<i32>,
}

/// How often a token was there.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    in_window: u32,
    in_output: u32,
}

impl Penalties {
    pub(super) fn new(rules: &Sampling, prompt: &[u32]) -> Self {
        let room = rules.repeat_last as usize;
        let mut penalties = Self {
            rules: *rules,
            window: VecDeque::new(),
            room,
            seen: HashMap::new(),
            penalised: Vec::new(),
        };
        prompt[prompt.len().saturating_sub(room)..].iter().for_each(|token| penalties.pass(*token));
        penalties
    }

    /// `logits` with the penalties of all tokens seen.
    pub(super) fn apply(&mut self, logits: &[i32]) -> &[i32] {
        self.penalised.clear();
        self.penalised.extend_from_slice(logits);
        for (token, seen) in &self.seen {
            if let Some(logit) = self.penalised.get_mut(*token as usize) {
                *logit = penalise(*logit, *seen, &self.rules);
            }
        }
        &self.penalised
    }

    /// Takes in a token of the output.
    pub(super) fn record(&mut self, token: u32) {
        self.seen.entry(token).or_default().in_output += 1;
        self.pass(token);
    }

    /// Moves the window on by one token.
    fn pass(&mut self, token: u32) {
        if self.room == 0 {
            return;
        }
        if self.window.len() == self.room
            && let Some(oldest) = self.window.pop_front()
            && let Some(seen) = self.seen.get_mut(&oldest)
        {
            seen.in_window -= 1;
        }
        self.window.push_back(token);
        self.seen.entry(token).or_default().in_window += 1;
    }
}

fn penalise(logit: i32, seen: Seen, rules: &Sampling) -> i32 {
    let (mut value, penalty) = (i64::from(logit), i64::from(rules.repetition_q16));
    if seen.in_window > 0 {
        let factor = if logit > 0 { (1 << 32) / penalty } else { penalty };
        value = round_shift(value * factor, 16);
    }
    if seen.in_output > 0 {
        value -= i64::from(seen.in_output) * i64::from(rules.frequency_q16) + i64::from(rules.presence_q16);
    }
    sat32(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_and_the_output_does_not() {
        let rules = Sampling { repetition_q16: 131_072, repeat_last: 2, presence_q16: 1, ..Sampling::GREEDY };
        let mut penalties = Penalties::new(&rules, &[0, 1, 2]);
        let logits = [400; 4];
        assert_eq!(penalties.apply(&logits), [400, 200, 200, 400]);
        penalties.record(3);
        assert_eq!(penalties.apply(&logits), [400, 400, 200, 199]);
        penalties.record(3);
        penalties.record(0);
        penalties.record(0);
        assert_eq!(penalties.apply(&logits), [199, 400, 400, 399]);
    }
}
