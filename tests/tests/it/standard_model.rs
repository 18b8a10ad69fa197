//! The standard model of a calibration: what an engine writes is what the challenger computes layer by layer,
//! and nothing else is.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use gridhour_node::engine::{
    Backend, Engine, EngineConfig, EngineError,
    gpu::options::GpuOptions,
    isa::Isa,
    standard::{StandardModel, StandardRun, recompute},
    weights::WeightsError,
};
use gridhour_protocol::{
    arbitrary::key,
    calibration::{
        challenger::Recomputed,
        job::{Challenge, StandardJob},
        shape::{MEMORY_MIN, OUTPUT_TOKENS, StandardShape},
    },
    exact::{llama::LlamaConfig, numerics_digest},
    id::{NetworkId, ScoreDigest},
};
use testkit::data;

const OUTPUT_NONCE: [u8; 32] = [4; 32];

fn config() -> EngineConfig {
    EngineConfig { threads: NonZeroUsize::MIN, ..EngineConfig::default() }
}

fn model(seed: u8) -> StandardModel {
    StandardModel::new(StandardShape::of(MEMORY_MIN).expect("the least"), [seed; 32])
}

fn job(nonce: u8) -> StandardJob {
    let challenge = Challenge {
        numerics: numerics_digest(),
        network: NetworkId([1; 32]),
        challenger: key(1).public(),
        provider: key(2).public(),
        memory_bytes: MEMORY_MIN,
        seed: [7; 32],
    };
    StandardJob::new(&challenge, &[nonce; 32])
}

/// The whole output of a job, and its score chain.
fn written(engine: Engine, job: StandardJob) -> (Vec<u32>, ScoreDigest) {
    let shape = StandardShape::of(MEMORY_MIN).expect("the least");
    let (run, first) = StandardRun::read(&Arc::new(engine), &shape, job).expect("its job fits");
    let (rest, scores) = run.write(&OUTPUT_NONCE, &AtomicBool::new(false)).expect("its job fits");
    ([vec![first], rest].concat(), scores)
}

fn checked(model: &StandardModel, job: &StandardJob, tokens: &[u32]) -> Recomputed {
    recompute(model, job, (tokens, &OUTPUT_NONCE), &config(), |_| ()).expect("there is memory for a layer")
}

#[test]
fn an_engine_with_the_standard_model_writes_what_is_computed_layer_by_layer() {
    for isa in [Isa::Auto, Isa::Portable] {
        let engine = model(1).load(EngineConfig { isa, ..config() }).expect("four megabytes");
        let shape = *model(1).shape();
        assert!((engine.weight_bytes() + engine.pages().limit()) as u64 <= MEMORY_MIN);
        assert_eq!(engine.pages().limit() as u64, shape.kv_bytes(), "exactly the keys and values of the job");
        let (tokens, scores) = written(engine, job(3));
        assert_eq!(checked(&model(1), &job(3), &tokens), Recomputed { difference: None, scores });
        let mut kinds = tokens.clone();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(kinds.len() > OUTPUT_TOKENS as usize * 3 / 4, "the output repeats itself: {tokens:?}");
    }
}

#[test]
fn an_adapter_with_the_standard_model_writes_the_same() {
    if data::adapter().is_none() {
        return;
    }
    let backend = Backend::Gpu(GpuOptions::default());
    let engine = model(1).load(EngineConfig { backend, ..config() }).expect("four megabytes");
    assert_eq!(engine.pages().limit() as u64, model(1).shape().kv_bytes());
    let (tokens, scores) = written(engine, job(3));
    assert_eq!(checked(&model(1), &job(3), &tokens), Recomputed { difference: None, scores });
}

#[test]
fn a_token_that_the_model_does_not_choose_is_found_wherever_it_stands() {
    let (tokens, scores) = written(model(1).load(config()).expect("four megabytes"), job(3));
    for at in [0, 1, 31, 63] {
        let mut edited = tokens.clone();
        edited[at] ^= 1;
        let found = checked(&model(1), &job(3), &edited);
        // Behind the last token there is nothing more that the scores could miss.
        assert_eq!((found.difference, found.scores == scores), (Some(at), at == 63));
        edited[at] = u32::MAX;
        assert_eq!(checked(&model(1), &job(3), &edited).difference, Some(at), "no token at all");
    }
}

#[test]
fn another_seed_another_prompt_and_other_noise_are_other_jobs() {
    let (tokens, _) = written(model(1).load(config()).expect("four megabytes"), job(3));
    let first = checked(&model(2), &job(3), &tokens).difference.expect("another model");
    let second = checked(&model(1), &job(4), &tokens).difference.expect("another prompt");
    assert!(first < 3 && second < 3, "{first} {second}");
    let noise = recompute(&model(1), &job(3), (&tokens, &[5; 32]), &config(), |_| ()).expect("memory");
    assert!(noise.difference.is_some_and(|index| (1..4).contains(&index)), "{noise:?}");
}

/// Two shapes that differ in the number of layers alone: who leaves the last ones out is found at once.
#[test]
fn layers_that_are_left_out_are_found() {
    let (tokens, _) = written(model(1).load(config()).expect("four megabytes"), job(3));
    let larger = StandardModel::new(StandardShape::of(5 << 20).expect("five megabytes"), [1; 32]);
    let (few, many) = (*model(1).shape().config(), *larger.shape().config());
    assert!(many.layers > few.layers);
    assert_eq!(LlamaConfig { layers: few.layers, ..many }, few, "they differ in nothing else");
    let mut layers = 0;
    let found = recompute(&larger, &job(3), (&tokens, &OUTPUT_NONCE), &config(), |_| layers += 1);
    assert!(found.is_ok_and(|found| found.difference.is_some_and(|index| index < 3)));
    assert_eq!(layers, many.layers);
}

#[test]
fn a_model_that_nobody_wants_any_more_is_not_loaded() {
    let model = model(1);
    model.given_up().store(true, Ordering::Relaxed);
    let refused = model.load(config()).map(drop);
    assert!(matches!(refused, Err(EngineError::Weights(WeightsError::GivenUp))), "{refused:?}");
}

#[test]
fn a_run_that_nobody_reads_any_more_ends_early() {
    let engine = Arc::new(model(1).load(config()).expect("four megabytes"));
    let (run, _) = StandardRun::read(&engine, model(1).shape(), job(3)).expect("its job fits");
    let (rest, _) = run.write(&OUTPUT_NONCE, &AtomicBool::new(true)).expect("nothing is computed");
    assert!(rest.is_empty());
    assert_eq!(engine.pages().used(), 0, "its memory is free again");
    assert_eq!(engine.device().facts().kind, "cpu");
}
