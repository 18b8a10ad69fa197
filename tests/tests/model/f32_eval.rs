//! The evaluation in floats makes sense by itself: probabilities, causality, positions that matter.

use gridhour_node::model::gguf::{Gguf, TensorType};
use gridhour_protocol::exact::llama::{Architecture, Reference};
use testkit::{
    agreement::Top,
    definition::definition_weights,
    f32_eval::F32Model,
    gguf::{RopeScaling, SmallModel},
};

/// KL of the floats' distribution from the definition's, nats, at most, at any position.
const DIVERGENCE_MAX: f64 = 1e-4;

fn model(small: &SmallModel) -> F32Model {
    let file = Gguf::from_bytes(small.bytes()).expect("the file is sound");
    F32Model::load(&file).expect("the file is whole")
}

fn window(count: u32) -> Vec<u32> {
    (0..count).map(|position| (position * 37 + 11) % 283).collect()
}

#[test]
fn rows_are_probabilities() {
    let all = model(&SmallModel::mixed(3)).log_probs(&window(70), 5..70);
    assert_eq!(all.len(), 65);
    for row in 0..all.len() {
        let sum: f64 = all.row(row).iter().map(|log| f64::from(*log).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "row {row} sums to {sum}");
    }
}

/// Chunks of 64 query positions are cut here at 64, 130 and 200: no cut may show, and no later token.
#[test]
fn a_row_depends_on_the_tokens_before_it_and_on_nothing_else() {
    let model = model(&SmallModel::new(4));
    let tokens = window(200);
    let whole = model.log_probs(&tokens, 0..200);
    for cut in [1, 63, 64, 65, 130] {
        let part = model.log_probs(&tokens[..cut], cut - 1..cut);
        let far = part.row(0).iter().zip(whole.row(cut - 1)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "position {cut} differs by {far}");
    }
}

#[test]
fn earlier_tokens_and_their_order_matter() {
    let model = model(&SmallModel::new(5));
    let last = |tokens: &[u32]| model.log_probs(tokens, 2..3).row(0).to_vec();
    assert_ne!(last(&[10, 20, 30]), last(&[11, 20, 30]));
    assert_ne!(last(&[10, 20, 30]), last(&[20, 10, 30]));
}

/// The definition of the arithmetic, run on the same file.
fn exact_logits(file: &Gguf, tokens: &[u32]) -> Vec<Vec<i32>> {
    let weights = definition_weights(file);
    let mut reference = Reference::new(&weights);
    tokens.iter().map(|token| reference.forward(*token).expect("the window is short").logits).collect()
}

/// KL divergence, in nats, of probabilities given by logarithms from those of logits in Q16.
fn divergence(logs: &[f32], logits: &[i32]) -> f64 {
    let nats: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) / 65_536.0).collect();
    let most = nats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = most + nats.iter().map(|nat| (nat - most).exp()).sum::<f64>().ln();
    let gap = |(log, nat): (&f32, &f64)| f64::from(*log).exp() * (f64::from(*log) - (nat - log_sum));
    logs.iter().zip(&nats).map(gap).sum()
}

/// Floats and integers come from separate code; that they agree speaks for both.
#[test]
fn floats_and_the_definition_agree() {
    let scaled =
        |architecture, rope_scaling, seed| SmallModel { rope_scaling, ..SmallModel::of(architecture, seed) };
    for small in [
        SmallModel::new(6),
        SmallModel::mixed(7),
        SmallModel::of(Architecture::Llama, 8),
        SmallModel::of(Architecture::Qwen2, 9),
        SmallModel { tied: true, ..SmallModel::of(Architecture::Qwen3, 10) },
        scaled(Architecture::Llama, RopeScaling::Factors, 11),
        scaled(Architecture::Qwen3, RopeScaling::Linear(4.0), 12),
    ] {
        let file = Gguf::from_bytes(small.bytes()).expect("the file is sound");
        let tokens = window(40);
        let logs = F32Model::load(&file).expect("the file is whole").log_probs(&tokens, 0..40);
        let exact = exact_logits(&file, &tokens);
        let worst = (0..40).map(|row| divergence(logs.row(row), &exact[row])).fold(0.0, f64::max);
        assert!(worst < DIVERGENCE_MAX, "{small:?}: KL {worst}");
        let spread = logs.row(39).iter().copied().fold(f32::NEG_INFINITY, f32::max) + (283f32).ln();
        assert!(
            spread > 0.5,
            "the distributions are far from uniform, or agreement would mean little: {spread}"
        );
    }
}

/// Every type in every architecture: the same distribution, and the same likeliest token wherever the floats
/// hold no two for about as likely.
#[test]
fn every_type_in_every_architecture_agrees() {
    const COUNT: usize = 12;
    for (architecture, seed) in Architecture::ALL.into_iter().zip(60..) {
        for ty in TensorType::ALL {
            let small = SmallModel::typed(architecture, ty, seed);
            let file = Gguf::from_bytes(small.bytes()).expect("the file is sound");
            let tokens = window(COUNT as u32);
            let logs = F32Model::load(&file).expect("the file is whole").log_probs(&tokens, 0..COUNT);
            for (row, logits) in exact_logits(&file, &tokens).iter().enumerate() {
                let far = divergence(logs.row(row), logits);
                assert!(far < DIVERGENCE_MAX, "{architecture:?} {ty}, position {row}: KL {far}");
                let (top, exact) = (Top::of(logs.row(row)), logits.iter().max().expect("a vocabulary"));
                let same = logits[top.token as usize] == *exact;
                assert!(same || top.is_near_tie(), "{architecture:?} {ty}, position {row}: {top:?}");
            }
        }
    }
}
