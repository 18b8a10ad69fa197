//! Batches: what passes hold, who waits for memory, what is computed once, and that no neighbour changes a bit.

use std::{num::NonZeroUsize, sync::Arc};

use gridhour_node::{
    engine::{
        Engine, EngineConfig,
        choice::Choice,
        device::{PAGE, PageId},
        sampler::Sampling,
        scheduler::{JobHandle, JobRequest, Reason, Scheduler, SubmitError},
        score_chain::{ScoreChain, Scores},
        sequence::Sequence,
    },
    model::gguf::Gguf,
};
use testkit::{
    gguf::SmallModel,
    seeds::seeds,
    sim::rng::Rng,
    watched::{Answer, Watch, Watched},
};

use crate::{
    engine_jobs::{read_all, read_end, read_reuse, read_start, read_tokens, request},
    engine_model::tokens,
};

const CONTEXT: usize = 1024;

/// An engine of two threads over a model with a long context.
pub(crate) fn engine(seed: u64, change: impl FnOnce(&mut EngineConfig)) -> Engine {
    let model = SmallModel { context: CONTEXT as u32, ..SmallModel::mixed(seed) };
    let file = Gguf::from_bytes(model.bytes()).expect("a sound file");
    let mut config = EngineConfig { threads: NonZeroUsize::new(2).expect("two"), ..EngineConfig::default() };
    change(&mut config);
    Engine::from_gguf(&file, config).expect("a sound model")
}

fn rows(config: &mut EngineConfig, rows: usize) {
    config.rows_max = NonZeroUsize::new(rows).expect("at least one");
}

/// A scheduler whose device a test watches.
pub(crate) fn watched(engine: Engine, steps: usize) -> (Scheduler, Watch) {
    let mut watch = None;
    let engine = engine.with_device(|inner| {
        let (device, watches) = Watched::new(inner, steps);
        watch = Some(watches);
        Box::new(device)
    });
    (Scheduler::start(Arc::new(engine)).expect("a thread"), watch.expect("the device was wrapped"))
}

/// An engine that computes with memory for `pages` pages.
pub(crate) fn short_of_memory(seed: u64, pages: usize) -> Engine {
    let page = engine(seed, |_| ()).device().page_bytes();
    engine(seed, |config| config.kv_bytes_max = pages * page)
}

/// Output and score chain of a request computed token by token, with no scheduler and no neighbour.
fn alone(engine: &Arc<Engine>, request: &JobRequest) -> (Vec<u32>, [u8; 32]) {
    let mut sequence =
        Sequence::new(engine, request.prompt.len() + request.max_tokens as usize).expect("room");
    let mut chain = ScoreChain::new(&request.request_digest, request.prompt.len() as u32);
    let mut text = request.prompt.clone();
    let sampling = request.sampling.behind(&request.prompt);
    for _ in 0..request.max_tokens {
        let choose = |scores: Scores<'_>| Choice::of(scores, &sampling, &text);
        let choice = sequence.prefill(&text[sequence.position()..], choose).expect("room");
        chain.take(&choice);
        text.push(choice.token);
        if request.stop.contains(&choice.token) {
            break;
        }
    }
    (text[request.prompt.len()..].to_vec(), chain.digest())
}

/// A request of any length; a third are greedy, a third have penalties, some share a scope and how they begin, some stop early.
fn random_request(rng: &mut Rng, alone_on: &Arc<Engine>) -> JobRequest {
    let prompt = [1, 7, 63, 64, 65, 128, 150, 530][rng.below(8) as usize];
    let mut request = JobRequest {
        // Two families of prompts; the shorter ones are the beginnings of the longer.
        prompt: tokens(alone_on.config().vocab, prompt, rng.below(2)),
        scope: [None, Some([1; 32]), Some([2; 32])][rng.below(3) as usize],
        ..request(alone_on, 1, 1 + rng.below(20) as u32, rng.below(1 << 32))
    };
    match rng.below(3) {
        0 => request.sampling = Sampling::GREEDY,
        1 => {
            let rules = &mut request.sampling.rules;
            (rules.top_k, rules.repetition_q16, rules.frequency_q16) = (40, 70_000, 10_000);
        }
        _ => {}
    }
    if rng.one_in(3) {
        let (output, _) = alone(alone_on, &request);
        request.stop = vec![output[output.len() / 2], request.prompt[0]];
    }
    request
}

