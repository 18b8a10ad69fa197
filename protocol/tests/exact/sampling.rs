//! Sampled tokens follow the softmax of the logits over the temperature.

use gridhour_protocol::exact::sample::{SamplingKey, Temperature, greedy, sample};

const DRAWS: u32 = 200_000;

/// The value that chi-square with 7 degrees of freedom exceeds with probability 1e-6: of a million keys, one
/// would fail a correct sampler, and the keys here are fixed.
const CHI_SQUARE_LIMIT: f64 = 40.522;

const LOGITS: [f64; 8] = [3.0, 2.5, 2.0, 1.0, 0.0, -0.5, 2.9, -2.0];

fn q16(v: f64) -> i32 {
    (v * 65536.0) as i32
}

/// The statistic of tokens drawn at one temperature against the softmax at another.
fn chi_square(logits: &[i32; 8], drawn_at: f64, expected_at: f64, key: SamplingKey) -> f64 {
    let t = Temperature::from_q16(q16(drawn_at) as u32).expect("in range");
    let mut counts = [0f64; 8];
    (0..DRAWS).for_each(|position| counts[sample(logits, t, key, position) as usize] += 1.0);
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
    assert_eq!(sample(&logits, Temperature::ZERO, key, 3), 1);
    let coldest = Temperature::from_q16(Temperature::MIN_Q16).expect("in range");
    let chosen: Vec<u32> = (0..200).map(|p| sample(&logits, coldest, key, p)).collect();
    assert!(chosen.contains(&1) && chosen.contains(&2) && chosen.iter().all(|&t| t == 1 || t == 2));
}

#[test]
fn temperatures_outside_the_range_are_refused() {
    for value in [1, 655, Temperature::MAX_Q16 + 1, u32::MAX] {
        Temperature::from_q16(value).expect_err("outside the range");
    }
    for value in [0, 656, 65536, Temperature::MAX_Q16] {
        assert_eq!(Temperature::from_q16(value).map(Temperature::q16), Ok(value));
    }
}

#[test]
fn seeds_and_requests_give_different_keys() {
    let key = SamplingKey::derive(1, b"request");
    assert_eq!(key, SamplingKey::derive(1, b"request"));
    assert_ne!(key, SamplingKey::derive(2, b"request"));
    assert_ne!(key, SamplingKey::derive(1, b"requesT"));
}
