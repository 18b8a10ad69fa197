//! Sampled tokens follow the softmax of the logits over the temperature.

use gridhour_protocol::{
    exact::sample::{History, SamplingKey, greedy, sample},
    job::sampling::{FACTOR_Q16_MIN, Sampling},
};

const NOTHING: History<'_> = History { prompt: &[], output: &[] };

const DRAWS: u32 = 200_000;

/// The value that chi-square with 7 degrees of freedom exceeds with probability 1e-6: of a million keys, one
/// would fail a correct sampler, and the keys here are fixed.
const CHI_SQUARE_LIMIT: f64 = 40.522;

const LOGITS: [f64; 8] = [3.0, 2.5, 2.0, 1.0, 0.0, -0.5, 2.9, -2.0];

fn q16(v: f64) -> i32 {
    (v * 65536.0) as i32
}

/// Temperature alone.
fn at(temperature_q16: u32) -> Sampling {
    Sampling { temperature_q16, ..Sampling::GREEDY }
}

/// The statistic of tokens drawn at one temperature against the softmax at another.
fn chi_square(logits: &[i32; 8], drawn_at: f64, expected_at: f64, key: SamplingKey) -> f64 {
    let rules = at(q16(drawn_at) as u32);
    let mut counts = [0f64; 8];
    (0..DRAWS).for_each(|position| counts[sample(logits, &rules, NOTHING, key, position) as usize] += 1.0);
    let weights = logits.map(|l| (f64::from(l) / 65536.0 / expected_at).exp());
    let total: f64 = weights.iter().sum();
    let expected = weights.map(|w| w / total * f64::from(DRAWS));
    counts.iter().zip(expected).map(|(c, e)| (c - e).powi(2) / e).sum()
}

#[test]
fn draws_follow_the_softmax() {
    for (seed, temperature) in [(1, 0.7), (2, 1.0), (3, 1.5), (4, 10.0)] {
        let key = SamplingKey::derive(seed, b"a request");
        let statistic = chi_square(&LOGITS.map(q16), temperature, temperature, key);
        assert!(statistic < CHI_SQUARE_LIMIT, "seed {seed}, temperature {temperature}: {statistic}");
    }
}

#[test]
fn the_statistic_notices_a_temperature_that_is_off_by_three_percent() {
    let statistic = chi_square(&LOGITS.map(q16), 1.0, 1.03, SamplingKey::derive(2, b"a request"));
    assert!(statistic > CHI_SQUARE_LIMIT, "{statistic}");
}

#[test]
fn zero_and_the_least_temperature() {
    let logits = [7, 9, 9, -4].map(|l| l << 16);
    let key = SamplingKey::derive(5, b"");
    assert_eq!(greedy(&logits), 1);
    assert_eq!(sample(&logits, &Sampling::GREEDY, NOTHING, key, 3), 1);
    let coldest = at(FACTOR_Q16_MIN);
    let chosen: Vec<u32> = (0..200).map(|p| sample(&logits, &coldest, NOTHING, key, p)).collect();
    assert!(chosen.contains(&1) && chosen.contains(&2) && chosen.iter().all(|&t| t == 1 || t == 2));
}

#[test]
fn penalties_decide_a_greedy_choice_and_filters_do_not() {
    let logits = [5, 9, 8, -4].map(|l| l << 16);
    let key = SamplingKey::derive(5, b"");
    let history = History { prompt: &[2], output: &[1] };
    let choose = |rules: Sampling| sample(&logits, &rules, history, key, 2);
    assert_eq!(choose(Sampling { presence_q16: 2 << 16, ..Sampling::GREEDY }), 2);
    assert_eq!(choose(Sampling { repetition_q16: 2 << 16, ..Sampling::GREEDY }), 0);
    assert_eq!(choose(Sampling { top_k: 2, top_p_q16: 0, min_p_q16: 1 << 16, ..Sampling::GREEDY }), 1);
}

#[test]
fn seeds_and_requests_give_different_keys() {
    let key = SamplingKey::derive(1, b"request");
    assert_eq!(key, SamplingKey::derive(1, b"request"));
    assert_ne!(key, SamplingKey::derive(2, b"request"));
    assert_ne!(key, SamplingKey::derive(1, b"requesT"));
}