/// Reads a job to its end, granting it one token after another where it began with only one.
fn read(job: &JobHandle, request: &JobRequest) -> (Vec<u32>, [u8; 32]) {
    read_reuse(job, request.prompt.len() as u32);
    let mut output = Vec::new();
    loop {
        let token = read_tokens(job, output.len() as u32, 1)[0];
        output.push(token);
        let stops = request.stop.contains(&token);
        if stops || output.len() as u32 == request.max_tokens {
            let end = read_end(job);
            let reason = if stops { Reason::Stop } else { Reason::Length };
            assert_eq!((end.reason, end.output_tokens), (reason, output.len() as u32));
            return (output, end.score_chain);
        }
        if request.granted == 1 {
            job.grant(1);
        }
    }
}

#[test]
fn bits_depend_on_no_neighbour_no_chunk_and_no_number_of_steps() {
    for seed in seeds(1) {
        println!("seed {seed}");
        let rng = &mut Rng::new(seed);
        let alone_on = Arc::new(engine(seed, |_| ()));
        let mut requests: Vec<_> = (0..7).map(|_| random_request(rng, &alone_on)).collect();
        requests.iter_mut().step_by(2).for_each(|request| request.granted = 1);
        let expected: Vec<_> = requests.iter().map(|request| alone(&alone_on, request)).collect();
        for rows_max in [1, 64, 512] {
            for (batch, steps) in [(1, 1), (2, 3), (7, 1), (7, 3)] {
                let engine = engine(seed, |config| rows(config, rows_max));
                let (scheduler, watch) = watched(engine, steps);
                drop(watch);
                let first = rng.below(7) as usize;
                let jobs: Vec<_> = (first..first + batch).map(|at| at % 7).collect();
                let submit = |at: &usize| scheduler.submit(requests[*at].clone()).expect("a place");
                let handles: Vec<_> = jobs.iter().map(submit).collect();
                for (at, job) in jobs.iter().zip(&handles) {
                    assert_eq!(
                        read(job, &requests[*at]),
                        expected[*at],
                        "seed {seed}, job {at} of {jobs:?}, {rows_max} rows, {steps} steps"
                    );
                }
                assert_eq!((scheduler.jobs(), scheduler.engine().pages().used()), (0, 0));
            }
        }
    }
}

#[test]
fn what_was_computed_in_a_scope_is_not_computed_again() {
    let (scheduler, watch) = watched(engine(30, |_| ()), 1);
    let vocab = scheduler.engine().config().vocab;
    let scope = |scope: Option<u8>| scope.map(|scope| [scope; 32]);
    let first = JobRequest { scope: scope(Some(1)), ..request(scheduler.engine(), 200, 70, 1) };
    let log = watch.record();
    let run = |request: &JobRequest| {
        let job = scheduler.submit(request.clone()).expect("a place");
        let reused = read_reuse(&job, request.prompt.len() as u32);
        let output = read_tokens(&job, 0, request.max_tokens);
        let end = read_end(&job);
        assert_eq!(end.reused_tokens, reused);
        assert_eq!((&output, end.score_chain), (&alone_output(request).0, alone_output(request).1));
        (output, reused as usize)
    };
    let (output, reused) = run(&first);
    assert_eq!(reused, 0);
    // The conversation goes on: 269 positions were computed, four full pages.
    let prompt = [first.prompt.clone(), output, tokens(vocab, 10, 2)].concat();
    let next =
        |scope, prompt: &[u32]| JobRequest { scope, prompt: prompt.to_vec(), max_tokens: 2, ..first.clone() };
    assert_eq!(run(&next(scope(Some(1)), &prompt)).1, 4 * PAGE);
    assert_eq!(run(&next(scope(Some(1)), &prompt[..2 * PAGE])).1, PAGE, "the last token must be computed");
    assert_eq!(run(&next(scope(Some(1)), &prompt[..2 * PAGE + 1])).1, 2 * PAGE);
    assert_eq!(run(&next(scope(Some(2)), &prompt)).1, 0, "another scope");
    assert_eq!(run(&next(None, &prompt)).1, 0, "no scope");
    assert_eq!(run(&next(None, &prompt)).1, 0, "no scope, again");
    let mut other = prompt.clone();
    other[PAGE] = (other[PAGE] + 1) % vocab;
    assert_eq!(run(&next(scope(Some(1)), &other)).1, PAGE, "as far as it is the same");
    assert_eq!(scheduler.engine().pages().used(), 0);
    drop(scheduler);
    let asked = log.join().expect("the passes were recorded");
    let starts = asked.iter().map(|asked| asked.rows[0].position as usize);
    // Every job reads its prompt from the first token that is not reused; a token behind it is one row.
    let starts: Vec<_> =
        starts.zip(&asked).filter(|(_, asked)| asked.rows.len() > 1).map(|(at, _)| at).collect();
    for reused in [4 * PAGE, PAGE] {
        assert!(starts.contains(&reused), "{starts:?}");
    }
    assert_eq!(starts.iter().filter(|at| **at == 0).count(), 4, "those that reuse nothing: {starts:?}");
}

