//! Jobs on one engine: they interleave, wait for grants and readers, and never touch each other's bits.

use std::sync::Arc;

use gridhour_node::{
    engine::{
        Engine,
        isa::Isa,
        sampler::{Sampling, SamplingKey},
        scheduler::{
            EVENTS_MAX, JOBS_MAX, JobEnd, JobEvent, JobHandle, JobRequest, Reason, STOP_TOKENS_MAX,
            Scheduler, SubmitError,
        },
        sequence::SequenceError,
        verify::{Claim, verify},
    },
    model::{gguf::Gguf, tokenizer::tokenizer_asset},
};
use gridhour_protocol::{
    job::{
        ending::{StopTexts, first_stop},
        sampling::Sampling as Rules,
    },
    model::TokenizerAsset,
};
use testkit::gguf::SmallModel;

use crate::engine_model::{engine, tokens};

/// The tokenizer of every small model.
pub(crate) fn tokenizer() -> Arc<TokenizerAsset> {
    let file = Gguf::from_bytes(SmallModel::new(1).bytes()).expect("a sound file");
    Arc::new(tokenizer_asset(&file).expect("it has a tokenizer"))
}

/// Temperature 1.
fn warm(seed: u64) -> Sampling {
    let rules = Rules { temperature_q16: 65_536, ..Rules::GREEDY };
    Sampling::new(rules, SamplingKey::derive(seed, b"core"))
}

fn scheduler(seed: u64) -> Scheduler {
    Scheduler::start(engine(&SmallModel::new(seed), Isa::Auto)).expect("a thread")
}

/// A job with temperature, so that different seeds give different texts.
pub(crate) fn request(engine: &Engine, prompt: usize, max_tokens: u32, seed: u64) -> JobRequest {
    JobRequest {
        prompt: tokens(engine.config().vocab, prompt, seed),
        written: 0,
        sampling: warm(seed),
        max_tokens,
        stop: Vec::new(),
        stop_texts: StopTexts::new(&[], tokenizer()),
        request_digest: [seed as u8; 32],
        granted: u32::MAX,
        scope: None,
    }
}

/// The next `count` tokens, which must come in order.
pub(crate) fn read_tokens(job: &JobHandle, first: u32, count: u32) -> Vec<u32> {
    let token = |expected| match job.next_event() {
        Some(JobEvent::Token { index, id, .. }) if index == expected => id,
        other => panic!("expected token {expected}, got {other:?}"),
    };
    (first..first + count).map(token).collect()
}

/// Tokens of a job's prompt that it need not compute, as its start says.
pub(crate) fn read_reuse(job: &JobHandle, prompt: u32) -> u32 {
    match job.next_event() {
        Some(JobEvent::Started { prompt_tokens, reused_tokens }) if prompt_tokens == prompt => reused_tokens,
        other => panic!("expected the start of {prompt} tokens, got {other:?}"),
    }
}

pub(crate) fn read_start(job: &JobHandle, prompt_tokens: u32) {
    assert_eq!(read_reuse(job, prompt_tokens), 0, "a job without scope shares nothing");
}

pub(crate) fn read_end(job: &JobHandle) -> JobEnd {
    match job.next_event() {
        Some(JobEvent::Done(end)) => {
            assert_eq!(job.next_event(), None, "nothing follows the end");
            end
        }
        other => panic!("expected the end, got {other:?}"),
    }
}

/// Tokens and end of a whole job.
pub(crate) fn read_all(job: &JobHandle, request: &JobRequest) -> (Vec<u32>, JobEnd) {
    read_start(job, request.prompt.len() as u32);
    let output = read_tokens(job, 0, request.max_tokens);
    (output, read_end(job))
}

fn run_alone(scheduler: &Scheduler, request: &JobRequest) -> (Vec<u32>, [u8; 32]) {
    let job = scheduler.submit(request.clone()).expect("a place");
    let (output, end) = read_all(&job, request);
    (output, end.score_chain)
}

#[test]
fn interleaved_jobs_give_the_tokens_of_jobs_alone() {
    let scheduler = scheduler(20);
    let requests = [(90, 30, 1), (3, 40, 2), (150, 20, 3)]
        .map(|(prompt, max, seed)| request(scheduler.engine(), prompt, max, seed));
    let alone: Vec<_> = requests.iter().map(|request| run_alone(&scheduler, request)).collect();
    let jobs: Vec<_> =
        requests.iter().map(|request| scheduler.submit(request.clone()).expect("a place")).collect();
    for ((job, request), alone) in jobs.iter().zip(&requests).zip(alone) {
        let (output, end) = read_all(job, request);
        assert_eq!((output, end.score_chain), alone);
        assert_eq!((end.reason, end.output_tokens), (Reason::Length, request.max_tokens));
        assert!(end.measured.time.0 > 0);
    }
}

