//! Known answers of sampling: candidates over random logits with ties, then the choice among them.

use gridhour_protocol::job::sampling::Sampling as Rules;

use super::{
    super::{
        super::{
            choice::Choice,
            sampler::{Sampling, SamplingKey},
            score_chain::Scores,
        },
        buffers::RECORD_WORDS,
        device::sampler_words,
        shader::Kernel,
    },
    Answer, Case, Filled,
    draw::{Draw, words},
};

/// Rows, one a temperature.
const TEMPERATURES: [u32; 5] = [0, 656, 1 << 15, 1 << 16, 100 << 16];
/// Tokens of the vocabulary.
const VOCAB: usize = 700;
/// Invocations that share it.
const SHARES: usize = 96;
/// Layers whose checksums are passed on.
const LAYERS: usize = 3;
/// Position of each row.
const POSITION: u32 = 41;

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let rows = TEMPERATURES.len();
    let logits: Vec<i32> = (0..rows * VOCAB).map(|_| draw.value(1 << 20, 3) & !0xff).collect();
    let samplings = TEMPERATURES.map(|temperature_q16| {
        let key = SamplingKey([draw.word() as u32, draw.word() as u32]);
        Sampling::new(Rules { temperature_q16, ..Rules::GREEDY }, key)
    });
    let text = vec![0; POSITION as usize + 1];
    let checksums: Vec<u32> = (0..rows * LAYERS).map(|_| draw.word() as u32).collect();
    let choices: Vec<Choice> = (0..rows)
        .map(|row| {
            let scores = Scores {
                logits: &logits[row * VOCAB..][..VOCAB],
                checksums: &checksums[row * LAYERS..][..LAYERS],
            };
            Choice::taking(samplings[row].choose(scores.logits, &text), scores)
        })
        .collect();
    let batch: Vec<u32> =
        (0..rows).flat_map(|_| [7, POSITION, 0, 0]).chain((0..rows).map(|row| row as u32)).collect();
    let candidates = candidates(&logits, &samplings);
    let input = format!("{rows} rows of {VOCAB} logits drawn from {seed:#x}");
    let pass = [rows as u32, rows as u32, 64, LAYERS as u32];
    let look = Case {
        kernel: Kernel::Sample,
        input: input.clone(),
        pass,
        own: Filled {
            params: vec![VOCAB as u32, SHARES as u32],
            storage: vec![
                batch.clone(),
                words(&logits),
                samplings.iter().flat_map(sampler_words).collect(),
                vec![0; candidates.len()],
            ],
        },
        rows: None,
        grid: ((SHARES as u32).div_ceil(Kernel::Sample.workgroup()), rows as u32),
        results: vec![Answer::own(3, "candidates", candidates.clone())],
    };
    let records: Vec<u32> = choices.iter().flat_map(record).collect();
    let fed_back = choices.iter().flat_map(|choice| [choice.token, POSITION + 1, 0, 1]).collect();
    let choose = Case {
        kernel: Kernel::Choose,
        input,
        pass,
        own: Filled {
            params: vec![SHARES as u32, (RECORD_WORDS + LAYERS) as u32],
            storage: vec![batch, candidates, checksums, vec![0; records.len()]],
        },
        rows: None,
        grid: (1, rows as u32),
        results: vec![Answer::own(3, "records", records), Answer::own(0, "rows", fed_back)],
    };
    vec![look, choose]
}

fn record(choice: &Choice) -> Vec<u32> {
    let Choice { token, logit, runner_up, runner_up_logit, checksums, .. } = choice;
    let head = [*token, *logit as u32, *runner_up, *runner_up_logit as u32];
    head.into_iter().chain(checksums.iter().copied()).collect()
}

/// What each share of each row's vocabulary gives.
fn candidates(logits: &[i32], samplings: &[Sampling]) -> Vec<u32> {
    let mut words = Vec::new();
    for (logits, sampling) in logits.chunks_exact(VOCAB).zip(samplings) {
        for share in 0..SHARES {
            let tokens = || (share..VOCAB).step_by(SHARES);
            let score = |token: usize| sampling.score(logits[token], POSITION + 1, token as u32);
            let best = tokens().max_by_key(|token| (score(*token), VOCAB - token)).unwrap_or(0);
            let mut largest: Vec<usize> = tokens().collect();
            largest.sort_by_key(|token| (-i64::from(logits[*token]), *token));
            let flipped = score(best) as u64 ^ 1 << 63;
            words.extend([flipped as u32, (flipped >> 32) as u32, best as u32, logits[best] as u32]);
            for token in largest.iter().take(2) {
                words.extend([*token as u32, logits[*token] as u32]);
            }
        }
    }
    words
}
