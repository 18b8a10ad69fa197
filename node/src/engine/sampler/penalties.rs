//! Penalties on tokens that were there before.

use std::collections::HashMap;

use gridhour_protocol::job::sampling::{ONE_Q16, Sampling as Rules};

use super::super::fixed::{round_shift, sat32};

/// What was there before of one token.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    /// Among the last tokens of the text.
    lately: bool,
    /// Times in the output.
    written: u32,
}

/// `logits` with the penalties of the tokens of `text`, whose output begins at `start`.
pub(super) fn penalised(logits: &[i32], rules: &Rules, text: &[u32], start: usize) -> Vec<i32> {
    let mut penalised = logits.to_vec();
    for (token, seen) in seen(rules, text, start) {
        if let Some(logit) = penalised.get_mut(token as usize) {
            *logit = penalise(*logit, seen, rules);
        }
    }
    penalised
}

/// Every token on which some penalty lies.
fn seen(rules: &Rules, text: &[u32], start: usize) -> HashMap<u32, Seen> {
    let mut seen: HashMap<u32, Seen> = HashMap::new();
    if rules.repetition_q16 != ONE_Q16 {
        let window = text.len().saturating_sub(rules.repeat_last as usize);
        text[window..].iter().for_each(|token| seen.entry(*token).or_default().lately = true);
    }
    if rules.frequency_q16 != 0 || rules.presence_q16 != 0 {
        text[start..].iter().for_each(|token| seen.entry(*token).or_default().written += 1);
    }
    seen
}

fn penalise(logit: i32, seen: Seen, rules: &Rules) -> i32 {
    let (mut value, penalty) = (i64::from(logit), i64::from(rules.repetition_q16));
    if seen.lately {
        let factor = if logit > 0 { (1 << 32) / penalty } else { penalty };
        value = round_shift(value * factor, 16);
    }
    if seen.written > 0 {
        value -= i64::from(seen.written) * i64::from(rules.frequency_q16) + i64::from(rules.presence_q16);
    }
    sat32(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_sees_the_last_tokens_and_the_others_see_the_output() {
        let rules = Rules { repetition_q16: 131_072, repeat_last: 2, presence_q16: 1, ..Rules::GREEDY };
        let after = |text: &[u32]| penalised(&[400; 4], &rules, text, 3);
        assert_eq!(after(&[0, 1, 2]), [400, 200, 200, 400]);
        assert_eq!(after(&[0, 1, 2, 3]), [400, 400, 200, 199]);
        assert_eq!(after(&[0, 1, 2, 3, 3, 0, 0]), [199, 400, 400, 399]);
    }
}
