//! Whole models: the engine against the definition, however the work is cut.

use std::{num::NonZeroUsize, sync::Arc};

use gridhour_node::{
    engine::{
        Engine, EngineConfig, EngineError,
        device::PAGE,
        isa::Isa,
        rates::measure_rates,
        sampler::{Sampling, SamplingKey},
        score_chain::{ScoreChain, Scores},
        sequence::{CHUNK, Sequence, SequenceError},
        verify::{Claim, Difference, verify},
    },
    model::gguf::{Gguf, TensorType},
};
use gridhour_protocol::{
    exact::llama::{Architecture, Reference, Step},
    job::sampling::Sampling as Rules,
};
use testkit::{
    definition::definition_weights,
    gguf::{RopeScaling, SmallModel, Types},
};

/// An engine of two threads over a made-up model.
pub(crate) fn engine(model: &SmallModel, isa: Isa) -> Arc<Engine> {
    let file = Gguf::from_bytes(model.bytes()).expect("a sound file");
    let threads = NonZeroUsize::new(2).expect("two");
    let config = EngineConfig { threads, isa, ..EngineConfig::default() };
    Arc::new(Engine::from_gguf(&file, config).expect("a sound model"))
}

/// Tokens of no meaning, the same for a seed.
pub(crate) fn tokens(vocab: u32, count: usize, seed: u64) -> Vec<u32> {
    let word = |at: u64| blake3::hash(&[seed.to_le_bytes(), at.to_le_bytes()].concat());
    let id = |at| u32::from_le_bytes(*word(at).as_bytes().first_chunk().expect("a digest is longer")) % vocab;
    (0..count as u64).map(id).collect()
}

/// The forms of the engine that this machine can run.
fn forms() -> Vec<Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.resolve().is_some()).collect()
}

fn step(scores: Scores<'_>) -> Step {
    Step { logits: scores.logits.to_vec(), checksums: scores.checksums.to_vec() }
}

/// The scores behind every token, computed in pieces of `piece` tokens.
fn scores_in_pieces(sequence: &mut Sequence, tokens: &[u32], piece: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for piece in tokens.chunks(piece) {
        sequence.prefill_from(piece, 0, |_, scores| steps.push(step(scores))).expect("room for all");
    }
    steps
}

/// A model of every architecture, tied and with its own output matrix, with every scaling of positions.
fn variants() -> Vec<SmallModel> {
    let mut variants =
        vec![SmallModel::new(1), SmallModel::mixed(2), SmallModel { kv_heads: 1, ..SmallModel::mixed(3) }];
    for (architecture, seed) in Architecture::ALL.into_iter().zip(20..) {
        variants.push(SmallModel::of(architecture, seed));
        variants.push(SmallModel { tied: true, kv_heads: 1, ..SmallModel::of(architecture, seed + 10) });
    }
    variants.push(SmallModel { rope_scaling: RopeScaling::Factors, ..SmallModel::mixed(40) });
    let linear = RopeScaling::Linear(2.5);
    variants.push(SmallModel { rope_scaling: linear, ..SmallModel::of(Architecture::Qwen2, 41) });
    variants
}

#[test]
fn models_give_the_bits_of_the_definition() {
    variants().iter().for_each(|model| compare_with_definition(model, 40));
}

#[test]
fn every_type_in_every_architecture_gives_the_bits_of_the_definition() {
    for (architecture, seed) in Architecture::ALL.into_iter().zip(50..) {
        for ty in TensorType::ALL {
            compare_with_definition(&SmallModel::typed(architecture, ty, seed), 7);
        }
    }
}

