//! Where outputs end on a graphics adapter, which chooses up to sixteen tokens before the host sees one.

use std::sync::Arc;

use gridhour_node::engine::{
    Backend,
    sampler::Sampling,
    scheduler::{JobEnd, JobEvent, JobHandle, JobRequest, Reason, Scheduler},
};
use gridhour_protocol::job::ending::StopTexts;
use testkit::{gguf::SmallModel, seeds::seeds, sim::rng::Rng};

use crate::{
    engine_gpu::{load, on_gpu, open, variants},
    engine_jobs::{request, tokenizer},
};

/// Jobs of a batch.
const JOBS: usize = 12;

/// What a job gave.
#[derive(PartialEq, Eq, Debug)]
struct Whole {
    output: Vec<u32>,
    reason: Reason,
    score_chain: [u8; 32],
}

fn read(job: &JobHandle) -> Whole {
    let mut output = Vec::new();
    loop {
        match job.next_event() {
            Some(JobEvent::Started { .. }) => {}
            Some(JobEvent::Token { index, id, .. }) => {
                assert_eq!(index as usize, output.len());
                output.push(id);
            }
            Some(JobEvent::Done(JobEnd { reason, output_tokens, score_chain, .. })) => {
                assert_eq!((job.next_event(), output_tokens as usize), (None, output.len()));
                return Whole { output, reason, score_chain };
            }
            other => panic!("the job ends, and: {other:?}"),
        }
    }
}

fn all(scheduler: &Scheduler, requests: &[JobRequest]) -> Vec<Whole> {
    let jobs: Vec<_> =
        requests.iter().map(|request| scheduler.submit(request.clone()).expect("a place")).collect();
    jobs.iter().map(read).collect()
}

/// A text that some neighbouring tokens of `output` write, the first of them at `at` or behind it.
fn text_in(output: &[u32], at: usize) -> Option<String> {
    let tokenizer = tokenizer();
    let written = |tokens: &[u32]| {
        let mut bytes = Vec::new();
        tokens.iter().for_each(|token| tokenizer.append_bytes(*token, &mut bytes));
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty() && text.len() <= 64)
    };
    (at..output.len()).find_map(|at| output[at..].chunks(2).next().and_then(written))
}

/// A request of any length, half of them greedy.
fn free(rng: &mut Rng, scheduler: &Scheduler) -> JobRequest {
    let (prompt, most) = (1 + rng.below(70) as usize, 1 + rng.below(50) as u32);
    let mut request = request(scheduler.engine(), prompt, most, rng.below(1 << 32));
    if rng.one_in(2) {
        request.sampling = Sampling::GREEDY;
    }
    request
}

/// The same, to be ended by something that it wrote: a token, a text, or whichever is first.
fn ending(rng: &mut Rng, way: usize, free: &JobRequest, wrote: &Whole) -> JobRequest {
    let [first, second] = [0, 1].map(|_| rng.below(wrote.output.len() as u64) as usize);
    let mut request = free.clone();
    if way != 0 {
        request.stop = vec![wrote.output[first]];
    }
    if way != 1 {
        let texts = ["never written".to_owned()].into_iter().chain(text_in(&wrote.output, second));
        request.stop_texts = StopTexts::new(&texts.collect::<Vec<_>>(), tokenizer());
    }
    request
}

#[test]
fn stop_tokens_and_texts_end_many_steps_at_once_where_the_processor_ends() {
    let Some(gpu) = open() else { return };
    for seed in seeds(1) {
        let (mut rng, model) = (Rng::new(seed), SmallModel { context: 256, ..SmallModel::new(seed) });
        let reference = load(&model, Backend::Cpu, 64).expect("a sound model");
        let reference = Scheduler::start(Arc::new(reference)).expect("a thread");
        // One that is not fused, and one that is.
        for variant in [0, 2].map(|at| variants(&gpu)[at]) {
            let engine = Arc::new(load(&model, on_gpu(variant), 64).expect("it computes"));
            assert_eq!(engine.device().steps_max(), 16);
            let scheduler = Scheduler::start(engine).expect("a thread");
            let frees: Vec<_> = (0..JOBS).map(|_| free(&mut rng, &reference)).collect();
            let wrote = all(&reference, &frees);
            let pairs = frees.iter().zip(&wrote).enumerate();
            let requests: Vec<_> =
                pairs.map(|(at, (free, wrote))| ending(&mut rng, at % 3, free, wrote)).collect();
            let right = all(&reference, &requests);
            let stopped = right.iter().filter(|whole| whole.reason == Reason::Stop).count();
            assert!(stopped > JOBS / 3, "seed {seed}: only {stopped} jobs are stopped");
            // All together, then one alone, which takes the most steps at once.
            assert_eq!(all(&scheduler, &requests), right, "seed {seed}, {variant:?}");
            assert_eq!(all(&scheduler, &requests[..1]), right[..1], "seed {seed}, {variant:?}");
        }
    }
}