#[test]
fn a_job_without_grants_waits_and_lets_others_pass() {
    let scheduler = scheduler(21);
    let waiting = JobRequest { granted: 3, ..request(scheduler.engine(), 70, 10, 1) };
    let passing = request(scheduler.engine(), 5, 50, 2);
    let alone = run_alone(&scheduler, &JobRequest { granted: 10, ..waiting.clone() });
    let first = scheduler.submit(waiting).expect("a place");
    read_start(&first, 70);
    let mut output = read_tokens(&first, 0, 3);
    // The second job runs from start to end between two tokens of the first.
    run_alone(&scheduler, &passing);
    first.grant(2);
    output.extend(read_tokens(&first, 3, 2));
    first.control().grant(5);
    output.extend(read_tokens(&first, 5, 5));
    assert_eq!((output, read_end(&first).score_chain), alone);
}

#[test]
fn a_job_whose_reader_lags_waits_and_loses_nothing() {
    let scheduler = scheduler(22);
    let long = request(scheduler.engine(), 5, 3 * EVENTS_MAX as u32, 1);
    let alone = {
        let job = scheduler.submit(long.clone()).expect("a place");
        read_all(&job, &long).0
    };
    let lagging = scheduler.submit(long.clone()).expect("a place");
    run_alone(&scheduler, &request(scheduler.engine(), 5, 100, 2));
    assert_eq!(read_all(&lagging, &long).0, alone);
}

#[test]
fn a_stop_token_is_the_last_token() {
    let scheduler = scheduler(23);
    let free = request(scheduler.engine(), 12, 40, 4);
    let (output, _) = run_alone(&scheduler, &free);
    let last = (1..40).find(|at| !output[..*at].contains(&output[*at])).expect("more than one token");
    let stopped = JobRequest { stop: vec![output[last]], ..free };
    let job = scheduler.submit(stopped.clone()).expect("a place");
    read_start(&job, 12);
    let found = read_tokens(&job, 0, last as u32 + 1);
    assert_eq!(found, output[..=last]);
    let end = read_end(&job);
    assert_eq!((end.reason, end.output_tokens), (Reason::Stop, last as u32 + 1));
    let claim = Claim {
        prompt: &stopped.prompt,
        written: &[],
        output: &found,
        sampling: stopped.sampling,
        logprobs: &[],
        request_digest: stopped.request_digest,
    };
    let rerun = verify(scheduler.engine(), &claim).expect("the claim fits");
    assert_eq!((rerun.difference, rerun.score_chain), (None, end.score_chain));
}

#[test]
fn a_stop_text_ends_the_output_with_the_token_that_completes_it() {
    let scheduler = scheduler(27);
    let (tokenizer, free) = (tokenizer(), request(scheduler.engine(), 12, 60, 4));
    let (output, _) = run_alone(&scheduler, &free);
    let bytes = |tokens: &[u32]| {
        let mut bytes = Vec::new();
        tokens.iter().for_each(|token| tokenizer.append_bytes(*token, &mut bytes));
        bytes
    };
    // Two ASCII letters that two tokens write together.
    let letters = |at: &usize| {
        bytes(&output[*at..at + 2]).iter().all(u8::is_ascii) && bytes(&output[*at..at + 1]).len() == 1
    };
    let at =
        (0..50).find(|at| letters(at) && bytes(&output[at + 1..at + 2]).len() == 1).expect("two letters");
    let text = String::from_utf8(bytes(&output[at..at + 2])).expect("ASCII");
    let ends = |count: &usize| first_stop(&bytes(&output[..*count]), std::slice::from_ref(&text)).is_some();
    let expected = (1..=60).find(ends).expect("the text is in the output");
    let stop_texts = StopTexts::new(std::slice::from_ref(&text), tokenizer.clone());
    let job = scheduler.submit(JobRequest { stop_texts, ..free }).expect("a place");
    read_start(&job, 12);
    assert_eq!(read_tokens(&job, 0, expected as u32), output[..expected], "stopped by {text:?}");
    assert_eq!(read_end(&job).reason, Reason::Stop);
}

