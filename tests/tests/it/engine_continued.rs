//! An output that one engine begins and another goes on with is the output that either writes alone, wherever it is cut.

use gridhour_node::engine::{
    isa::Isa,
    sampler::Sampling,
    scheduler::{JobEnd, JobEvent, JobRequest, Reason, Scheduler},
    verify::{Claim, verify},
};
use gridhour_protocol::{
    exact::score_chain::ScoreChain,
    id::SessionId,
    job::{logprobs::Logprobs, request::Request, sampling::Sampling as Rules},
};
use testkit::{gguf::SmallModel, seeds::seeds, sim::rng::Rng};

use crate::{
    engine_jobs::tokenizer,
    engine_model::{engine, tokens},
};

/// Tokens of an output that nothing stops.
const WHOLE: u32 = 40;

struct Written {
    tokens: Vec<u32>,
    logprobs: Vec<Logprobs>,
    end: JobEnd,
}

fn write(scheduler: &Scheduler, request: &Request) -> Written {
    let job = scheduler.submit(JobRequest::of(request, tokenizer())).expect("a place");
    let (mut written, mut logs) = (Vec::new(), Vec::new());
    loop {
        match job.next_event().expect("the engine tells how it ends") {
            JobEvent::Started { .. } => {}
            JobEvent::Token { id, logprobs, .. } => {
                written.push(id);
                logs.extend(logprobs);
            }
            JobEvent::Done(end) => return Written { tokens: written, logprobs: logs, end },
            JobEvent::Fault(fault) => panic!("{fault}"),
        }
    }
}

fn scheduler(isa: Isa) -> Scheduler {
    Scheduler::start(engine(&SmallModel::new(5), isa)).expect("a thread")
}

/// A request by the seed: greedy, sampled, or by every rule at once.
fn request(seed: u64, vocabulary: u32) -> Request {
    let mut rng = Rng::new(seed);
    let warm = Rules { temperature_q16: 65_536, seed: rng.bits(), ..Rules::GREEDY };
    let all = Rules {
        top_k: 40,
        top_p_q16: 64_000,
        min_p_q16: 100,
        repetition_q16: 70_000,
        frequency_q16: 30_000,
        presence_q16: -9_000,
        ..warm
    };
    Request {
        session: SessionId([1; 32]),
        lane: 0,
        index: 0,
        prompt: tokens(vocabulary, 1 + rng.below(70) as usize, seed),
        written: Vec::new(),
        prepaid: 0,
        sampling: [Rules::GREEDY, warm, all][seed as usize % 3],
        max_tokens: WHOLE,
        stop: Vec::new(),
        stop_texts: Vec::new(),
        logprobs: [0, 3][rng.below(2) as usize],
        salt: [2; 32],
    }
}

/// Whether an auditor who computes it again finds this output, these log probabilities and this score chain.
fn confirmed(scheduler: &Scheduler, request: &Request, written: &Written) -> bool {
    let claim = Claim {
        prompt: &request.prompt,
        written: &request.written,
        output: &written.tokens,
        sampling: Sampling::of(request),
        logprobs: &written.logprobs,
        request_digest: request.digest().0,
    };
    let rerun = verify(scheduler.engine(), &claim).expect("the claim fits");
    (rerun.difference, rerun.false_logprobs, rerun.score_chain) == (None, None, written.end.score_chain)
}

#[test]
fn wherever_it_is_cut_another_engine_goes_on_with_the_same_output() {
    // Two engines of different instructions, as two providers have.
    let (one, other) = (scheduler(Isa::Auto), scheduler(Isa::Portable));
    let vocabulary = one.engine().config().vocab;
    for seed in seeds(6) {
        println!("seed {seed}; replay with GRIDHOUR_SEED={seed}");
        let request = request(seed, vocabulary);
        let whole = write(&one, &request);
        for k in 0..WHOLE {
            let first = Request { max_tokens: k.max(1), ..request.clone() };
            let begun = write(&one, &first);
            let begun_tokens = &begun.tokens[..k as usize];
            let rest = request.rest(begun_tokens, k).expect("something is left");
            let next = write(&other, &rest);
            assert_eq!([begun_tokens, &next.tokens].concat(), whole.tokens, "cut after {k}");
            let logs = begun.logprobs.get(..k as usize).unwrap_or(&[]);
            assert_eq!([logs, &next.logprobs].concat(), whole.logprobs, "cut after {k}");
            assert!(confirmed(&other, &first, &begun) && confirmed(&one, &rest, &next), "cut after {k}");
        }
    }
}

#[test]
fn a_stop_text_across_the_cut_ends_it_where_it_would_have() {
    let (one, other) = (scheduler(Isa::Auto), scheduler(Isa::Portable));
    let tokenizer = tokenizer();
    let free = Request { logprobs: 0, ..request(1, one.engine().config().vocab) };
    let output = write(&one, &free).tokens;
    let text_of = |tokens: &[u32]| {
        let mut bytes = Vec::new();
        tokens.iter().for_each(|token| tokenizer.append_bytes(*token, &mut bytes));
        String::from_utf8(bytes).ok().filter(|text| text.len() > 2)
    };
    // Three tokens that spell something together.
    let found = (4..WHOLE as usize - 4).find_map(|at| text_of(&output[at..at + 3]));
    let stopped = Request { stop_texts: vec![found.expect("three tokens make a text")], ..free };
    let whole = write(&one, &stopped);
    assert_eq!(whole.end.reason, Reason::Stop);
    for k in 0..whole.tokens.len() {
        let rest = stopped.rest(&whole.tokens[..k], k as u32).expect("something is left");
        let next = write(&other, &rest);
        assert_eq!((&next.tokens[..], next.end.reason), (&whole.tokens[k..], Reason::Stop), "cut after {k}");
    }
}

#[test]
fn a_score_chain_begins_with_the_request_and_the_position_where_it_goes_on() {
    let one = scheduler(Isa::Auto);
    let request = request(1, one.engine().config().vocab);
    let whole = write(&one, &request);
    let rest = request.rest(&whole.tokens[..7], 7).expect("something is left");
    assert_eq!(rest.start(), request.start() + 7);
    let expected = ScoreChain::start(&rest.digest().0, rest.start());
    assert_eq!(rest.scores_before().0, expected.digest());
    // The same tokens under the first request are another chain: a receipt is about one job alone.
    let as_if = Written { end: whole.end, ..write(&one, &rest) };
    assert!(!confirmed(&one, &rest, &as_if));
}