fn compare_with_definition(model: &SmallModel, count: usize) {
    let file = Gguf::from_bytes(model.bytes()).expect("a sound file");
    let tokens = tokens(model.vocab, count, model.seed);
    let weights = definition_weights(&file);
    let mut reference = Reference::new(&weights);
    let expected: Vec<Step> =
        tokens.iter().map(|token| reference.forward(*token).expect("a token of the vocabulary")).collect();
    for isa in forms() {
        let engine = engine(model, isa);
        let mut sequence = Sequence::new(&engine, tokens.len()).expect("room");
        let found = scores_in_pieces(&mut sequence, &tokens, tokens.len());
        for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
            assert_eq!(found.checksums, expected.checksums, "{model:?} {isa:?} position {at}");
            assert_eq!(found.logits, expected.logits, "{model:?} {isa:?} position {at}");
        }
    }
}

#[test]
fn manifests_hold_the_exponents_of_the_definition() {
    let model = SmallModel::mixed(4);
    let engine = engine(&model, Isa::Auto);
    let weights = definition_weights(&Gguf::from_bytes(model.bytes()).expect("a sound file"));
    let exponent = |name: &str| {
        let manifest = engine.manifest();
        i32::from(manifest.tensors()[manifest.position(name).expect("a tensor of the model")].exponent)
    };
    assert_eq!(exponent("token_embd.weight"), weights.embedding().x);
    assert_eq!(exponent("output.weight"), weights.output().x);
    for (at, layer) in weights.layers().iter().enumerate() {
        assert_eq!(exponent(&format!("blk.{at}.attn_q.weight")), layer.attn_q.x);
        assert_eq!(exponent(&format!("blk.{at}.ffn_gate.weight")), layer.ffn_gate.x);
    }
}

#[test]
fn model_ids_tell_every_weight_apart_and_nothing_else() {
    let id = |model: &SmallModel, isa| engine(model, isa).model_id();
    let model = SmallModel::new(5);
    assert_eq!(id(&model, Isa::Portable), id(&model, Isa::Auto));
    let mut changed = model.writer();
    changed.tensor_mut("blk.1.ffn_down.weight").bytes[4] ^= 1;
    let file = Gguf::from_bytes(changed.finish()).expect("a sound file");
    let other = Engine::from_gguf(&file, EngineConfig::default()).expect("a sound model");
    assert_ne!(other.model_id(), id(&model, Isa::Auto));
}