#[test]
fn log_probabilities_are_confirmed_by_a_rerun_and_false_ones_named() {
    let scheduler = scheduler(28);
    let sampling = warm(2).telling(5);
    let asked = JobRequest { sampling, ..request(scheduler.engine(), 9, 30, 2) };
    let job = scheduler.submit(asked.clone()).expect("a place");
    read_start(&job, 9);
    let (mut output, mut logprobs) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let Some(JobEvent::Token { id, logprobs: Some(one), .. }) = job.next_event() else {
            panic!("a token with log probabilities")
        };
        assert!(one.fits(id, 5) && one.top.len() == 5);
        output.push(id);
        logprobs.push(one);
    }
    let claim = Claim {
        prompt: &asked.prompt,
        written: &[],
        output: &output,
        sampling: asked.sampling,
        logprobs: &logprobs,
        request_digest: asked.request_digest,
    };
    let rerun = verify(scheduler.engine(), &claim).expect("the claim fits");
    assert_eq!((rerun.difference, rerun.false_logprobs), (None, None));
    let mut false_ones = logprobs.clone();
    false_ones[17].top[4].logprob_q16 -= 1;
    let rerun = verify(scheduler.engine(), &Claim { logprobs: &false_ones, ..claim }).expect("it fits");
    assert_eq!((rerun.difference, rerun.false_logprobs), (None, Some(17)));
}

#[test]
fn places_are_bounded_and_come_back_when_jobs_end() {
    let scheduler = scheduler(24);
    let idle = JobRequest { granted: 0, ..request(scheduler.engine(), 4, 4, 1) };
    let mut jobs: Vec<_> = (0..JOBS_MAX).map(|_| scheduler.submit(idle.clone()).expect("a place")).collect();
    assert!(matches!(scheduler.submit(idle.clone()), Err(SubmitError::Busy)));
    jobs.pop();
    let cancelled = jobs.pop().expect("many jobs");
    cancelled.control().cancel();
    assert_eq!(read_end(&cancelled).reason, Reason::Cancelled);
    for job in jobs.drain(..) {
        job.control().cancel();
        read_end(&job);
    }
    assert_eq!(scheduler.jobs(), 0);
    assert_eq!(scheduler.engine().pages().used(), 0);
    assert!(scheduler.submit(idle).is_ok());
}

#[test]
fn a_dropped_scheduler_cancels_its_jobs() {
    let scheduler = scheduler(25);
    let job =
        scheduler.submit(JobRequest { granted: 2, ..request(scheduler.engine(), 4, 9, 1) }).expect("a place");
    read_start(&job, 4);
    read_tokens(&job, 0, 2);
    drop(scheduler);
    let end = read_end(&job);
    assert_eq!((end.reason, end.output_tokens), (Reason::Cancelled, 2));
}

#[test]
fn jobs_that_cannot_run_are_refused_before_they_start() {
    let scheduler = scheduler(26);
    let engine: Arc<Engine> = scheduler.engine().clone();
    let good = request(&engine, 4, 4, 1);
    let refusal = |request: JobRequest| scheduler.submit(request).expect_err("refused").to_string();
    let vocab = engine.config().vocab;
    let sequence = |error: SequenceError| error.to_string();
    let context = engine.context();
    assert_eq!(refusal(JobRequest { prompt: vec![], ..good.clone() }), sequence(SequenceError::Empty));
    let unknown = SequenceError::Token { token: vocab, vocab };
    assert_eq!(refusal(JobRequest { prompt: vec![vocab], ..good.clone() }), sequence(unknown));
    let long = SequenceError::Context { asked: context + 1, max: context };
    let over = JobRequest { max_tokens: context as u32 - 2, ..good.clone() };
    assert_eq!(refusal(over), sequence(long));
    assert_eq!(refusal(JobRequest { max_tokens: 0, ..good.clone() }), SubmitError::NoTokens.to_string());
    let rules = Rules { temperature_q16: 1, ..Rules::GREEDY };
    let (cold, why) = (Sampling::new(rules, good.sampling.key), rules.check().expect_err("too cold"));
    assert_eq!(
        refusal(JobRequest { sampling: cold, ..good.clone() }),
        SubmitError::Sampling(why).to_string()
    );
    let stops = STOP_TOKENS_MAX + 1;
    let stopped = JobRequest { stop: vec![0; stops], ..good };
    assert_eq!(refusal(stopped), SubmitError::StopTokens(stops).to_string());
    assert_eq!(scheduler.jobs(), 0);
}
