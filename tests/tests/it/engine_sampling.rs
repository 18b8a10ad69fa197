//! The engine's sampler: against the definition, bit by bit, and against exact probabilities, by chi-square.

use gridhour_node::engine::sampler::{Sampling, SamplingKey, logprobs};
use gridhour_protocol::{
    arbitrary,
    exact::sample::{self as definition, History},
    job::sampling::Sampling as Rules,
};
use proptest::{collection::vec, prelude::*};
use testkit::statistics::fit;

/// Logits of several shapes: a model's, many equals, all that an integer can be, one far above the rest.
fn logits() -> impl Strategy<Value = Vec<i32>> {
    prop_oneof![
        vec(-900_000..900_000i32, 1..400),
        vec(-3..3i32, 1..400),
        vec(-i32::MAX..=i32::MAX, 1..40),
        vec(prop_oneof![9 => -100_000..100_000i32, 1 => 1_000_000..1_500_000i32], 2..400),
    ]
}

/// A definition's choice, with what an engine's sampler needs for the same.
fn defined(rules: &Rules, seed: u64, logits: &[i32], history: History<'_>) -> u32 {
    let key = definition::SamplingKey::derive(seed, b"core");
    let position = history.prompt.len() + history.output.len();
    definition::sample(logits, rules, history, key, position as u32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn choices_are_those_of_the_definition(
        rules in arbitrary::samplings(),
        steps in vec(logits(), 1..6),
        prompt in vec(0..12u32, 0..20),
        seed: u64,
    ) {
        let sampling = Sampling::new(rules, SamplingKey::derive(seed, b"core")).behind(&prompt);
        let mut text = prompt.clone();
        for logits in steps {
            let history = History { prompt: &prompt, output: &text[prompt.len()..] };
            let expected = defined(&rules, seed, &logits, history);
            prop_assert_eq!(sampling.choose(&logits, &text), expected);
            text.push(expected);
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_definition(
        logits in logits(), token: prop::sample::Index, count in 0..=20u8,
    ) {
        let token = token.index(logits.len()) as u32;
        let found = logprobs(&logits, token, count);
        prop_assert_eq!(&found, &definition::logprobs(&logits, token, count));
        prop_assert!(count == 0 || found.fits(token, count));
    }
}

/// A vocabulary of a real model's size.
#[test]
fn choices_over_a_large_vocabulary_are_those_of_the_definition() {
    let warm = Rules { temperature_q16: 52_429, ..Rules::GREEDY };
    let sets = [
        warm,
        Rules { top_k: 40, ..warm },
        Rules { top_p_q16: 62_259, ..warm },
        Rules { top_p_q16: 65_000, temperature_q16: 1 << 20, ..warm },
        Rules { min_p_q16: 3_277, ..warm },
        Rules { top_k: 60_000, top_p_q16: 65_535, min_p_q16: 1, presence_q16: 9_000, ..warm },
    ];
    for (seed, rules) in (0u64..).zip(sets) {
        let word = |id: u32| blake3::hash(&[seed.to_le_bytes(), u64::from(id).to_le_bytes()].concat());
        // The sum of many bytes is about normal: a spread of 2.5 nats.
        let logit = |id| word(id).as_bytes().iter().map(|byte| i32::from(*byte) - 128).sum::<i32>() * 392;
        let logits: Vec<i32> = (0..151_936).map(logit).collect();
        let sampling = Sampling::new(rules, SamplingKey::derive(seed, b"core")).behind(&[1, 2, 3]);
        let mut text = vec![1, 2, 3];
        for _ in 0..3 {
            let history = History { prompt: &[1, 2, 3], output: &text[3..] };
            let expected = defined(&rules, seed, &logits, history);
            assert_eq!(sampling.choose(&logits, &text), expected, "{rules:?}");
            text.push(expected);
        }
    }
}

/// Draws of one set of rules.
const DRAWS: u32 = 200_000;
/// A right sampler fits worse than this with exactly this probability, a set of rules and a seed. Seeds are fixed, so a
/// right sampler passes always or never; with eight sets the chance that it never would is 8e-6.
const FALSE_ALARM: f64 = 1e-6;
const PROMPT: [u32; 6] = [3, 17, 4, 4, 29, 3];
const OUTPUT: [u32; 5] = [5, 5, 9, 5, 11];
const VOCABULARY: u32 = 40;

/// Logits with a spread of some nats, Q16.
fn uneven_logits() -> Vec<i32> {
    (0..VOCABULARY).map(|id| ((id * 7_919 + 31) % 401) as i32 * 1_000 - 150_000).collect()
}

fn warm(temperature: f64) -> Rules {
    Rules { temperature_q16: q16(temperature), ..Rules::GREEDY }
}

fn q16(value: f64) -> u32 {
    (value * 65_536.0).round() as u32
}

/// Every rule alone, and all together.
fn rule_sets() -> [Rules; 8] {
    let penalties = Rules {
        repetition_q16: q16(1.4),
        repeat_last: 7,
        frequency_q16: q16(0.3) as i32,
        presence_q16: q16(0.5) as i32,
        ..warm(1.0)
    };
    [
        warm(0.8),
        Rules { top_k: 9, ..warm(1.3) },
        Rules { top_p_q16: q16(0.83), ..warm(1.0) },
        Rules { min_p_q16: q16(0.21), ..warm(1.5) },
        penalties,
        Rules { frequency_q16: -60_000, ..warm(2.0) },
        Rules { top_k: 20, top_p_q16: q16(0.9), min_p_q16: q16(0.05), ..warm(1.7) },
        Rules { top_k: 25, top_p_q16: q16(0.95), ..penalties },
    ]
}

/// How often each token is drawn behind [`PROMPT`] and [`OUTPUT`], each time with noise of its own.
fn draw(rules: &Rules, logits: &[i32], seed: u64) -> Vec<u64> {
    let text = [&PROMPT[..], &OUTPUT].concat();
    let mut counts = vec![0; VOCABULARY as usize];
    for draw in 0..DRAWS {
        let core = draw.to_le_bytes();
        let sampling = Sampling::new(*rules, SamplingKey::derive(seed, &core)).behind(&PROMPT);
        counts[sampling.choose(logits, &text) as usize] += 1;
    }
    counts
}

/// The probabilities that the rules mean, in real numbers, written from their description and not from the page.
fn probabilities(rules: &Rules, logits: &[i32]) -> Vec<f64> {
    let real = |q16: i64| q16 as f64 / 65_536.0;
    let recent: Vec<u32> = [&PROMPT[..], &OUTPUT].concat();
    let recent = &recent[recent.len().saturating_sub(rules.repeat_last as usize)..];
    let penalised = |id: u32| {
        let mut logit = real(logits[id as usize].into());
        let repetition = real(rules.repetition_q16.into());
        if recent.contains(&id) {
            logit = if logit > 0.0 { logit / repetition } else { logit * repetition };
        }
        let count = OUTPUT.iter().filter(|token| **token == id).count() as f64;
        logit - count * real(rules.frequency_q16.into()) - count.min(1.0) * real(rules.presence_q16.into())
    };
    let weight = |id: u32| (penalised(id) / real(rules.temperature_q16.into())).exp();
    let mut tokens: Vec<(u32, f64)> = (0..VOCABULARY).map(|id| (id, weight(id))).collect();
    tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
    tokens.truncate(if rules.top_k == 0 { tokens.len() } else { rules.top_k as usize });
    let total: f64 = tokens.iter().map(|token| token.1).sum();
    let mut sum = 0.0;
    let needed = tokens.iter().take_while(|token| {
        let before = sum;
        sum += token.1;
        before < real(rules.top_p_q16.into()) * total
    });
    let needed = needed.count();
    tokens.truncate(needed.max(1));
    let least = tokens[0].1 * real(rules.min_p_q16.into());
    tokens.retain(|token| token.1 >= least);
    let total: f64 = tokens.iter().map(|token| token.1).sum();
    let mut probabilities = vec![0.0; VOCABULARY as usize];
    tokens.iter().for_each(|(id, weight)| probabilities[*id as usize] = weight / total);
    probabilities
}

#[test]
fn draws_have_the_probabilities_that_the_rules_mean() {
    let logits = uneven_logits();
    for (seed, rules) in (1u64..).zip(rule_sets()) {
        let chance = fit(&draw(&rules, &logits, seed), &probabilities(&rules, &logits));
        assert!(chance > FALSE_ALARM, "chance {chance}, seed {seed}, {rules:?}");
    }
}

/// The same statistic, given samplers that are wrong by little.
#[test]
fn samplers_that_are_slightly_wrong_are_caught() {
    let logits = uneven_logits();
    let [plain, top_k, top_p, min_p, penalties, ..] = rule_sets();
    let survivors = |rules| probabilities(rules, &logits).iter().filter(|p| **p > 0.0).count() as u32;
    let prefix = survivors(&top_p);
    let without = Rules { top_p_q16: 1 << 16, ..top_p };
    let wrong = [
        ("three percent warmer", plain, Rules { temperature_q16: q16(0.824), ..plain }),
        ("one token more than top-k", top_k, Rules { top_k: 10, ..top_k }),
        ("one token fewer than top-k", top_k, Rules { top_k: 8, ..top_k }),
        ("top-p takes one token more", top_p, Rules { top_k: prefix + 1, ..without }),
        ("top-p leaves out the token that reaches the share", top_p, Rules { top_k: prefix - 1, ..without }),
        ("min-p takes one token more", min_p, Rules { top_k: survivors(&min_p) + 1, min_p_q16: 0, ..min_p }),
        ("the window is one token short", penalties, Rules { repeat_last: 6, ..penalties }),
        ("presence is not penalised", penalties, Rules { presence_q16: 0, ..penalties }),
        ("frequency is a fifth too small", penalties, Rules { frequency_q16: q16(0.24) as i32, ..penalties }),
    ];
    for (seed, (what, meant, drawn)) in (20u64..).zip(wrong) {
        let chance = fit(&draw(&drawn, &logits, seed), &probabilities(&meant, &logits));
        assert!(chance < FALSE_ALARM, "{what}: chance {chance}, seed {seed}");
    }
}