#[test]
fn prefill_in_any_pieces_gives_the_same_bits() {
    let model = SmallModel::mixed(6);
    let tokens = tokens(model.vocab, 150, 6);
    for isa in forms() {
        let engine = engine(&model, isa);
        let new = || Sequence::new(&engine, tokens.len()).expect("room");
        let mut whole = new();
        let expected = scores_in_pieces(&mut whole, &tokens, tokens.len());
        for piece in [1, 7, 64] {
            let mut sequence = new();
            assert_eq!(
                scores_in_pieces(&mut sequence, &tokens, piece),
                expected,
                "{isa:?} in pieces of {piece}"
            );
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let model = SmallModel::new(7);
    let file = Gguf::from_bytes(model.bytes()).expect("a sound file");
    let tokens = tokens(model.vocab, 70, 7);
    let scores = |threads| {
        let threads = NonZeroUsize::new(threads).expect("at least one");
        let config = EngineConfig { threads, ..EngineConfig::default() };
        let engine = Arc::new(Engine::from_gguf(&file, config).expect("a sound model"));
        scores_in_pieces(&mut Sequence::new(&engine, 70).expect("room"), &tokens, 33)
    };
    let one = scores(1);
    assert_eq!(one, scores(2));
    assert_eq!(one, scores(3));
}

/// What is not a weight is in the facts: architecture and tables of positions.
#[test]
fn model_ids_tell_architectures_and_scalings_apart() {
    let sizes = SmallModel { types: Types::Common, kv_heads: 1, ..SmallModel::of(Architecture::Llama, 5) };
    let scaled = |rope_scaling| SmallModel { rope_scaling, ..sizes.clone() };
    let models = [
        sizes.clone(),
        SmallModel { architecture: Architecture::Qwen2, ..sizes.clone() },
        SmallModel { architecture: Architecture::Qwen3, ..sizes.clone() },
        scaled(RopeScaling::Linear(2.0)),
        scaled(RopeScaling::Linear(4.0)),
        scaled(RopeScaling::Factors),
    ];
    let mut ids: Vec<_> = models.iter().map(|model| engine(model, Isa::Auto).model_id().0).collect();
    assert_eq!(engine(&scaled(RopeScaling::Linear(1.0)), Isa::Auto).model_id().0, ids[0]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), models.len());
}

/// The id that this file had before there were other architectures and types.
#[test]
fn the_id_of_a_file_stays_what_it_was() {
    let id = engine(&SmallModel::new(5), Isa::Auto).model_id();
    assert_eq!(id.to_string(), "09d80c3e98c3487ce1e03e78ef5d3a9067bab5249da1197f0e3ecd8d2029485f");
}

#[test]
fn a_bad_weight_is_refused_by_the_name_of_its_tensor() {
    for (name, byte) in [("blk.0.attn_v.weight", 1), ("blk.1.ffn_norm.weight", 3), ("token_embd.weight", 1)] {
        let mut file = SmallModel::new(8).writer();
        let bytes = &mut file.tensor_mut(name).bytes;
        // All ones in an exponent: a NaN or an infinity, in half and in single precision.
        bytes[byte] = 0x7f;
        bytes[byte - 1] = 0xff;
        let file = Gguf::from_bytes(file.finish()).expect("the shapes are sound");
        match Engine::from_gguf(&file, EngineConfig::default()) {
            Err(EngineError::Weights(error)) => assert!(error.to_string().contains(name), "{error}"),
            other => panic!("{name} was taken: {other:?}"),
        }
    }
}

#[test]
fn sequences_refuse_what_does_not_fit_and_stay_as_they_were() {
    let engine = engine(&SmallModel::new(9), Isa::Auto);
    let max = engine.context();
    assert_eq!(Sequence::new(&engine, max + 1).err(), Some(SequenceError::Context { asked: max + 1, max }));
    let mut sequence = Sequence::new(&engine, 3).expect("room");
    let vocab = engine.config().vocab;
    let refused = [
        (vec![], SequenceError::Empty),
        (vec![1, vocab], SequenceError::Token { token: vocab, vocab }),
        (vec![1; 4], SequenceError::Context { asked: 4, max: 3 }),
    ];
    for (tokens, error) in refused {
        assert_eq!(sequence.extend(&tokens), Err(error));
        assert_eq!(sequence.position(), 0);
    }
    assert_eq!(sequence.extend(&[1, 2, 3]), Ok(()));
    assert_eq!(sequence.extend(&[1]), Err(SequenceError::Context { asked: 4, max: 3 }));
}

#[test]
fn keys_and_values_never_exceed_their_memory() {
    let model = SmallModel::new(10);
    let file = Gguf::from_bytes(model.bytes()).expect("a sound file");
    let mut config = EngineConfig::default();
    let page = engine(&model, Isa::Auto).device().page_bytes();
    config.kv_bytes_max = 5 * page - 1;
    let engine = Arc::new(Engine::from_gguf(&file, config).expect("a sound model"));
    let limit = engine.pages().limit();
    assert_eq!(limit, 4 * page, "whole pages only");
    let first = Sequence::new(&engine, 2 * PAGE + 1).expect("room for three pages");
    let full = SequenceError::KvMemory { asked: PAGE + 1, limit };
    assert_eq!(Sequence::new(&engine, PAGE + 1).err(), Some(full));
    assert_eq!((engine.pages().used(), first.kv_bytes()), (3 * page, 3 * page));
    drop(first);
    assert_eq!(engine.pages().used(), 0);
    assert!(Sequence::new(&engine, 4 * PAGE).is_ok());
}

/// Generates one token after another, as a provider would.
fn generate(engine: &Arc<Engine>, claim: &Claim<'_>, count: usize) -> (Vec<u32>, [u8; 32]) {
    let mut chain = ScoreChain::new(&claim.request_digest, claim.prompt.len() as u32);
    let mut sequence = Sequence::new(engine, claim.prompt.len() + count).expect("room");
    let (sampling, mut text) = (claim.sampling.behind(claim.prompt), claim.prompt.to_vec());
    while text.len() < claim.prompt.len() + count {
        let input = &text[sequence.position()..];
        let choose = |scores: Scores<'_>| {
            let token = sampling.choose(scores.logits, &text);
            chain.push(token, scores);
            token
        };
        let token = sequence.prefill(input, choose).expect("room");
        text.push(token);
    }
    (text.split_off(claim.prompt.len()), chain.digest())
}