/// What a request gives on an engine that has computed nothing else.
fn alone_output(request: &JobRequest) -> (Vec<u32>, [u8; 32]) {
    alone(&Arc::new(engine(30, |_| ())), request)
}

#[test]
fn cancellation_frees_memory_and_place_before_the_next_pass() {
    let (scheduler, watch) = watched(short_of_memory(31, 4), 1);
    let running = scheduler.submit(request(scheduler.engine(), 3 * PAGE, 30, 1)).expect("a place");
    let _ = watch.next();
    let waiting = scheduler.submit(request(scheduler.engine(), PAGE, 3, 2)).expect("a place");
    let leaving = scheduler.submit(request(scheduler.engine(), PAGE, 3, 3)).expect("a place");
    assert_eq!(scheduler.jobs(), 3);
    running.control().cancel();
    leaving.control().cancel();
    watch.answer(Answer::Go);
    // The next pass is the second job's, on the memory of the first, none of which goes on.
    let asked = watch.next();
    assert_eq!(asked.rows.len(), PAGE);
    assert_eq!(asked.rows[0].token, tokens(scheduler.engine().config().vocab, 1, 2)[0]);
    let page = scheduler.engine().device().page_bytes();
    assert_eq!((scheduler.jobs(), scheduler.engine().pages().used()), (1, 2 * page));
    read_start(&running, 3 * PAGE as u32);
    assert_eq!(
        (read_end(&running).reason, read_end(&leaving).reason),
        (Reason::Cancelled, Reason::Cancelled)
    );
    drop(waiting);
    watch.answer(Answer::Go);
}

#[test]
fn nobody_in_line_for_memory_is_overtaken() {
    let (scheduler, watch) = watched(short_of_memory(32, 4), 1);
    // Pages: three, then four, then one that would fit beside the first.
    let requests = [(150, 5, 1), (200, 40, 2), (20, 5, 3)]
        .map(|(prompt, max, seed)| request(scheduler.engine(), prompt, max, seed));
    let mut jobs = vec![scheduler.submit(requests[0].clone()).expect("a place")];
    let _ = watch.next();
    jobs.extend(requests[1..].iter().map(|request| scheduler.submit(request.clone()).expect("in line")));
    watch.answer(Answer::Go);
    let log = watch.record();
    let expected = Arc::new(engine(32, |_| ()));
    for (job, request) in jobs.iter().zip(&requests) {
        let (output, end) = read_all(job, request);
        assert_eq!((output, end.score_chain), alone(&expected, request));
    }
    drop(scheduler);
    let asked = log.join().expect("the passes were recorded");
    let begins = |request: &JobRequest| {
        let first = |asked: &&testkit::watched::Asked| {
            asked.rows.iter().any(|row| (row.token, row.position) == (request.prompt[0], 0))
        };
        asked.iter().position(|asked| first(&asked)).expect("it was computed")
    };
    assert!(begins(&requests[1]) < begins(&requests[2]), "the small one waits for the large one before it");
    let most = asked.iter().map(|asked| asked.pieces().len()).max();
    assert_eq!(most, Some(1), "the large one needs all memory, so they run one after another");
}

