//! Log probabilities of a token and its likeliest alternatives, before penalties and temperature.

use gridhour_protocol::{
    exact::tables::LN2_Q30,
    job::logprobs::{Alternative, Logprobs},
};

use super::{
    super::fixed::{round_shift, sat32},
    filters::weight,
    gumbel::log2,
};

/// Distances beyond this one weigh nothing, Q16 nats.
const FAR: u32 = 32 << 16;

/// Log probability of `token`, and of the `count` tokens with the largest logits, ties to the lowest id.
///
/// # Panics
/// If `token` has no logit.
pub fn logprobs(logits: &[i32], token: u32, count: u8) -> Logprobs {
    let best = logits.iter().copied().max().unwrap_or(0);
    let near = logits.iter().map(|logit| logit.abs_diff(best)).filter(|distance| *distance < FAR);
    let total: u64 = near.map(weight).sum();
    let ln_total = round_shift((log2(total) - (28 << 28)) * LN2_Q30, 42);
    let logprob = |logit: i32| sat32(-i64::from(logit.abs_diff(best)) - ln_total);
    let top = largest(logits, count.into()).into_iter();
    let top = top.map(|(logit, token)| Alternative { token, logprob_q16: logprob(logit) }).collect();
    Logprobs { logprob_q16: logprob(logits[token as usize]), top }
}

/// The `count` largest with their ids, the largest first, ties by id.
fn largest(logits: &[i32], count: usize) -> Vec<(i32, u32)> {
    let mut top: Vec<(i32, u32)> = Vec::with_capacity(count + 1);
    let mut mark = i32::MIN;
    for (id, &logit) in (0u32..).zip(logits) {
        if top.len() == count && logit <= mark {
            continue;
        }
        let place = top.partition_point(|(other, _)| *other >= logit);
        top.insert(place, (logit, id));
        top.truncate(count);
        mark = top.last().map_or(i32::MAX, |(logit, _)| *logit);
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_in_order_and_equals_by_id() {
        let logits = [3, 9, -4, 9, 9, 7];
        assert_eq!(largest(&logits, 2), [(9, 1), (9, 3)]);
        assert_eq!(largest(&logits, 4), [(9, 1), (9, 3), (9, 4), (7, 5)]);
        assert_eq!(largest(&logits, 9).len(), 6);
        assert_eq!(largest(&logits, 0), []);
    }
}