fn key(seed: u64) -> SamplingKey {
    SamplingKey::derive(seed, b"core")
}

/// A claim of nothing yet, at temperature 1.
fn claim(prompt: &[u32], seed: u64) -> Claim<'_> {
    Claim {
        prompt,
        output: &[],
        written: &[],
        sampling: Sampling::new(Rules { temperature_q16: 65_536, ..Rules::GREEDY }, key(seed)),
        logprobs: &[],
        request_digest: [7; 32],
    }
}

#[test]
fn a_rerun_confirms_an_honest_result_and_names_the_first_false_token() {
    let engine = engine(&SmallModel::new(11), Isa::Auto);
    let warm = Rules { temperature_q16: 65_536, ..Rules::GREEDY };
    let repetition = Rules { repetition_q16: 80_000, ..Rules::GREEDY };
    let all = Rules { top_k: 50, top_p_q16: 60_000, frequency_q16: 9_000, presence_q16: 9_000, ..warm };
    for (rules, prompt) in
        [(Rules::GREEDY, 5), (repetition, 9), (warm, CHUNK), (warm, CHUNK + 1), (all, CHUNK + 2)]
    {
        let prompt = tokens(engine.config().vocab, prompt, 11);
        let claim = Claim { sampling: Sampling::new(rules, key(3)), ..claim(&prompt, 3) };
        let (output, chain) = generate(&engine, &claim, CHUNK + 9);
        let honest = Claim { output: &output, ..claim };
        let rerun = verify(&engine, &honest).expect("the claim fits");
        assert_eq!((rerun.difference, rerun.score_chain), (None, chain));
        for index in [0, 30, CHUNK + 8] {
            let mut edited = output.clone();
            edited[index] = (edited[index] + 1) % engine.config().vocab;
            let rerun = verify(&engine, &Claim { output: &edited, ..claim }).expect("the claim fits");
            let expected = Difference { index, claimed: edited[index], chosen: output[index] };
            assert_eq!(rerun.difference, Some(expected));
        }
        let other = Claim { request_digest: [8; 32], ..honest };
        assert_ne!(verify(&engine, &other).expect("the claim fits").score_chain, chain);
    }
}

#[test]
fn a_rerun_catches_another_seed_and_another_model() {
    let (engine, other) = (engine(&SmallModel::new(12), Isa::Auto), engine(&SmallModel::new(13), Isa::Auto));
    let prompt = tokens(engine.config().vocab, 9, 12);
    let claim = claim(&prompt, 1);
    let (output, _) = generate(&engine, &claim, 40);
    let swapped = Claim { output: &output, sampling: Sampling::new(claim.sampling.rules, key(2)), ..claim };
    assert!(verify(&engine, &swapped).expect("the claim fits").difference.is_some());
    assert!(
        verify(&other, &Claim { output: &output, ..claim }).expect("the claim fits").difference.is_some()
    );
}

#[test]
fn rates_are_measured_on_a_model_of_any_size() {
    let rates = measure_rates(&engine(&SmallModel::new(14), Isa::Auto)).expect("the context is long enough");
    assert!(rates.prefill_ns > 0 && rates.decode_ns > 0);
}