#[test]
fn jobs_that_fit_together_run_together() {
    let (scheduler, watch) = watched(short_of_memory(33, 4), 1);
    let first = scheduler.submit(request(scheduler.engine(), 5, 9, 1)).expect("a place");
    let _ = watch.next();
    let others: Vec<_> = (2..5)
        .map(|seed| scheduler.submit(request(scheduler.engine(), 5, 9, seed)).expect("a place"))
        .collect();
    watch.answer(Answer::Go);
    assert_eq!(watch.pass().pieces().len(), 4, "three prompts, and a token of the first");
    assert_eq!(watch.pass().pieces().iter().map(|piece| piece.rows).collect::<Vec<_>>(), [1; 4]);
    drop((first, others));
}

#[test]
fn a_job_too_large_for_all_memory_is_refused_at_once() {
    let scheduler = Scheduler::start(Arc::new(short_of_memory(34, 2))).expect("a thread");
    let limit = scheduler.engine().pages().limit();
    let over = request(scheduler.engine(), 2 * PAGE, 2, 1);
    match scheduler.submit(over.clone()) {
        Err(SubmitError::NeverFits { positions, limit: found }) => {
            assert_eq!((positions, found), (2 * PAGE + 1, limit));
        }
        other => panic!("taken: {other:?}"),
    }
    let fits = JobRequest { max_tokens: 1, ..over };
    read_all(&scheduler.submit(fits.clone()).expect("it just fits"), &fits);
}

#[test]
fn memory_given_back_by_others_wakes_the_line() {
    let scheduler = Scheduler::start(Arc::new(short_of_memory(35, 2))).expect("a thread");
    let held = Sequence::new(scheduler.engine(), PAGE + 1).expect("all memory");
    let small = request(scheduler.engine(), 5, 5, 1);
    let job = scheduler.submit(small.clone()).expect("in line");
    drop(held);
    read_all(&job, &small);
}

#[test]
fn tokens_keep_coming_while_a_long_prompt_is_read_and_short_prompts_start_at_once() {
    let (scheduler, watch) = watched(engine(36, |_| ()), 1);
    let writer = scheduler.submit(request(scheduler.engine(), 3, 60, 1)).expect("a place");
    let prompt = watch.pass().pieces()[0];
    assert_eq!((prompt.first, prompt.rows), (0, 3));
    assert_eq!(watch.next().pieces()[0].rows, 1);
    let long = scheduler.submit(request(scheduler.engine(), 600, 2, 2)).expect("a place");
    watch.answer(Answer::Go);
    let of = |pieces: &[testkit::watched::Piece], text: PageId| {
        pieces.iter().find(|piece| piece.text == text).map(|piece| (piece.first, piece.rows))
    };
    for pass in 0..3 {
        let pieces = watch.pass().pieces();
        assert_eq!(of(&pieces, prompt.text), Some((4 + pass, 1)), "the writer goes on");
        assert_eq!(pieces.iter().map(|piece| piece.rows).sum::<usize>(), 32, "and soon");
    }
    let _ = watch.next();
    let short = scheduler.submit(request(scheduler.engine(), 12, 2, 3)).expect("a place");
    watch.answer(Answer::Go);
    let mut sizes: Vec<_> = watch.pass().pieces().iter().map(|piece| piece.rows).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 12, 19], "a short prompt is read in one pass");
    drop((writer, long, short));
}

#[test]
fn where_rows_are_short_everyone_has_a_turn() {
    let (scheduler, watch) = watched(engine(37, |config| rows(config, 1)), 1);
    let first = scheduler.submit(request(scheduler.engine(), 3, 60, 1)).expect("a place");
    let _ = watch.next();
    let others = [(2, 60, 2), (400, 5, 3)].map(|(prompt, max, seed)| {
        scheduler.submit(request(scheduler.engine(), prompt, max, seed)).expect("a place")
    });
    watch.answer(Answer::Go);
    for _ in 0..20 {
        let mut texts: Vec<PageId> = (0..3).map(|_| watch.pass().pieces()[0].text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 3, "in three passes of one row, each of three jobs has one");
    }
    drop((first, others));
}
